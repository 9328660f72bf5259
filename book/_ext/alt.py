"""Fails the book where an image has no alternative text, on a page or in a notebook's output."""

from __future__ import annotations

import re
from html.parser import HTMLParser

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


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
