"""The explorer: single clips, what each system says of them, and what is true. One document, one module, two homes.

`data` builds the document from predictions, `static` puts it and explorer.js into a page that needs no kernel
and no network, `efa_book.explorer_live.Explorer` gives the same two to JupyterLab.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import formsim
from efa.config import DataConfig, FormSimData
from efa.data.loader import formsim_clips, open_dataset
from efa.experiments import CAPTIONERS, RECOGNISERS, table_config
from efa_book import attention, collect, html
from efa_book.collect import Results
from efa_book.explorer_text import FaultMarker
from efa_book.html import Html
from efa_book.provenance import stamp

FOLDER = Path(__file__).parent
VERDICTS = ("standard", "non-standard")
TABLE_SPECS = 3  # pictures for each frame that the models see; the middle one is that frame itself
QUALITY = 60  # of WebP
RULE = (
    "Clips are picked by rule, never by eye or by score: the test clips of each action and each true verdict are put "
    "in the order of the SHA-256 of their ids, and the groups are gone through in turn until there are enough."
)
Document = dict[str, Any]


def find(preset: str, dataset: str = "", seeds: Sequence[int] = (0,), tables: Sequence[str] = "456") -> list[Results]:
    """What is published or trained of the tables IV to VI; trains nothing.

    Args:
        dataset: a folder with a manifest, in place of the preset's data.
    """
    return [collect.obtain(table, preset, seeds, train=False, dataset=dataset) for table in tables]


def data(results: Sequence[Results], clips: int = 128, size: int = 128) -> Document:
    """Everything that the explorer shows, as one JSON document.

    Args:
        results: of one preset and one data set; of a row that stands in several tables the first counts.
        clips: how many clips of the test split, picked by `RULE`.
        size: side of a picture in pixels.

    Returns:
        about {rule, preset, attention, faults, left_out, stale}; actions of the clips; systems [{id, group, writes,
        protocol, seed}]; names, to which action and top5 of an answer are numbers; steps {action: five texts}; and
        clips [{id, action, view, quality, fault, reference, sprite, pictures, seen, attention 5 x T or None, answers
        {system: {action, top5, wrong (the probability of non-standard form), text, names, step}}}]. Reference and text
        are parts as `FaultMarker.marked` cuts them. No clip where there are no predictions.

    Raises:
        InputError: a data set or a video cannot be read.
    """
    systems = _systems(results)
    if not systems:
        return _document(results, systems, [], {}, [], {"left_out": 0, "faults": False})
    first = systems[0]
    shown = first.results
    config = table_config(shown.table, shown.preset, shown.overrides).data
    table = open_dataset(config).table.set_index("clip_id")
    tests = first.clips[first.clips["split"] == "test"]
    # Stale predictions may be of other clips under the same ids: what is shown must be the clip that was judged.
    known = table[table["split"] == "test"].reindex(tests["clip_id"])
    same = (known["action"].to_numpy() == tests["action"].to_numpy()) & (
        known["explanation"].to_numpy() == tests["reference"].to_numpy()
    )
    picked = sample(tests[same], clips)
    marker = FaultMarker(formsim.fault_phrases() if isinstance(config, FormSimData) else {})
    weights = _weights(systems)
    pictures = _Pictures(config, size)
    names: list[str] = []
    out = []
    for row in picked.to_dict("records"):
        clip_id, action, fault = str(row["clip_id"]), str(row["action"]), row["fault"]
        facts = table.loc[clip_id]
        out.append(
            {
                "id": clip_id,
                "action": action,
                "view": str(facts["view"]),
                "quality": int(row["quality"]),
                "fault": marker.describe(fault, row["fault_step"]),
                "reference": marker.marked(str(row["reference"]), action, fault)["text"],
                **pictures.of(clip_id, str(facts["path"])),
                "answers": {s.row: said for s in systems if (said := s.answer(clip_id, names, marker)) is not None},
                "attention": weights.get(clip_id),
            }
        )
    steps = {key: list(text.steps) for key, text in open_dataset(config).steps.items()}
    about = {"left_out": int((~same).sum()), "faults": marker.parser is not None}
    return _document(results, systems, names, steps, out, about)


def sample(tests: pd.DataFrame, count: int) -> pd.DataFrame:
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
        said = [_number(name, names) for name in (row["predicted_action"], *row["top5"])]
        answer = {"action": said[0], "top5": said[1:], "wrong": round(float(row["quality_prob"]), 4)}
        if self.writes:
            answer |= marker.marked(str(row["explanation"]), str(row["action"]), row["fault"])
        return answer


def _systems(results: Sequence[Results]) -> list[_System]:
    """EFA first, then as the tables have them; those without predictions are left out."""
    found: dict[str, _System] = {}
    for one in results:
        for row in one.rows:
            seed = next((seed for seed in one.seeds if one.clips(row, seed) is not None), None)
            clips = None if seed is None else one.clips(row, seed)
            if row not in found and clips is not None and len(clips):
                found[row] = _System(row, one, int(seed or 0), clips)
    return sorted(found.values(), key=lambda system: system.row != "EFA")


def _weights(systems: Sequence[_System]) -> dict[str, list[list[float]]]:
    """clip -> 5 x T attention of EFA's steps; empty where it is not known for the very run that is shown."""
    efa = next((s for s in systems if s.row == "EFA"), None)
    table = attention.find_attention(efa.results, efa.row, efa.seed) if efa else None
    if table is None:
        return {}
    ordered = table.sort_values(["clip_id", "step", "frame"])
    frames = int(ordered["frame"].max())
    weights = ordered["weight"].to_numpy(np.float64).reshape(-1, 5, frames).round(4)
    return dict(zip(ordered["clip_id"].to_numpy()[:: 5 * frames], weights.tolist(), strict=True))


class _Pictures:
    """The clips' pictures: one WebP strip each, `TABLE_SPECS` pictures for each frame that the models see."""

    def __init__(self, config: DataConfig, size: int):
        self.config, self.size, self.count = config, size, TABLE_SPECS * config.frames
        own = formsim_clips(config) if isinstance(config, FormSimData) else ()
        self.clips = {clip.clip_id: clip for clip in own}

    def of(self, clip_id: str, path: str) -> dict[str, Any]:
        if isinstance(self.config, FormSimData):
            frames = formsim.render_clip(self.clips[clip_id], self.size, self.count, self.config.clutter)
        else:
            from efa.data.video import read_clip

            video = Path(self.config.source) / path
            frames = read_clip(video, self.count, self.size, self.config.sampling)
        return strip(frames, self.config.frames)


def strip(frames: np.ndarray, seen: int) -> dict[str, Any]:
    """Pictures uint8 [n, S, S, 3] side by side as a data URL; `seen` of them, evenly spaced, are what a model sees."""
    from PIL import Image

    out, share = io.BytesIO(), len(frames) // seen
    Image.fromarray(np.concatenate(list(frames), axis=1)).save(out, "WEBP", quality=QUALITY, method=4)
    url = f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
    return {"sprite": url, "pictures": len(frames), "seen": [i * share + share // 2 for i in range(seen)]}


def _number(name: object, names: list[str]) -> int:
    """Where a name stands in the list, which it joins if it is new: a name a clip and system would be long."""
    if str(name) not in names:
        names.append(str(name))
    return names.index(str(name))


def _document(
    results: Sequence[Results],
    systems: Sequence[_System],
    names: list[str],
    steps: Mapping[str, list[str]],
    clips: list[dict[str, Any]],
    about: dict[str, Any],
) -> Document:
    stale = sorted({s.row for s in systems if s.results.states.get((s.row, s.seed)) == "stale"})
    return {
        "version": 1,
        "about": {
            "rule": RULE,
            "preset": results[0].preset if results else "",
            "attention": any(clip["attention"] for clip in clips),
            "stale": stale,
            **about,
        },
        "actions": sorted({clip["action"] for clip in clips}),
        "names": names,
        "systems": [
            {"id": s.row, "group": s.group, "writes": s.writes, "protocol": s.results.protocol(s.row), "seed": s.seed}
            for s in systems
        ],
        "steps": {key: text for key, text in steps.items() if key in names},
        "clips": clips,
    }


def encoded(document: Document) -> str:
    """The document as JSON that may stand inside a script element: no '<', no line separator of JavaScript."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def static(document: Document) -> Html:
    """The explorer as HTML that runs by itself: no kernel, no request, also from a file.

    A plain table stands there first; the module folds it away once it runs. Where no script runs, the table stays.
    """
    if not document["clips"]:
        return html.note("No predictions to explore yet.")
    text = encoded(document)
    name = f"efa-explorer-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    module = (FOLDER / "explorer.js").read_text(encoding="utf-8")
    start = (
        f'\n{{\n  const data = JSON.parse(document.getElementById("{name}-data").textContent);\n'
        "  const known = { data, address: true };\n"
        f"  render({{ model: {{ get: (key) => known[key], on() {{}}, off() {{}} }}, "
        f'el: document.getElementById("{name}") }});\n}}\n'
    )
    plain = fallback(document)
    source = (
        f"<style>\n{(FOLDER / 'explorer.css').read_text(encoding='utf-8')}</style>"
        f'<div class="efa-explorer" id="{name}">{plain.source}</div>'
        f'<script type="application/json" id="{name}-data">{text}</script>'
        f'<script type="module">\n{module}{start}</script>'
    )
    return Html(source, plain.text)


def fallback(document: Document) -> Html:
    """The same clips as a plain table: the truth beside the first system's answer."""
    (first, *_) = document["systems"]
    rows: list[list[str | html.Cell]] = []
    for clip in document["clips"]:
        answer = clip["answers"].get(first["id"])
        fault = clip["fault"]
        truth = VERDICTS[clip["quality"]] if clip["quality"] >= 0 else "unknown"
        wrong = f"{fault['name']}, step {fault['step']}" if fault and fault["step"] else fault["name"] if fault else ""
        said: list[str | html.Cell] = ["", ""]
        if answer is not None:
            minor = f"{VERDICTS[answer['wrong'] >= 0.5]}, probability of non-standard {answer['wrong']:.2f}"
            said = [html.Cell(document["names"][answer["action"]], minor), _words(answer.get("text", []))]
        name, true = html.Cell(clip["id"], clip["view"]), html.Cell(clip["action"], truth)
        rows.append([name, true, wrong, _words(clip["reference"]), *said])
    head = ["clip, view", "true action, verdict", "true fault", "reference", f"{first['id']}: answer", "explanation"]
    notes = [RULE, "The answers of the other systems need JavaScript; they also lie in results/, one file a system."]
    return html.table("All clips as a table", head, rows, notes)


def _words(parts: Sequence[Sequence[Any]]) -> str:
    return "".join(part for part, _ in parts)


def page(document: Document, title: str = "Clips and answers") -> str:
    """A whole HTML document with nothing but the explorer, light or dark as the browser asks."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title>"
        "<style>:root { color-scheme: light dark; } body { font: 1rem/1.5 system-ui, sans-serif; max-width: 75rem; "
        "margin: 1rem auto; padding: 0 1rem; background: Canvas; color: CanvasText; }</style></head>"
        f"<body><main><h1>{html.escape(title)}</h1>\n{static(document).source}\n</main></body></html>\n"
    )


def show(document: Document, live: bool = False, checkpoint: str = "") -> Any:
    """What a notebook shows: `static`, or with a kernel beside it the panel that assesses videos as well.

    Args:
        live: a Jupyter front end is there to run widgets. The book's pages have none.
        checkpoint: as for `efa_book.explorer_live.Panel`.
    """
    if not live or not document["clips"]:
        return static(document)
    from efa_book.explorer_live import Panel

    return Panel(document, checkpoint)


def stamps(results: Sequence[Results]) -> Html:
    """One stamp a table, as under every table of the book."""
    (first, *others) = [stamp(one) for one in results]
    return sum(others, first)
