"""HTML for the book and for Jupyter: tables, figures and the stamp that says where their numbers come from.

Whatever comes from data passes `escape`. Colours are those of the page, thinned, so that light and dark both work.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """<style>
.efa-wide { overflow-x: auto; }
table.efa { border-collapse: collapse; margin: 0 0 .4rem 0; font-size: .82rem; color: inherit; }
table.efa caption { caption-side: top; text-align: left; font-weight: 600; padding: .3rem 0; color: inherit; }
table.efa th, table.efa td { text-align: left; vertical-align: top; padding: .25rem .3rem; }
table.efa thead th { border-bottom: 2px solid currentColor; }
table.efa tbody th, table.efa tbody td { border-top: 1px solid rgba(128, 128, 128, .35); }
table.efa td.number, table.efa th.number { text-align: right; font-variant-numeric: tabular-nums; }
table.efa td.number { white-space: nowrap; }
table.efa .minor { opacity: .75; font-size: .92em; }
.efa-note, .efa-stamp { font-size: .8rem; margin: .15rem 0; color: inherit; }
.efa-stamp { opacity: .85; }
.efa-badge { border: 1px solid currentColor; border-radius: .6rem; padding: 0 .45rem; font-weight: 600; }
table.efa mark { background: rgba(255, 196, 0, .3); color: inherit; padding: 0 .1em; border-radius: .15em; }
figure.efa { margin: 0 0 .6rem 0; }
.efa-stamp code { color: inherit !important; background: none !important; border: none; }
figure.efa img { max-width: 100%; height: auto; padding: 0 !important; filter: none !important; }
figure.efa figcaption { font-size: .86rem; margin-top: .3rem; color: inherit !important; }
</style>"""


def escape(text: object) -> str:
    """Text as HTML shows it, in an element or in a quoted attribute."""
    return html.escape(str(text), quote=True)


@dataclass(frozen=True)
class Html:
    """A piece of HTML that Jupyter displays. `text` stands in where HTML cannot be shown."""

    source: str
    text: str = ""

    def _repr_html_(self) -> str:
        return self.source

    def __repr__(self) -> str:
        return self.text

    def __add__(self, other: Html) -> Html:
        return Html(self.source + other.source, "\n".join(part for part in (self.text, other.text) if part))


@dataclass(frozen=True)
class Cell:
    """A cell: text, a smaller second line, and whether it is a number."""

    text: str
    minor: str = ""
    number: bool = False

    def html(self) -> str:
        return f"<td{_class(self.number)}>{self.inner()}</td>"

    def inner(self) -> str:
        minor = f'<br><span class="minor">{escape(self.minor)}</span>' if self.minor else ""
        return escape(self.text) + minor


def table(
    caption: str, head: Sequence[str | Cell], rows: Sequence[Sequence[str | Cell]], notes: Sequence[str] = ()
) -> Html:
    """A table whose first column names the rows.

    Args:
        head: one title a column. rows: cells, the first a plain name.
    """
    titles, *cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in (head, *rows)]
    numeric = [bool(cells) and all(row[i].number for row in cells) for i in range(len(titles))]
    top = "".join(
        f'<th scope="col"{_class(number)}>{title.inner()}</th>' for title, number in zip(titles, numeric, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{row[0].inner()}</th>{"".join(cell.html() for cell in row[1:])}</tr>' for row in cells
    )
    below = "".join(f'<p class="efa-note">{escape(note)}</p>' for note in notes)
    plain = [caption, *(" | ".join(f"{cell.text} {cell.minor}".strip() for cell in row) for row in (titles, *cells))]
    inner = f"<caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody>"
    source = wide(inner, caption) + below
    return Html(source, "\n".join([*plain, *notes]))


def wide(inner: str, label: str) -> str:
    """A table's inside, as HTML, in a frame that scrolls sideways where the page is narrow, by keyboard as well."""
    frame = f'<div class="efa-wide" tabindex="0" role="region" aria-label="{escape(label)}">'
    return f'{STYLE}{frame}<table class="efa">{inner}</table></div>'


def note(text: str) -> Html:
    """A paragraph."""
    return Html(f'{STYLE}<p class="efa-note">{escape(text)}</p>', text)


def stamp(badge: str, parts: Sequence[str], command: str) -> Html:
    """Where numbers come from: a badge for the data, facts, and the command that makes them again."""
    facts = " · ".join(escape(part) for part in parts if part)
    source = (
        f'<p class="efa-stamp"><span class="efa-badge">{escape(badge)}</span> {facts}<br>'
        f"Again: <code>{escape(command)}</code></p>"
    )
    return Html(source, f"[{badge}] {' · '.join(part for part in parts if part)}\nAgain: {command}")


def show(figure: Figure | None, alt: str, caption: str = "", kind: str = "svg") -> Html:
    """A figure as an image inside the page, the same bytes for the same data; closes it.

    Args:
        figure: None where there is nothing to draw; a line says so.
        alt: what it shows, for whoever cannot see it.
        kind: 'svg', or 'png' for photographs and frames.
    """
    import matplotlib as mpl

    if figure is None:
        return note("No figure: there are no results to draw yet.")
    data = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "efa"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        figure.savefig(data, format=kind, metadata=metadata, dpi=110)
    figure.clear()
    return image(data.getvalue(), "image/svg+xml" if kind == "svg" else "image/png", alt, caption)


def image(data: bytes, mime: str, alt: str, caption: str = "") -> Html:
    """Bytes of an image as a figure."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    encoded = base64.b64encode(data).decode()
    source = f'{STYLE}<figure class="efa"><img alt="{escape(alt)}" src="data:{mime};base64,{encoded}">{below}</figure>'
    return Html(source, alt)


def _class(number: bool) -> str:
    return ' class="number"' if number else ""
