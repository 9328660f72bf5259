"""The first page: what the paper claims, what came out here, and one clip with its assessment."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

import formsim
from efa.config import build
from efa.data.landmarks import INDEX
from efa.utils.errors import InputError
from efa_book import blind, claims, estimates, examples, html, people, provenance, qualitative
from efa_book.claims import UNTESTABLE
from efa_book.collect import Results, obtain
from efa_book.html import Html, escape
from efa_book.pictures import draw_skeleton, limbs_of_faults
from efa_book.table_specs import AUC
from formsim.motion import JOINTS

ClaimRow = tuple[str, str, str, str]  # claim, outcome, figures, page
HEAD = {"nose": 0.0, "ear_l": 0.03, "ear_r": -0.03}  # landmarks of FormSim's one joint; widths of the picture beside it
WAYS_IN = """<p><b>Three ways in</b></p><ul>
<li>Read: <a href="../book/method.html">the method</a>, or
<a href="../book/audit.html">what the paper does not say</a></li>
<li>Run: <code>make reproduce</code> trains all of it, without a GPU</li>
<li>Film a squat: <code>.venv/bin/efa assess my_video.mp4</code> (<a href="../book/assess.html">how</a>)</li></ul>"""


def read_results(preset: str = "laptop") -> dict[str, Results]:
    """Results of every table that the page needs, with every seed that is there; trains nothing."""
    found = {table: obtain(table, preset, None, train=False) for table in ("4", "5", "6", "7", "standards", "unseen")}
    return found | {"pose": obtain("6", "pose", None, train=False), "pose 7": obtain("7", "pose", None, train=False)}


def claim_rows(tables: dict[str, Results]) -> list[ClaimRow]:
    """The rows of the table of claims: those of the paper first, then the book's own questions."""
    judged = {table: claims.judge(tables[table]) for table in ("4", "5", "6", "7", "pose", "pose 7")}

    def outcome(table: str, metric: str = "") -> str:
        return claims.summarize([one.outcome for one in judged[table] if metric in ("", one.claim.metric)])

    def value(table: str, metric: str, row: str = "EFA") -> str:
        found = estimates.estimate(tables[table], row, metric)
        spread = f" ({found.low:.1f}\u2013{found.high:.1f})" if found.bounded else ""
        return f"{found.mean:.1f}{spread}" if found.known else "unknown"

    def text_effect(table: str) -> tuple[str, str]:
        gap = estimates.effect(tables[table], "EFA", "w/o text", "quality_auc")
        auc = f"AUC {value(table, 'quality_auc')}, without text {value(table, 'quality_auc', 'w/o text')}"
        return claims.decide(gap, AUC.tolerance, gap.p, gap.mean > 0), auc + older(tables[table])

    form, alone = (value("5", "quality_balanced_acc", row) for row in ("EFA", "Video Swin"))
    comparison, ablation = "notebooks/comparison", "notebooks/ablation"
    explains = f"CIDEr-D {value('4', 'cider_d')}"
    with contextlib.suppress(InputError):  # texts that cannot be scored
        floors = blind.floors(build(tables["4"].preset, tables["4"].overrides).data).values()
        explains += f"; a text picked without looking has up to {max(floor['cider_d'] for floor in floors):.0f}"
    judges = f"balanced accuracy {form}; its encoder alone {alone}"
    shipped = "the videos cannot be shipped; the code runs on them"
    return [
        ("It explains better than earlier systems", outcome("4", "cider_d"), explains, comparison),
        ("It finds the action more often", outcome("5", "top1"), f"Top-1 {value('5', 'top1')}", comparison),
        ("It judges form better", outcome("5", "quality_acc"), judges, comparison),
        ("Each part of it helps", outcome("6"), f"on poses: {outcome('pose')}", ablation),
        ("A loss weight of 3 is best", outcome("7"), f"on poses: {outcome('pose 7')}", "notebooks/loss_weight"),
        ("Its numbers on CoT-AFA", UNTESTABLE, shipped, "book/own_data"),
        ("Asked here: where only the text can decide, it does", *text_effect("standards"), ablation),
        ("Asked here: text helps with new exercises", *text_effect("unseen"), ablation),
        *_people_rows(),
    ]


def older(results: Results) -> str:
    """What is said of EFA's runs where none is of the code of today; else ''."""
    used = results.values("EFA", AUC.key)
    return "; runs of an older version" if used and results.states.get(("EFA", min(used))) == "stale" else ""


def _people_rows() -> list[ClaimRow]:
    """What came out on real people; no rows without results of them."""
    try:
        found = people.load_results()
    except InputError:
        return []
    rows = found.comparisons.set_index("claim")
    out: list[ClaimRow] = []
    for asked, claim in (
        ("Asked here: it judges real people whom it never saw", "EFA tells correct from incorrect people"),
        ("Asked here: so it does without training on people", "EFA that never saw people does, too"),
    ):
        if claim in rows.index:
            cell = found.cell(str(rows.loc[claim, "row"]), "acc")
            accuracy = f"accuracy {cell.text} ({cell.minor})"
            out.append((asked, str(rows.loc[claim, "outcome"]), accuracy, "notebooks/real_people"))
    return out


def claims_table(tables: dict[str, Results]) -> Html:
    """The claims with their outcomes, each linked to its chapter; made for book/intro.html."""
    found = claim_rows(tables)
    body = "".join(
        f'<tr><th scope="row"><a href="../{escape(page)}.html">{escape(claim)}</a></th>'
        f"<td>{escape(outcome)}</td><td>{escape(numbers)}</td></tr>" for claim, outcome, numbers, page in found
    )  # fmt: skip
    head = '<th scope="col">claim</th><th scope="col">here</th><th scope="col">EFA here</th>'
    caption = "The paper's claims, and four questions of our own"
    inner = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    text = "\n".join([caption, *(" | ".join(row) for row in found)])
    return Html(html.wide(inner, caption), text) + provenance.stamp(tables["6"])


def first_screen(tables: dict[str, Results]) -> Html:
    """A clip that plays with its assessment, beside the paper's five main claims; made for book/intro.html."""
    rows = claim_rows(tables)[:5]
    lines = "".join(
        f'<li><a href="../{escape(page)}.html">{escape(claim)}</a>: <b>{escape(outcome)}</b></li>'
        for claim, outcome, _, page in rows
    )
    told = f"<div><p><b>The paper's five main claims, tried here</b></p><ol>{lines}</ol>{WAYS_IN}</div>"
    clip, text = example_clip(tables["pose"]), "\n".join(f"{claim}: {outcome}" for claim, outcome, *_ in rows)
    return Html(f'{html.STYLE}<div class="efa-first"><div>{clip.source}</div>{told}</div>', f"{clip.text}\n{text}")


def example_clip(results: Results) -> Html:
    """One clip with EFA's answer, and how often such an answer occurs."""
    clips = qualitative.outcomes(results)
    faulty = clips[clips["quality"] == 1]
    seen = faulty[faulty["called"] & faulty["names_it"]]
    if clips.empty:
        return html.note(f"No predictions to show yet: run 'efa run 6/EFA --preset {results.preset}'.")
    if seen.empty:
        return html.note("EFA names no fault correctly here.")
    clip = seen.iloc[0]
    answer = f"{clip['predicted_action']}: non-standard ({clip['quality_prob']:.0%}). {clip['explanation']}"
    often = (
        f"A rendered figure, and what EFA on poses says; marked are the limbs that its text names. It sees and names "
        f"the fault in {len(seen)} of {len(faulty)} such clips; this is the first, in an order that knows no scores"
        f"{older(results)}."
    )
    found = examples.find_clip(clip, build(results.preset, results.overrides).data)
    alt = f"A figure does one {clip['action']}, its skeleton drawn over it."
    moving = Html("") if found is None else html.moving(*_play(found, sorted(clip["named"])), alt)
    return moving + html.note(answer) + html.note(often)


def _play(clip: formsim.Clip, faults: Sequence[str], size: int = 320, frames: int = 24) -> tuple[bytes, bytes]:
    """One repetition with the skeleton over it and the limbs of the faults marked: WebP, played twice; its middle."""
    places, marked = formsim.pose_target(clip, frames)[2] * size, limbs_of_faults(faults)
    known = [name for name in JOINTS if name in INDEX]
    points, seen = np.zeros((frames, len(INDEX), 2)), np.zeros(len(INDEX))
    for name in (*known, *HEAD):
        points[:, INDEX[name]], seen[INDEX[name]] = places[:, JOINTS.index(name if name in known else "head")], 1
        points[:, INDEX[name], 0] += HEAD.get(name, 0.0) * size
    pictures = [
        draw_skeleton(Image.fromarray(picture), at, seen, {name for name in marked if seen[INDEX[name]]})
        for picture, at in zip(formsim.render_clip(clip, size, frames, 0.0), points, strict=True)
    ]
    out = io.BytesIO(), io.BytesIO()
    pictures[0].save(out[0], "WEBP", save_all=True, append_images=pictures[1:], duration=90, loop=2, quality=60)
    pictures[frames // 2].save(out[1], "WEBP", quality=60)
    return out[0].getvalue(), out[1].getvalue()
