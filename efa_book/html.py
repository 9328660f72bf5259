"""HTML for the book and for Jupyter: tables, figures and the stamp that says where their numbers come from.

Whatever comes from data passes `escape`. Colours are those of the page, thinned, so that light and dark both work.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = f"<style>\n{Path(__file__).with_name('tables.css').read_text(encoding='utf-8')}</style>"


def escape(text: object) -> str:
    """Text as HTML shows it, in an element or in a quoted attribute."""
    return html.escape(str(text), quote=True)


@dataclass(frozen=True)
class Html:
    """A piece of HTML that Jupyter displays, and the plain text to show where HTML cannot be shown."""

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
    """A cell: text, a smaller second line, whether it is a number, and the address that the text links to."""

    text: str
    minor: str = ""
    number: bool = False
    link: str = ""

    def inner(self) -> str:
        minor = f'<br><span class="minor">{escape(self.minor)}</span>' if self.minor else ""
        text = f'<a href="{escape(self.link)}">{escape(self.text)}</a>' if self.link else escape(self.text)
        return text + minor


def table(
    caption: str, head: Sequence[str | Cell], rows: Sequence[Sequence[str | Cell]], notes: Sequence[str] = (),
    groups: Sequence[tuple[str, int]] = (),
) -> Html:  # fmt: skip
    """A table whose first column names the rows; a row with a single cell is a heading of those below it.

    `head`: a title a column; `notes`: paragraphs below; `groups`: (title, number of columns), in a line above the head.
    """
    titles, *cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in (head, *rows)]
    mark = ("", ' class="number"')
    full = [row for row in cells if len(row) > 1]
    numeric = [mark[bool(full) and all(row[i].number for row in full)] for i in range(len(titles))]
    top = "".join(f'<th scope="col"{kind}>{cell.inner()}</th>' for cell, kind in zip(titles, numeric, strict=True))
    above = "".join(f'<th scope="colgroup" colspan="{width}">{escape(title)}</th>' for title, width in groups)
    columns = "".join(f'<colgroup span="{width}"></colgroup>' for _, width in groups)
    body = ""
    for first, *others in cells:
        inner = "".join(f"<td{mark[cell.number]}>{cell.inner()}</td>" for cell in others)
        if others:
            body += f'<tr><th scope="row">{first.inner()}</th>{inner}</tr>'
        else:  # a body of its own, so that a screen reader gives the heading with these rows alone
            heading = f'<tr><th scope="rowgroup" colspan="{len(titles)}">{first.inner()}</th></tr>'
            body += "</tbody><tbody>" + (heading if first.text else "")
    below = "".join(f'<p class="efa-note">{escape(note)}</p>' for note in notes)
    plain = [caption, *(" | ".join(f"{cell.text} {cell.minor}".strip() for cell in row) for row in (titles, *cells))]
    lines = f"<tr>{above}</tr><tr>{top}</tr>" if groups else f"<tr>{top}</tr>"
    inner = f"<caption>{escape(caption)}</caption>{columns}<thead>{lines}</thead><tbody>{body}</tbody>"
    return Html(wide(inner.replace("<tbody></tbody>", ""), caption) + below, "\n".join([*plain, *notes]))


def setting(value: object) -> str:
    """A setting's value as pages show it."""
    if isinstance(value, tuple):
        return f"({', '.join(map(setting, value))})"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value).lower() if isinstance(value, bool) else "''" if value == "" else str(value)


def wide(inner: str, label: str) -> str:
    """A table's inner HTML in a frame that scrolls sideways on a narrow page, by keyboard as well."""
    frame = f'<div class="efa-wide" tabindex="0" role="region" aria-label="{escape(label)}">'
    return f'{STYLE}{frame}<table class="efa">{inner}</table></div>'


def details(title: str, minor: str, inside: Html) -> Html:
    """A line, a smaller one beside it, and what both open into; needs no script."""
    summary = f"<summary>{escape(title)}<br><small>{escape(minor)}</small></summary>"
    source = f'{STYLE}<details class="efa">{summary}{inside.source}</details>'
    return Html(source, f"{title}: {minor}\n{inside.text}")


def note(text: str) -> Html:
    """A paragraph."""
    return Html(f'{STYLE}<p class="efa-note">{escape(text)}</p>', text)


def stamp(badge: str, parts: Sequence[str], command: str) -> Html:
    """Where numbers come from, in one line that unfolds: a badge for the data and the first of the facts; the other
    facts, and the command that makes the numbers again."""
    first, *rest = [part for part in parts if part] or [""]
    source = (
        f'<details class="efa-stamp"><summary><span class="efa-badge">{escape(badge)}</span> {escape(first)}</summary>'
        f"<p>{'<br>'.join([' · '.join(map(escape, rest)), f'Again: <code>{escape(command)}</code>'])}</p></details>"
    )
    return Html(source, f"[{badge}] {' · '.join([first, *rest])}\nAgain: {command}")


def show(figure: Figure | None, alt: str, caption: str = "", kind: str = "svg") -> Html:
    """A figure as an image inside the page, the same bytes for the same data; closes it. None: a line says so.

    `alt` is what readers get who cannot see it. `kind`: 'svg', or 'png' for photographs and frames.
    """
    import matplotlib as mpl

    if figure is None:
        return note("No figure: there are no results to draw yet.")
    data = io.BytesIO()
    metadata, mime = ({"Date": None}, "image/svg+xml") if kind == "svg" else ({"Software": None}, "image/png")
    with mpl.rc_context({"svg.hashsalt": "efa"}):
        figure.savefig(data, format=kind, metadata=metadata, dpi=110)
    figure.clear()
    return image(data.getvalue(), mime, alt, caption)


def moving(data: bytes, still: bytes, alt: str) -> Html:
    """Bytes of an animated WebP as a figure; a still one for readers who asked for less motion."""
    encoded = [f"data:image/webp;base64,{base64.b64encode(part).decode()}" for part in (data, still)]
    source = f'<source srcset="{encoded[1]}" media="(prefers-reduced-motion: reduce)">'
    return Html(
        f'<figure class="efa"><picture>{source}<img alt="{escape(alt)}" src="{encoded[0]}"></picture></figure>', alt
    )


def image(data: bytes, mime: str, alt: str, caption: str = "") -> Html:
    """Bytes of an image as a figure."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    encoded = base64.b64encode(data).decode()
    source = f'{STYLE}<figure class="efa"><img alt="{escape(alt)}" src="data:{mime};base64,{encoded}">{below}</figure>'
    return Html(source, alt)
