"""The book's sources: every page has its place, every reference its target. Building it is `make book`."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from efa.config import Config, build

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [file for file in (ROOT / "notebooks").glob("*.ipynb") if not file.stem.startswith("out")]  # papermill's
PAGES = sorted([*(ROOT / "book").glob("*.md"), *NOTEBOOKS])
METHOD = (ROOT / "book" / "method.md").read_text()


def toc_entries() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def page_text(page: Path) -> str:
    """The Markdown of a page or of a notebook's Markdown cells."""
    if page.suffix == ".md":
        return page.read_text()
    cells = json.loads(page.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "book" / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_stands_in_the_toc_once():
    pages = [page.relative_to(ROOT).with_suffix("").as_posix() for page in PAGES]
    assert sorted(toc_entries()) == sorted(pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_citations_are_in_the_bibliography(page):
    known = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "book" / "references.bib").read_text(), flags=re.MULTILINE))
    roles = re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page_text(page))
    assert {key.strip() for role in roles for key in role.split(",")} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_have_targets(page):
    for target in re.findall(r"\{doc\}`([^`<]+)`", page_text(page)):
        place = (page.parent / target).resolve()
        assert any(place.with_suffix(suffix).is_file() for suffix in (".md", ".ipynb")), f"{page.name}: {target}"


def test_equations_carry_the_papers_numbers():
    assert re.findall(r"\\tag\{(\d+)\}", METHOD) == [str(number) for number in range(1, 12)]
    assert re.findall(r"^\(eq-(\d+)\)=$", METHOD, flags=re.MULTILINE) == [str(number) for number in range(1, 12)]


def test_method_names_settings_that_exist():
    settings = Config().to_dict()
    known = {f"{section}.{name}" for section, values in settings.items() for name in values}
    sections = "|".join(settings)
    named = set(re.findall(rf"`((?:{sections})\.\w+)`", METHOD))
    assert {"fusion.merge", "fusion.residual", "training.weight_class"} <= named
    assert named <= known


def test_what_the_paper_leaves_open_has_the_values_of_its_preset():
    table = METHOD.split("### What the paper leaves open")[1].split("\n\n")[1]
    rows = re.findall(r"^\| (.+?) \| `(\w+)\.(\w+)` \| (\S+) \|", table, flags=re.MULTILINE)
    assert len(rows) >= 18
    for what, section, name, value in rows:
        assert str(getattr(getattr(build("paper"), section), name)) == value, what


def test_included_code_exists():
    included = re.findall(r"\{literalinclude\} (\S+)\n:pyobject: (\S+)", METHOD)
    assert included
    for file, name in included:
        scope = ast.parse((ROOT / "book" / file).read_text()).body
        for part in name.split("."):
            found = [node for node in scope if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part]
            assert found, f"{file} has no {name}"
            scope = found[0].body


def test_no_page_gets_thebes_scripts():
    offline = extension("offline")
    local = SimpleNamespace(filename="_static/design-tabs.js", attributes={})
    inline = SimpleNamespace(filename=None, attributes={"body": 'const THEBE_JS_URL = "https://host/thebe"'})
    context = {"script_files": [local, inline, "_static/sphinx-thebe.js"]}
    offline.drop_thebe(None, "page", "page.html", context, None)
    assert context["script_files"] == [local]


def test_chapters_are_executed_side_by_side(monkeypatch):
    """Sphinx reads one by one where an extension says nothing about it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    silent, unsafe = SimpleNamespace(parallel_read_safe=None), SimpleNamespace(parallel_read_safe=False)
    pages = list("abcdefg")
    connect = lambda event, call: call(app, None, pages)  # noqa: E731
    app = SimpleNamespace(parallel=1, extensions={"a": silent, "b": unsafe}, connect=connect)
    extension("parallel").setup(app)
    assert "".join(pages) == "adgbecf"
    assert (app.parallel > 1) == (sys.platform == "linux")
    assert (silent.parallel_read_safe, unsafe.parallel_read_safe) == (True, False)
