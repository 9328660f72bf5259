"""Explanations of FormSim's clips, in varied wording.

A standard clip: verdict, what is right step by step, a closing word. A non-standard clip: verdict, something right, the
step that went wrong and how it shows, what it leads to, how to correct it: the paper's chain of thought.
"""

from __future__ import annotations

import numpy as np

from formsim.schema import Action, Fault

GOOD_VERDICTS = (
    "The {name} action in this video is good.",
    "The {name} action in this video is standard.",
    "The {name} in this video is performed with good form.",
    "This {name} is executed correctly and meets the standard.",
)
BAD_VERDICTS = (
    "The {name} action in this video is bad.",
    "The {name} action in this video is not standard.",
    "The {name} in this video is performed with poor form.",
    "This {name} is executed incorrectly and does not meet the standard.",
)
_RIGHT = ("In step {step}, {good}.", "Step {step} is done well: {good}.", "It can be seen in step {step} that {good}.")
_WRONG = (
    "However, step {step} goes wrong: {seen}.",
    "The mistake lies in step {step}, where {seen}.",
    "In step {step} the form breaks down, because {seen}.",
)
_EFFECT = (
    "Over many repetitions this leads to {leads_to}.",
    "As a result of this mistake, there is {leads_to}.",
    "The consequence to be expected is {leads_to}.",
)
_CORRECTION = (
    "To correct this in the next repetition, {correct}.",
    "The remedy is clear and simple: {correct}.",
    "To improve the form from here on, {correct}.",
)
_REST = ("Apart from that, step {step} is done well: {good}.", "All the same, it is good in step {step} that {good}.")
_CLOSING = (
    "The movement is controlled and steady from beginning to end.",
    "The pace stays even and the body remains under control.",
    "There is no sign of swinging, rushing or loss of balance.",
)
_MIN_WORDS = 60  # words; what would be shorter gets one more sentence: most texts of CoT-AFA have 60 words or more
_ORDINALS = ("one", "two", "three", "four", "five")


def step_texts(action: Action, range_phrase: str, stated: str = "") -> tuple[tuple[str, ...], str]:
    """The five steps and the instruction of an action, with what its standard asks for filled in.

    `stated` takes the place of the step that speaks of the range: one sentence for all actions, which says nothing but
    the standard. A phrase inside a longer step is 0.4 % of the variance between step vectors; models overlook it.
    """
    steps = [step.format(range=range_phrase) for step in action.steps]
    if stated:
        steps[action.range_step - 1] = stated
    return tuple(steps), action.instruction


def explain(action: Action, fault: Fault | None, range_phrase: str, rng: np.random.RandomState) -> str:
    """A reference explanation, 60 to 110 words in five or six sentences; `fault` None means standard form.

    The sixth sentence comes last, so that the third always states what goes wrong.
    """

    def pick(options: tuple[str, ...]) -> str:
        return options[rng.randint(len(options))]

    def right(step: int, wordings: tuple[str, ...] = _RIGHT) -> str:
        return pick(wordings).format(step=_ORDINALS[step], good=action.good[step].format(range=range_phrase))

    order = [int(step) for step in rng.permutation(5) if fault is None or step != fault.step - 1]
    if fault is None:
        closing = rng.permutation(len(_CLOSING))
        parts = [pick(GOOD_VERDICTS), *map(right, sorted(order[:3])), _CLOSING[closing[0]]]
        extra = _CLOSING[closing[1]]
    else:
        parts = [
            pick(BAD_VERDICTS),
            right(order[0]),
            pick(_WRONG).format(step=_ORDINALS[fault.step - 1], seen=pick(fault.seen)),
            pick(_EFFECT).format(leads_to=pick(fault.leads_to)),
            pick(_CORRECTION).format(correct=pick(fault.correct)),
        ]
        extra = right(order[1], _REST)
    parts[0] = parts[0].format(name=action.name.lower())
    text = " ".join(parts)
    return f"{text} {extra}" if len(text.split()) < _MIN_WORDS else text
