"""An image that says nothing to whoever cannot see it fails the book, and lists that are none become plain elements."""

import importlib.util
from pathlib import Path

import pytest
from docutils.core import publish_doctree

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("accessible", ROOT / "book" / "_ext" / "accessible.py")
accessible = importlib.util.module_from_spec(spec)
spec.loader.exec_module(accessible)


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
def test_images_without_alt_are_counted(source, bare):
    assert accessible.count_images_without_alt(source) == bare


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
    monkeypatch.setattr(accessible.logger, "warning", lambda *args, **kwargs: said.append(args[0] % args[1:]))
    accessible.check_images(None, publish_doctree(page), "page")
    assert len(said) == count


def test_a_long_signature_is_no_list():
    long = "<dt>f(\n\n<dl>\n<dd><em>a</em>,</dd>\n<dd><em>b: int</em>,</dd>\n</dl>\n)</dt>"
    fixed = accessible.fix_lists(long)
    assert "<dl>" not in fixed
    assert "<dd>" not in fixed
    assert fixed.count('<span class="sig-line">') == 2
    assert "<em>b: int</em>" in fixed


@pytest.mark.parametrize(
    "page", ["<dl>\n<dt>term</dt>\n<dd>said</dd>\n</dl>", '<dl class="py">\n<dd>said</dd>\n</dl>', "<p>nothing</p>"]
)
def test_true_lists_stay(page):
    assert accessible.fix_lists(page) == page


def test_the_bibliography_claims_no_list():
    assert "role" not in accessible.fix_lists('<div role="list" class="citation-list">')
