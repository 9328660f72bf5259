"""An image that says nothing to whoever cannot see it fails the book."""

import importlib.util
from pathlib import Path

import pytest
from docutils.core import publish_doctree

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("alt", ROOT / "book" / "_ext" / "alt.py")
alt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(alt)


@pytest.mark.parametrize(
    ("source", "bare"),
    [
        ("<p>no image</p>", 0),
        ('<img src="a.png" alt="a squat">', 0),
        ('<img src="a.png">', 1),
        ('<IMG src="a.png" alt="">', 1),
        ('<img alt=" " src="a.png"><img src="b" alt="b"><img src="c">', 2),
        ("<code>&lt;img src=x&gt;</code>", 0),
        ("<imgs>", 0),
    ],
)
def test_bare_images_are_counted(source, bare):
    assert alt.bare_images(source) == bare


@pytest.mark.parametrize(
    ("page", "count"),
    [
        (".. image:: a.png\n   :alt: a squat\n", 0),
        (".. image:: a.png\n", 1),
        (".. raw:: html\n\n   <img src='a.png'>\n", 1),
        (".. raw:: html\n\n   <img src='a.png' alt='a squat'>\n", 0),
        (".. raw:: latex\n\n   <img>\n", 0),
    ],
)
def test_pages_are_checked(page, count, monkeypatch):
    said = []
    monkeypatch.setattr(alt.logger, "warning", lambda *args, **kwargs: said.append(args[0] % args[1:]))
    alt.check(None, publish_doctree(page), "page")
    assert len(said) == count
