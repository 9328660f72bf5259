"""Explanations of FormSim: what is said of a clip, in varied wording, and what each wording means.

A standard clip: verdict, what is right step by step, a closing word. A non-standard clip: verdict, something right, the
step that went wrong and how it shows, what it leads to, how to mend it: the paper's chain of thought.
"""

from __future__ import annotations

import numpy as np

from efa.data.formsim.schema import Action, Fault

GOOD_VERDICTS = (
    "The {name} action in this video is standard.",
    "The {name} in this video is performed with good form.",
    "This {name} is executed correctly and meets the standard.",
)
BAD_VERDICTS = (
    "The {name} action in this video is not standard.",
    "The {name} in this video is performed with poor form.",
    "This {name} is executed incorrectly and does not meet the standard.",
)
_RIGHT = (
    "In step {step}, {good}.",
    "Step {step} is done well: {good}.",
    "It can be seen in step {step} that {good}.",
)
_WRONG = (
    "However, step {step} goes wrong: {seen}.",
    "The mistake lies in step {step}, where {seen}.",
    "In step {step} the form breaks down, because {seen}.",
)
_EFFECT = ("This leads to {leads_to}.", "As a result, there is {leads_to}.", "The consequence is {leads_to}.")
_MEND = ("To correct this, {correct}.", "The remedy is clear: {correct}.", "To improve, {correct}.")
_CLOSING = (
    "The movement is controlled from beginning to end.",
    "The pace stays even and the body remains under control.",
    "There is no sign of swinging, rushing or loss of balance.",
)
_ORDINALS = ("one", "two", "three", "four", "five")


def step_texts(action: Action, range_phrase: str, stated: str = "") -> tuple[tuple[str, ...], str]:
    """The five steps and the instruction of an action, with what its standard asks for filled in.

    `stated` takes the place of the step that speaks of the range: one sentence for all actions, which says nothing but
    the standard. A phrase inside a longer step is 0.4 % of the variance between step vectors: models do not hear it.
    """
    steps = [step.format(range=range_phrase) for step in action.steps]
    if stated:
        steps[action.range_step - 1] = stated
    return tuple(steps), action.instruction


def explain(action: Action, fault: Fault | None, range_phrase: str, rng: np.random.RandomState) -> str:
    """A reference explanation, 40 to 110 words; `fault` None means standard form."""

    def pick(options: tuple[str, ...]) -> str:
        return options[rng.randint(len(options))]

    def right(step: int) -> str:
        return pick(_RIGHT).format(step=_ORDINALS[step], good=action.good[step].format(range=range_phrase))

    if fault is None:
        shown = sorted(rng.permutation(5)[:3])
        return " ".join(
            [pick(GOOD_VERDICTS).format(name=action.name.lower()), *(right(s) for s in shown), pick(_CLOSING)]
        )
    wrong = fault.step - 1
    shown = [s for s in rng.permutation(5) if s != wrong][:1]
    return " ".join(
        [
            pick(BAD_VERDICTS).format(name=action.name.lower()),
            *(right(s) for s in shown),
            pick(_WRONG).format(step=_ORDINALS[wrong], seen=pick(fault.seen)),
            pick(_EFFECT).format(leads_to=pick(fault.leads_to)),
            pick(_MEND).format(correct=pick(fault.correct)),
        ]
    )
