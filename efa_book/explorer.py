"""The explorer: single clips, what each system says of them, and what is true. One document and explorer.js serve a
page without kernel and network (`static_html`) and JupyterLab (`efa_book.explorer_live.Explorer`).
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import formsim
from efa.config import FormSimData
from efa.data.loader import open_dataset
from efa.data.video import load_clip
from efa.experiments import CAPTIONERS, RECOGNISERS, table_config
from efa.metrics import FaultParser, step_in_text
from efa_book import attention, collect, html
from efa_book.collect import Results
from efa_book.html import Html
from efa_book.provenance import stamp
from formsim.faults import one_line

FOLDER = Path(__file__).parent
VERDICTS = ("standard", "non-standard")
PICTURES_PER_FRAME = 3  # pictures for each frame that the models see; the middle one is that frame itself
QUALITY = 60  # of WebP
RULE = (
    "Clips are picked by rule, never by eye or by score: the test clips of each action and each true verdict are put "
    "in the order of the SHA-256 of their ids, and the groups are gone through in turn until there are enough."
)
RIGHT, PLAIN, WRONG = 1, 0, -1
_SENTENCE = re.compile(r"\S.*?(?:[.!?]+(?=\s|$)|$)")
Document = dict[str, Any]


def find_results(
    preset: str, dataset: str = "", seeds: Sequence[int] = (0,), tables: Sequence[str] = "456"
) -> list[Results]:
    """What is published or trained of the tables IV to VI; trains nothing. `dataset`: a folder with a manifest."""
    return [collect.obtain(table, preset, seeds, train=False, dataset=dataset) for table in tables]


def build_document(results: Sequence[Results], clips: int = 128, size: int = 128) -> Document:
    """Everything that the explorer shows, as one JSON document; no clip if there are no predictions.

    Args:
        results: of one preset and one data set; for a row in several tables the first one counts.
        clips: how many clips of the test split, picked by `RULE`.
        size: side of a picture in pixels.

    Returns:
        about {rule, preset, attention, faults, left_out, stale}; actions of the clips; systems [{id, group, writes,
        protocol, seed}]; names, to which action and top5 of an answer are numbers; steps {action: five texts}; and
        clips [{id, action, view, quality, fault, reference, sprite, pictures, seen, attention 5 x T or None, answers
        {system: {action, top5, wrong (the probability of non-standard form), text, names, step}}}]. Reference and text
        are parts as `FaultMarker.mark` cuts them.

    Raises:
        InputError: a data set or a video cannot be read.
    """
    systems = _find_systems(results)
    about = {"rule": RULE, "preset": results[0].preset if results else "", "attention": False, "faults": False}
    stale = sorted(s.row for s in systems if s.results.states.get((s.row, s.seed)) == "stale")
    about |= {"left_out": 0, "stale": stale}
    document = {"version": 1, "about": about, "actions": [], "names": [], "systems": [], "steps": {}, "clips": []}
    if not systems:
        return document
    first = systems[0]
    asked = first.results
    config = table_config(asked.table, asked.preset, asked.overrides).data
    dataset = open_dataset(config, final=True)
    table = dataset.table.set_index("clip_id")
    tests = first.clips[first.clips["split"] == "test"]
    # Stale predictions may be of other clips under the same ids: what is shown must be the clip that was judged.
    known = table[table["split"] == "test"].reindex(tests["clip_id"])
    pairs = (("action", "action"), ("explanation", "reference"))
    same = np.logical_and.reduce([known[one].to_numpy() == tests[other].to_numpy() for one, other in pairs])
    marker = FaultMarker(formsim.fault_phrases() if isinstance(config, FormSimData) else {})
    weights = _read_attention(systems)
    rendered = {clip.clip_id: clip for clip in dataset.clips}
    count = PICTURES_PER_FRAME * config.frames
    names: list[str] = []  # of actions: an answer holds their numbers, because the names would make it long
    out = []
    for row in sample_clips(tests[same], clips).to_dict("records"):
        clip_id, action = str(row["clip_id"]), str(row["action"])
        answers = {s.row: answer for s in systems if (answer := s.answer(clip_id, names, marker)) is not None}
        if isinstance(config, FormSimData):
            pictures = formsim.render_clip(rendered[clip_id], size, count, config.clutter)
        else:
            video = Path(config.source) / str(table.loc[clip_id, "path"])
            pictures = load_clip(video, count, size, config.sampling).frames
        out.append({
            "id": clip_id, "action": action, "view": str(table.loc[clip_id, "view"]), "quality": int(row["quality"]),
            "fault": marker.describe(row["fault"], row["fault_step"]),
            "reference": marker.mark(str(row["reference"]), action, row["fault"])["text"],
            **encode_strip(pictures, config.frames), "answers": answers, "attention": weights.get(clip_id),
        })  # fmt: skip
    about |= {"left_out": int((~same).sum()), "faults": marker.parser is not None}
    return document | {
        "about": about | {"attention": any(clip["attention"] for clip in out)},
        "actions": sorted({clip["action"] for clip in out}), "names": names,
        "systems": [
            {"id": s.row, "group": s.group, "writes": s.writes, "protocol": s.results.protocol(s.row), "seed": s.seed}
            for s in systems
        ],
        "steps": {key: list(text.steps) for key, text in dataset.steps.items() if key in names}, "clips": out,
    }  # fmt: skip


def sample_clips(tests: pd.DataFrame, count: int) -> pd.DataFrame:
    """`count` rows of predictions by `RULE`: by rank in their group of action and verdict, then by hash."""
    order = tests["clip_id"].map(lambda name: hashlib.sha256(str(name).encode()).hexdigest())
    ranked = tests.assign(order=order).sort_values("order", kind="stable")
    ranked["rank"] = ranked.groupby(["action", "quality"]).cumcount()
    chosen = ranked.sort_values(["rank", "order"], kind="stable").head(count)
    return chosen.drop(columns=["order", "rank"]).sort_values("clip_id", ignore_index=True)


@dataclass(frozen=True)
class _System:
    """One row of one table: its predictions under the protocol of its entry."""

    row: str
    results: Results
    seed: int
    clips: pd.DataFrame

    @property
    def group(self) -> str:
        if self.row == "EFA":
            return "The paper's model"
        if self.row in CAPTIONERS:
            return "Writes explanations (Table IV)"
        return "Action and verdict only (Table V)" if self.row in RECOGNISERS else "EFA's variants (Table VI)"

    @property
    def writes(self) -> bool:
        return self.row not in RECOGNISERS or self.row in CAPTIONERS

    def answer(self, clip_id: str, names: list[str], marker: FaultMarker) -> dict[str, Any] | None:
        found = self.clips[self.clips["clip_id"] == clip_id]
        if found.empty:
            return None
        row = found.iloc[0]
        actions = [str(name) for name in (row["predicted_action"], *row["top5"])]
        names += [name for name in dict.fromkeys(actions) if name not in names]
        numbers = [names.index(name) for name in actions]
        answer = {"action": numbers[0], "top5": numbers[1:], "wrong": round(float(row["quality_prob"]), 4)}
        return answer | (marker.mark(str(row["explanation"]), row["action"], row["fault"]) if self.writes else {})


def _find_systems(results: Sequence[Results]) -> list[_System]:
    """EFA first, then in the order of the tables; those without predictions are left out."""
    found: dict[str, _System] = {}
    for one in results:
        for row in one.rows:
            seed = next((seed for seed in one.seeds if one.clips(row, seed) is not None), None)
            clips = None if seed is None else one.clips(row, seed)
            if row not in found and seed is not None and clips is not None and len(clips):
                found[row] = _System(row, one, seed, clips)
    return sorted(found.values(), key=lambda system: system.row != "EFA")


class FaultMarker:
    """Cuts a text into plain parts and parts that name a fault, with the parser that fault F1 uses.

    `phrases`: action -> fault -> the clauses that state it; empty if the truth is not known.
    """

    def __init__(self, phrases: Mapping[str, Mapping[str, Sequence[str]]]):
        self.phrases = {f"{action}/{name}": p for action, faults in phrases.items() for name, p in faults.items()}
        self.parser = FaultParser(phrases) if phrases else None

    def describe(self, fault: object, step: object) -> dict[str, Any] | None:
        """name, clause and step (1 to 5, or None) of a true fault 'action/fault'; None if there is none."""
        if not isinstance(fault, str) or not fault:
            return None
        number = int(step) if isinstance(step, int | float) and not math.isnan(step) else None
        return {"name": _name(fault), "clause": next(iter(self.phrases.get(fault, ())), ""), "step": number}

    def mark(self, text: str, action: str, fault: object) -> dict[str, Any]:
        """text as [[part, mark]], mark 1 for the true fault, -1 for another, 0 for the rest; names; the step blamed.

        `action` and `fault` ('action/fault' or '') are the clip's true ones.
        """
        line = one_line(text)
        spans, names = [], []
        if self.parser is not None:
            # Names come from the whole text, as for fault F1; each sentence by itself says where.
            names = [{"name": _name(one), "right": one == fault} for one in sorted(self.parser.faults(line, action))]
            for sentence in _SENTENCE.finditer(line) if names else ():
                for named in sorted(self.parser.faults(sentence[0], action)):
                    start, end = self._find_span(named, sentence[0])
                    spans.append((sentence.start() + start, sentence.start() + end, named == fault))
        return {"text": _cut(line, spans), "names": names, "step": step_in_text(line)}

    def _find_span(self, fault: str, sentence: str) -> tuple[int, int]:
        """Where in a sentence a fault is stated: the longest of its phrases that occurs there, else all of it."""
        found = []
        for phrase in self.phrases.get(fault, ()):
            pattern = r"\W+".join(map(re.escape, re.findall(r"\w+", phrase)))
            if hit := re.search(rf"\b{pattern}\b", sentence, re.IGNORECASE):
                found.append(hit.span())
        return max(found, key=lambda span: span[1] - span[0], default=(0, len(sentence)))


def _name(fault: str) -> str:
    return fault.split("/")[-1].replace("_", " ")


def _cut(line: str, spans: list[tuple[int, int, bool]]) -> list[list[Any]]:
    """[[part, mark]] in order; where spans overlap, the right one counts, then the first."""
    taken: list[tuple[int, int, bool]] = []
    for start, end, right in sorted(spans, key=lambda span: (not span[2], span[0])):
        if all(end <= a or start >= b for a, b, _ in taken):
            taken.append((start, end, right))
    parts, at = [], 0
    for start, end, right in sorted(taken):
        parts += [[line[at:start], PLAIN], [line[start:end], RIGHT if right else WRONG]]
        at = end
    return [part for part in [*parts, [line[at:], PLAIN]] if part[0]]


def _read_attention(systems: Sequence[_System]) -> dict[str, list[list[float]]]:
    """clip -> 5 x T attention of EFA's steps; empty if it is not known for the very run that is shown."""
    efa = next((s for s in systems if s.row == "EFA"), None)
    table = attention.find_attention(efa.results, efa.row, efa.seed) if efa else None
    if table is None:
        return {}
    ordered = table.sort_values(["clip_id", "step", "frame"])
    frames = int(ordered["frame"].max())
    weights = ordered["weight"].to_numpy(np.float64).reshape(-1, 5, frames).round(4)
    return dict(zip(ordered["clip_id"].to_numpy()[:: 5 * frames], weights.tolist(), strict=True))


def encode_strip(frames: np.ndarray, seen: int) -> dict[str, Any]:
    """Pictures uint8 [n, S, S, 3] side by side as a data URL of WebP; models see `seen` of them, evenly spaced."""
    from PIL import Image

    out, share = io.BytesIO(), len(frames) // seen
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(out, "WEBP", quality=QUALITY, method=4)
    url = f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
    return {"sprite": url, "pictures": len(frames), "seen": [i * share + share // 2 for i in range(seen)]}


def to_json(document: Document) -> str:
    """The document as JSON that may stand inside a script element: no '<', no line separator of JavaScript."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def static_html(document: Document) -> Html:
    """The explorer as HTML that runs by itself: no kernel, no request, also from a file.

    A plain table comes first and stays where there are no scripts; else the module folds it away.
    """
    if not document["clips"]:
        return html.note("No predictions to explore yet.")
    text = to_json(document)
    name = f"efa-explorer-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    module, style = ((FOLDER / f"explorer.{kind}").read_text(encoding="utf-8") for kind in ("js", "css"))
    start = (
        f'\n{{\n  const data = JSON.parse(document.getElementById("{name}-data").textContent);\n'
        "  const known = { data, address: true };\n"
        f"  render({{ model: {{ get: (key) => known[key], on() {{}}, off() {{}} }}, "
        f'el: document.getElementById("{name}") }});\n}}\n'
    )
    plain = plain_table(document)
    source = (
        f'<style>\n{style}</style><div class="efa-explorer" id="{name}">{plain.source}</div>'
        f'<script type="application/json" id="{name}-data">{text}</script>'
        f'<script type="module">\n{module}{start}</script>'
    )
    return Html(source, plain.text)


def plain_table(document: Document) -> Html:
    """The same clips as a plain table: the truth beside the first system's answer."""

    def join(parts: Sequence[Sequence[Any]]) -> str:
        return "".join(part for part, _ in parts)

    first = document["systems"][0]["id"]
    rows: list[list[str | html.Cell]] = []
    for clip in document["clips"]:
        answer, fault = clip["answers"].get(first), clip["fault"]
        truth = VERDICTS[clip["quality"]] if clip["quality"] >= 0 else "unknown"
        step = f", step {fault['step']}" if fault and fault["step"] else ""
        cells: list[str | html.Cell] = ["", ""]
        if answer is not None:
            minor = f"{VERDICTS[answer['wrong'] >= 0.5]}, probability of non-standard {answer['wrong']:.2f}"
            cells = [html.Cell(document["names"][answer["action"]], minor), join(answer.get("text", []))]
        name, true = html.Cell(clip["id"], clip["view"]), html.Cell(clip["action"], truth)
        rows.append([name, true, f"{fault['name']}{step}" if fault else "", join(clip["reference"]), *cells])
    head = ["clip, view", "true action, verdict", "true fault", "reference", f"{first}: answer", "explanation"]
    notes = [RULE, "The answers of the other systems need JavaScript; they also lie in results/, one file a system."]
    return html.table("All clips as a table", head, rows, notes)


def html_page(document: Document, title: str = "Clips and answers") -> str:
    """A whole HTML document with nothing but the explorer, light or dark as the browser asks."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        "<style>:root { color-scheme: light dark; } body { font: 1rem/1.5 system-ui, sans-serif; max-width: 75rem; "
        "margin: 1rem auto; padding: 0 1rem; background: Canvas; color: CanvasText; }</style></head>"
        f"<body><main><h1>{html.escape(title)}</h1>\n{static_html(document).source}\n</main></body></html>\n"
    )


def show(document: Document, live: bool = False, checkpoint: str = "") -> Any:
    """What a notebook shows: `static_html`, or if `live` the panel that assesses videos as well.

    The panel needs a Jupyter front end to run widgets, which the book's pages lack. `checkpoint`: as for `Panel`.
    """
    if not live or not document["clips"]:
        return static_html(document)
    from efa_book.explorer_live import Panel

    return Panel(document, checkpoint)


def stamps(results: Sequence[Results]) -> Html:
    """One stamp for each table."""
    return sum((stamp(one) for one in results), Html(""))
