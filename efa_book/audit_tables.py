"""The audit for the notebook: the list of findings, what was measured for one, and what needs results or a model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import formsim
from efa.config import FormSimData, build
from efa.data.loader import flip_and_crop, formsim_clips
from efa.model.assessor import EFAModel
from efa.model.text import TextEncoder
from efa.utils.errors import InputError
from efa_book import estimates, figures, html, provenance
from efa_book.audit import Measurement, Quantity, measures, paper_tables, practice
from efa_book.audit.findings import FINDINGS, Finding
from efa_book.audit.sentences import SENTENCES
from efa_book.collect import Results
from efa_book.examples import OpenedModel
from efa_book.html import Cell, Html
from efa_book.table_specs import AUC, CIDER, FAULT, TOP1
from efa_book.tables import TEXTS

COMMAND = "papermill notebooks/audit.ipynb out.ipynb"
ANNOTATIONS_COMMAND = "efa audit cuts COT_AFA, then " + COMMAND
BADGES = {  # module of `efa_book.audit`, or "here" in the notebook -> what its numbers are, and the file of some
    "here": ("Computed here",),
    "measures": ("Measured here on code",),
    "practice": ("Computed here",),
    "costs": ("Counted here, nothing run",),
    "cuts": ("CoT-AFA's annotations and FormSim", "aggregated numbers of results/cot-afa/cuts.csv"),
}
OTHERS = 8  # actions whose texts the clip of finding 1 is read with
METRICS = (TOP1, AUC, FAULT, CIDER)


def overview() -> Html:
    """Every finding in one table: what the paper says, what the release does, what we do, and what switches it."""
    rows: list[list[str | Cell]] = [
        [Cell(f"{one.number}. {one.title}", one.where), one.paper, one.release, Cell(one.ours, _setting(one))]
        for one in FINDINGS
    ]
    note = (
        "The release: GitHub MICLAB-BUPT/EFA, commit 69acb6a, read; where it says 'run', it was run with random "
        "weights, since no checkpoint is released. That happened outside this book."
    )
    table = html.table("The findings", ["finding", "the paper", "the released code", "here"], rows, [note])
    return table + html.stamp("Read, not measured", ["code: efa_book/audit/findings.py, FINDINGS"], COMMAND)


def measured(number: int, found: Measurement | Callable[..., Measurement], caption: str = "", **asked: Any) -> Html:
    """What was measured for a finding, with its setting and its stamp: a measurement, or the function of
    `efa_book.audit` that makes it of what is `asked`; a line where a file is missing."""
    one = FINDINGS[number - 1]
    badge, *facts = BADGES["here" if isinstance(found, Measurement) else found.__module__.rpartition(".")[2]]
    out = html.note(f"Finding {number}, {one.where}. {_setting(one)}.")
    try:
        table = measurement_table(caption or one.title, found if isinstance(found, Measurement) else found(**asked))
    except InputError as error:
        return out + html.note(f"Not measured: {error}.")
    return out + table + html.stamp(badge, [*facts, _code(one)], ANNOTATIONS_COMMAND if facts else COMMAND)


def measurement_table(caption: str, found: Measurement, *remarks: str) -> Html:
    """One measurement as a table; how it was made and the remarks stand below it."""
    rows = [[Cell(str(cell), number=isinstance(cell, Quantity)) for cell in row] for row in found.rows]
    return html.table(caption, found.head, rows, [" ".join([found.how, *remarks])])


def paper_against_itself(part: str) -> Html:
    """Sentences of the paper beside its own numbers, one table each; `part`: leads, ablations, digits or data."""
    out, numbers = Html(""), paper_tables.read()
    for check in (one for one in paper_tables.CHECKS if one.part == part):
        said = f"The paper: {check.says} ({check.where})"
        try:
            found, shows = check.run(numbers)
        except InputError as error:
            out += html.note(f"{check.title}. Not computed: {error}.")
            continue
        out += measurement_table(check.title, found)
        out += html.note(said) + html.note(f"Shown: {shows}") + html.note(f"Not shown: {check.leaves}")
    facts = ["results/paper.csv, results/cot-afa/", "code: efa_book/audit/paper_tables.py"]
    return out + html.stamp("Computed here from printed numbers", facts, COMMAND)


def sentences() -> Html:
    """Sections IV and V-A with our settings, their values in each preset and lines of code, for a page of book/."""
    presets = ["smoke", "laptop", "gpu", "paper"]  # that read frames, as the paper does
    rows: list[list[str | Cell]] = []
    for one in SENTENCES:
        file, line = one.place()
        link = f"../code/{file.removesuffix('.py')}.html#L{line}"
        cells = [Cell(one.says, one.where), Cell(", ".join(one.settings) or "none", one.here)]
        rows.append([*cells, *map(one.values, presets), Cell(f"{file}, line {line}", link=link)])
    return html.table("Sections IV and V-A, sentence by sentence", ["the paper", "setting", *presets, "code"], rows)


def _code(one: Finding) -> str:
    return "code: " + "; ".join(reference.replace("#", ", ") for reference in one.code)


def _setting(one: Finding) -> str:
    return "Setting: " + (", ".join(one.settings) or f"none. {one.unswitched.rstrip('.')}")


def protocols(results: Results) -> Html:
    """Finding 1 on results: the same trained models, asked with the text of four differently chosen actions.

    Args:
        results: of Table VI, whose row EFA has all four protocols.
    """
    rows: list[list[str | Cell]] = []
    for protocol, text in TEXTS.items():
        cells: list[str | Cell] = []
        for metric in METRICS:
            one = estimates.estimate(results, "EFA", metric.key, protocol)
            interval = f"[{one.low:.1f}, {one.high:.1f}]" if one.bounded else ""
            cells.append(Cell(f"{one.mean:.1f}" if one.known else "–", interval, number=True))
        rows.append([Cell(protocol, text), *cells])
    if not results.origin:
        return html.note("No results of Table VI yet.") + provenance.stamp(results)
    notes = [
        "The same weights in every line; brackets: 95 % interval over seeds. With the true action told, Top-1 means "
        "nothing. The lines predicted and oracle can differ only in clips whose action is taken for another."
    ]
    head = ["who picks the text", *(metric.title for metric in METRICS)]
    return html.table("EFA under four protocols", head, rows, notes) + provenance.stamp(results)


def class_picks(opened: OpenedModel) -> Html:
    """Finding 1 on one model and one clip."""
    efa, true = opened.efa, opened.clip.action
    if not isinstance(efa.model, EFAModel):
        return html.note("This checkpoint is not EFA's, so no text is read.")
    others = [name for name in efa.actions if name != true][:OTHERS]
    with torch.no_grad():
        features = efa.model.encode_video(opened.batch)
        texts = [opened.text(name) for name in (true, *others)]
        flat = TextEncoder(efa.config.text).encode([one for text in texts for one in (*text.steps, text.instruction)])
    found = measures.class_moves(efa.model, features, flat.unflatten(0, (-1, 6)))
    table = measurement_table(
        "What moves when only the class changes", found, f"The clip shows: {true}. {opened.about}"
    )
    badge = "Trained model, one clip" if opened.trained else "Random weights, one clip"
    return table + html.stamp(badge, [_code(FINDINGS[0])], COMMAND)


def pictures(preset: str = "laptop") -> Html:
    """Finding 13 to look at: a clip as it is, as it is trained on here, and as the release's rule makes it."""
    data = build(preset, {"data.source": "formsim"}).data
    assert isinstance(data, FormSimData)
    clip = next(c for c in formsim_clips(data) if c.split == "train" and c.view == "side")
    frames = formsim.render_clip(clip, 128, data.frames)
    ours = FormSimData().model_copy(update={"flip": 1.0})  # so that there is something to see
    lines, columns = flip_and_crop(128, ours, np.random.RandomState(1))
    views = {
        "as it is": frames,
        "flipped and cropped once a clip, as here": frames[:, lines][:, :, columns],
        "stretched, flipped and cropped frame by frame, as in the release (re-created)": practice.augment_per_frame(
            frames
        ),
    }
    out = html.note(f"Clip {clip.clip_id}: {clip.action}, the first training clip seen from the side.")
    for name, view in views.items():
        out += html.show(figures.film(view), f"Six frames of one clip, {name}.", name.capitalize() + ".", kind="png")
    return out + html.stamp(
        "FormSim", ["rendered here", "code: efa_book/audit/practice.py, augment_per_frame"], COMMAND
    )
