"""The book's reference of the package, on a small module of its own and on the real one."""

import ast
import html
import importlib
import importlib.util
import io
import re
import sys
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

from efa.config import Config

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "api.md").read_text()
DIRECTIVES = re.findall(r"```\{api\} (\S+)\n(?::module: (\S+)\n)?((?:\w+\n)+)```", PAGE)

SHAPES = '''"""A module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

from pydantic import BaseModel, PositiveInt


@dataclass
class Box:
    """A box.

    What {{ it }} holds costs $2 <b>and</b> *more*, `sides` is 'odd/even'.

    >>> Box(1)
    """

    # Metres,
    # each.
    sides: tuple[float, ...] = (1e-3,  2.0)  # never 0
    name: str | None = None
    _hidden: int = 0

    @property
    def area(self) -> float:
        """Square metres."""

    @staticmethod
    def cube(side: float) -> Box:
        """Of equal sides."""

    @classmethod
    def empty(cls) -> Box:
        """Of none."""

    def scaled(self, by: float = 2.0, *more: float) -> Box:
        """A larger one.

        Args:
            by: a factor,
                above 0.
            *more: factors too.

        Returns:
            A new box
            of one type.

        Raises:
            ValueError: `by` is 0.
        """

    def untold(self): ...

    def _private(self):
        """Not for readers."""


class Lid:
    """A lid.

    Attributes:
        open: whether it is.
    """

    def __init__(self, open: bool = False) -> None: ...


class Settings(BaseModel, frozen=True):
    """Settings of all."""


class Paint(Settings):
    """A paint."""

    coats: PositiveInt = 2  # thin ones


@overload
def volume(box: Box) -> float: ...
@overload
def volume(box: None) -> None: ...
def volume(box):
    """Cubic metres.

    - first
    - second
    """
'''


@pytest.fixture(scope="module")
def api():
    for name in ("source", "api"):
        spec = importlib.util.spec_from_file_location(name, ROOT / "book" / "_ext" / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    yield sys.modules["api"]
    del sys.modules["source"], sys.modules["api"]


def build(folder: Path, page: str) -> tuple[str, list[str]]:
    """The page as HTML and the warnings."""
    (folder / "pkg").mkdir()
    (folder / "pkg" / "shapes.py").write_text(SHAPES)
    (folder / "index.md").write_text(page)
    conf = 'extensions = ["myst_parser", "source", "api"]\nsource_files = ["pkg/*.py"]\nhtml_theme = "basic"\n'
    conf += 'myst_enable_extensions = ["dollarmath", "substitution", "attrs_inline"]\nsmartquotes = False\n'
    (folder / "conf.py").write_text(conf)
    warnings = io.StringIO()
    with docutils_namespace():
        out = folder / "_build"
        Sphinx(folder, folder, out, out / ".doctrees", "html", status=None, warning=warnings).build()
    return (out / "index.html").read_text(), warnings.getvalue().splitlines()


@pytest.fixture(scope="module")
def page(api, tmp_path_factory) -> str:
    text = (
        "# A\n\n```{api} pkg/shapes.py\n:module: shapes\nBox\nvolume\n```\n\n```{api} pkg/shapes.py\nLid\nPaint\n```\n"
    )
    page, warnings = build(tmp_path_factory.mktemp("api"), text)
    assert warnings == []
    return page


@pytest.fixture(scope="module")
def words(page) -> str:
    """What a reader sees."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


def test_objects_have_the_anchors_of_their_module(page):
    found = re.findall(r'<dt class="sig[^>]* id="([^"]*)"', page)
    assert found == [
        "shapes.Box",
        *(f"shapes.Box.{name}" for name in ("area", "cube", "empty", "scaled")),  # neither untold nor _private
        "shapes.volume",
        "pkg.shapes.Lid",
        "pkg.shapes.Paint",
    ]


@pytest.mark.parametrize(
    "signature",
    [
        "class shapes.Box¶",  # its fields follow
        "property area: float",
        "static cube(side: float) → Box",
        "classmethod empty() → Box",
        "scaled(by: float = 2.0, *more: float) → Box",
        "shapes.volume(box)",
        "class pkg.shapes.Lid(open: bool = False)¶",
    ],
)
def test_signatures(words, signature):
    assert signature in words


def test_text_is_shown_as_it_stands(page, words):
    assert "What {{ it }} holds costs $2 <b>and</b> *more*, sides is 'odd/even'." in words
    assert "<b>and</b>" not in page
    assert re.search(r"<code[^>]*>(<[^>]*>)*sides<", page)


def test_fields_have_their_defaults_and_comments(words):
    assert "sides: tuple[float, ...] = (1e-3, 2.0): Metres, each. never 0" in words
    assert "name: str | None = None" in words
    assert "_hidden" not in words
    assert "coats: PositiveInt = 2: thin ones" in words


def test_sections_are_lists(page, words):
    assert "Args by: a factor, above 0. *more: factors too." in words
    assert "Returns A new box of one type. Raises ValueError: by is 0." in words
    assert "Attributes open: whether it is." in words
    assert re.search(r"<li><p>first</p></li>\s*<li><p>second</p></li>", page)


def test_a_doctest_is_code(page):
    assert re.search(r'<div class="highlight-python[^>]*>(<[^>]*>)*&gt;&gt;&gt;', page)


def test_links_lead_to_the_line(page):
    lines = SHAPES.splitlines()
    links = re.findall(r'href="code/pkg/shapes\.html#L(\d+)"[^>]*>(?:<[^>]*>)*pkg/shapes\.py, line (\d+)<', page)
    assert len(links) == 8
    assert all(to == said for to, said in links)
    named = [lines[int(to) - 1].strip() for to, _ in links]
    beginnings = ["class Box", "def area", "def cube", "def empty", "def scaled", "def volume(box):", "class Lid"]
    beginnings.append("class Paint")
    assert all(line.startswith(beginning) for line, beginning in zip(named, beginnings, strict=True))


def test_unknown_names_are_warned_of(api, tmp_path):
    page = "# A\n\n```{api} pkg/shapes.py\nBox\nCube\n```\n\n```{api} pkg/gone.py\nBox\n```\n"
    _, warnings = build(tmp_path, page)
    assert len(warnings) == 2
    assert "index.md:3: WARNING: api: pkg/shapes.py defines no 'Cube'" in warnings[0]
    assert "index.md:8: WARNING: api: no file 'pkg/gone.py'" in warnings[1]


# --- the real page ---


def listed() -> dict[str, set[str]]:
    """Module -> the names that the page has under it."""
    found: dict[str, set[str]] = {}
    for file, module, names in DIRECTIVES:
        module = module or file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        found.setdefault(module, set()).update(names.split())
    return found


def test_every_directive_is_read_by_these_tests():
    assert len(DIRECTIVES) == PAGE.count("{api}")


@pytest.mark.parametrize("module", sorted(listed()))
def test_names_can_be_imported_from_where_the_page_says(module):
    imported = importlib.import_module(module)
    assert [name for name in listed()[module] if not hasattr(imported, name)] == []


@pytest.mark.parametrize(("file", "names"), [(file, names) for file, _, names in DIRECTIVES])
def test_names_are_defined_in_their_file_and_explained(api, file, names):
    objects = api.public((ROOT / file).read_text())
    assert [name for name in names.split() if name not in objects or not ast.get_docstring(objects[name])] == []


@pytest.mark.parametrize("module", ["efa", "efa.metrics", "efa.model"])
def test_all_of_the_public_interface_is_there(module):
    imported = importlib.import_module(module)
    assert {name for name in imported.__all__ if callable(getattr(imported, name))} <= listed()[module]


def test_every_section_of_the_settings_is_there():
    config = Config()
    assert {type(getattr(config, section)).__name__ for section in config.to_dict()} <= listed()["efa.config"]
