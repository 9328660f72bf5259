"""What a screen reader needs: alternative text for every image, or the book fails, and lists that are lists.

Sphinx writes a long signature as a definition list without terms, and the bibliography as a list without items. Both
become plain elements that look the same.
"""

import re
from html.parser import HTMLParser
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

PARAMETERS = re.compile(r"<dl>\n((?:<dd>.*?</dd>\n)+)</dl>")  # of a signature that takes several lines
logger = logging.getLogger(__name__)


class _ImageCounter(HTMLParser):
    missing = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.missing += tag == "img" and not (dict(attrs).get("alt") or "").strip()


def count_images_without_alt(source: str) -> int:
    """How many images in this HTML have no alternative text."""
    counter = _ImageCounter()
    counter.feed(source)
    return counter.missing


def check_images(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Warns of, and so fails on, each of them."""
    for image in doctree.findall(nodes.image):
        if not str(image.get("alt", "")).strip():
            logger.warning("an image without alternative text: %s", image.get("uri"), location=image)
    for raw in doctree.findall(nodes.raw):
        if raw.get("format") == "html" and (count := count_images_without_alt(raw.astext())):
            logger.warning("%d images without alternative text in HTML", count, location=raw)


def fix_lists(body: str) -> str:
    """A page's HTML without lists that are none."""

    def as_lines(found: re.Match[str]) -> str:
        inner = found[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
        return f'<span class="sig-lines">{inner}</span>'

    body = PARAMETERS.sub(as_lines, body)
    return body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def fix_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if isinstance(context.get("body"), str):
        context["body"] = fix_lists(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", check_images)
    app.connect("html-page-context", fix_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
