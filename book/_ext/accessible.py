"""What a screen reader needs: alternative text for every image, or the book fails, and lists that are lists.

Sphinx writes a long signature as a definition list without terms, and the bibliography says that it is a list and has
no items. Both are turned into plain elements that look the same.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


class _Images(HTMLParser):
    """Counts the images of a piece of HTML whose `alt` is missing or empty."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.bare = 0
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img" and not (dict(attrs).get("alt") or "").strip():
            self.bare += 1


def bare_images(source: str) -> int:
    """How many images in this HTML say nothing to whoever cannot see them."""
    return _Images(source).bare if re.search(r"<img\b", source, re.IGNORECASE) else 0


def check(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """A warning, and so an error, for each of them."""
    for image in doctree.findall(nodes.image):
        if not str(image.get("alt", "")).strip():
            logger.warning("an image without alternative text: %s", image.get("uri"), location=image)
    for raw in doctree.findall(nodes.raw):
        if raw.get("format") == "html" and (count := bare_images(raw.astext())):
            logger.warning("%d images without alternative text in HTML", count, location=raw)


PARAMETERS = re.compile(r"<dl>\n((?:<dd>.*?</dd>\n)+)</dl>")  # of a signature that takes several lines


def mend(body: str) -> str:
    """A page's HTML without lists that are none."""

    def lines(found: re.Match[str]) -> str:
        inner = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
        return f'<span class="sig-lines">{inner}</span>'

    return PARAMETERS.sub(lines, body).replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def mend_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if isinstance(context.get("body"), str):
        context["body"] = mend(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", check)
    app.connect("html-page-context", mend_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
