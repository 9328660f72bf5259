"""The book's pages of code and the links between text and code, on a small book of their own and on the real sources.

That the real book builds without a warning is `make book`.
"""

import html
import importlib.util
import io
import re
import sys
from pathlib import Path

import pytest
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

ROOT = Path(__file__).resolve().parents[1]
METHOD = (ROOT / "book" / "method.md").read_text()
EQUATIONS = [f"eq-{number}" for number in range(1, 12)]  # the paper has 11
ALGORITHM = [f"alg-1-{number}" for number in range(1, 16)]  # and 15 lines in Algorithm 1

SHAPES = '''"""Shapes: <b> & "q". A second sentence."""

import functools

SIDES, NAME = 4, "</pre><script>alert(1)</script>"
TEXT = "# (eq-1) inside a string"


class Circle:
    radius: float = 1.0  # as in (eq-1), a mention

    @functools.cache
    @staticmethod
    def area(radius):
        def square(x):
            return x * x  # (eq-1)

        return 3 * square(radius)

    async def roll(self): ...


class Square:
    def area(self):
        # (eq-2, alg-1-1) the next line of code, not the next line

        # of comments
        return self.side**2

    if SIDES:

        def guarded(self): ...


try:
    import numpy
except ImportError:
    numpy = None
for NAME in "ab":  # (in-place) is no label
    pass
'''
SQUARE_LINE = SHAPES[: SHAPES.index("        return self.side**2")].count("\n") + 1
PAGE = """# Areas <of> shapes

{source}`pkg/shapes.py` {source}`pkg/` {source}`pkg/deep/__init__.py`
{source}`pkg/shapes.py#Circle.area` {source}`Two squared <pkg/shapes.py#Square.area>`

(eq-1)=
$$ a = r $$

Code: {source}`pkg/shapes.py@eq-1`

(eq-2)=
$$ a = s $$

Code: {source}`pkg/shapes.py@eq-2`

1. (alg-1-1)=
   The first line. {source}`pkg/shapes.py@alg-1-1`
"""


@pytest.fixture(scope="module")
def source():
    """The extension, under the name by which Sphinx will find it."""
    spec = importlib.util.spec_from_file_location("source", ROOT / "book" / "_ext" / "source.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["source"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["source"]


def write(folder: Path, files: dict[str, str]) -> Path:
    conf = 'extensions = ["myst_parser", "source"]\nsource_files = ["pkg/**/*.py"]\nhtml_theme = "basic"\n'
    conf += 'myst_enable_extensions = ["dollarmath"]\nroot_doc = "pages/areas"\ninclude_patterns = ["pages/**"]\n'
    for name, text in ({"conf.py": conf} | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def build(folder: Path) -> tuple[int, list[str]]:
    """Builds as `make book` does, -W --keep-going; the exit status and the warnings."""
    warnings = io.StringIO()
    out = folder / "_build"
    with docutils_namespace():
        strict = {"warningiserror": True, "keep_going": True}
        app = Sphinx(folder, folder, out, out / ".doctrees", "html", status=None, warning=warnings, **strict)
        app.build()
    return app.statuscode, warnings.getvalue().splitlines()


@pytest.fixture(scope="module")
def book(source, tmp_path_factory) -> Path:
    files = {"pkg/shapes.py": SHAPES, "pkg/deep/__init__.py": "", "pages/areas.md": PAGE}
    folder = write(tmp_path_factory.mktemp("book"), files)
    assert build(folder) == (0, [])
    return folder / "_build"


@pytest.fixture(scope="module")
def code(book) -> str:
    return (book / "code/pkg/shapes.html").read_text()


@pytest.fixture(scope="module")
def text(book) -> str:
    return (book / "pages/areas.html").read_text()


@pytest.fixture
def parsed(source, tmp_path):
    (tmp_path / "shapes.py").write_text(SHAPES)
    return source.read(tmp_path / "shapes.py")


def line_of(beginning: str) -> int:
    lines = [number for number, line in enumerate(SHAPES.splitlines(), 1) if line.strip().startswith(beginning)]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("name", "beginning"),
    [
        ("SIDES", "SIDES, NAME"),
        ("NAME", "SIDES, NAME"),
        ("Circle", "class Circle"),
        ("Circle.radius", "radius: float"),
        ("Circle.area", "def area(radius)"),  # not its decorators
        ("Circle.area.square", "def square"),
        ("Circle.roll", "async def roll"),
        ("Square.area", "def area(self)"),
        ("Square.guarded", "def guarded"),
        ("numpy", "numpy = None"),
    ],
)
def test_objects_are_found_where_they_are_defined(parsed, name, beginning):
    assert parsed.objects[name] == line_of(beginning)


def test_a_file_is_parsed(parsed):
    assert {"area", "square", "functools", "side", "Square.radius"}.isdisjoint(parsed.objects)  # not defined at the top
    assert parsed.markers == {"eq-1": [line_of("return x * x")], "eq-2": [SQUARE_LINE], "alg-1-1": [SQUARE_LINE]}
    assert parsed.comments == {line_of("return x * x"): ["eq-1"], line_of("# (eq-2"): ["eq-2", "alg-1-1"]}
    assert parsed.summary == 'Shapes: <b> & "q".'


def test_a_changed_file_is_read_again(source, tmp_path):
    file = tmp_path / "a.py"
    file.write_text("x = 1\n")
    assert source.read(file).objects == {"x": 1}
    file.write_text("\ny = 1\n")
    assert source.read(file).objects == {"y": 2}


def test_what_is_no_python_is_named(source, tmp_path):
    (tmp_path / "a.py").write_text("x = 1\ndef\n")
    with pytest.raises(source.ExtensionError, match=r"a\.py:2"):
        source.read(tmp_path / "a.py")


def test_links_lead_to_lines(text):
    links = re.findall(r'<a class="source-link[^"]*" href="([^"]*)" title="[^"]*">(?:<[^>]*>)*([^<]*)', text)
    assert links == [
        ("../code/pkg/shapes.html", "pkg/shapes.py"),
        ("../code/index.html#pkg", "pkg/"),
        ("../code/pkg/deep/__init__.html", "pkg/deep/__init__.py"),
        (f"../code/pkg/shapes.html#L{line_of('def area(radius)')}", "Circle.area"),
        (f"../code/pkg/shapes.html#L{line_of('def area(self)')}", "Two squared"),
        *[
            (f"../code/pkg/shapes.html#L{line}", f"pkg/shapes.py, line {line}")
            for line in (line_of("return x * x"), SQUARE_LINE, SQUARE_LINE)
        ],
    ]


def test_every_links_anchor_is_there(book, text):
    for href in re.findall(r'<a class="source-link[^"]*" href="([^"]*)"', text):
        file, _, anchor = href.partition("#")
        assert not anchor or f'id="{anchor}"' in (book / "pages" / file).resolve().read_text()


def test_markers_lead_back_to_the_equation(code, text):
    back = re.findall(r'<a class="source-back" href="\.\./\.\./pages/areas\.html#([^"]*)">([^<]*)</a>', code)
    assert back == [("eq-1", "eq-1"), ("eq-2", "eq-2"), ("alg-1-1", "alg-1-1")]  # none from the string or the mention
    assert all(f'id="{anchor}"' in text for anchor, _ in back)


def test_a_page_of_code_shows_the_file(code):
    body = code[code.index("<pre>") : code.index("</pre>")]
    plain = re.sub(r"<[^>]*>", "", re.sub(r'<a class="linenos".*?</a>', "", body))
    assert html.unescape(plain) == SHAPES
    assert "<script>alert" not in code


def test_each_line_has_one_anchor(code):
    anchors = re.findall(r'\bid="([^"]*)"', code)
    assert len(anchors) == len(set(anchors))
    assert [a for a in anchors if re.fullmatch(r"L\d+", a)] == [f"L{n}" for n in range(1, SHAPES.count("\n") + 1)]


def test_each_span_ends_in_its_line(code):
    for line in re.findall(r'<span class="line"[^>]*>(.*)$', code, flags=re.MULTILINE):
        assert line.count("<span") == line.count("</span>")


def test_the_head_leads_to_the_book_and_to_who_links_here(code):
    trail = re.search(r'<p class="source-trail">(.*?)</p>', code)[1]
    assert '<a href="../../pages/areas.html">The book</a>' in trail
    assert '<a href="../index.html">All files</a>' in trail
    assert '<a href="../../pages/areas.html">Areas &lt;of&gt; shapes</a>' in trail


def test_the_list_names_every_file(book):
    index = (book / "code/index.html").read_text()
    assert re.findall(r'<dt><a href="([^"]*)"', index) == ["pkg/shapes.html", "pkg/deep/__init__.html"]
    assert "Shapes: &lt;b&gt; &amp; &quot;q&quot;." in index


def test_pages_of_code_load_nothing_and_are_not_searched(book):
    for page in (book / "code").rglob("*.html"):
        assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//', page.read_text())
    assert "code/" not in (book / "searchindex.js").read_text()


BROKEN = {
    "conf.py": 'extensions = ["myst_parser", "source"]\nsource_files = ["pkg/**/*.py"]\nmyst_enable_extensions = []\n',
    "pkg/a.py": "def new(): ...  # (eq-1)\n\n\nx = 1  # (eq-2)\ny = 2  # (eq-2)\nz = 3  # (eq-3)\n# (eq-5)\n",
    "index.md": "# One\n\n{source}`pkg/gone.py`\n{source}`pkg/a.py#old`\n{source}`pkg/a.py@eq-4`\n{source}`pkg/`\n"
    "{source}`pkg/a.py@eq-5`\n\n(eq-1)=\nThe first.\n\n(eq-2)=\nThe second.\n",
}


@pytest.fixture(scope="module")
def broken(source, tmp_path_factory) -> list[str]:
    status, warnings = build(write(tmp_path_factory.mktemp("broken"), BROKEN))
    assert (status, len(warnings)) == (1, 7)
    return warnings


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("index.md:3", "no file 'pkg/gone.py'"),
        ("index.md:3", "pkg/a.py defines no 'old'"),
        ("index.md:3", "pkg/a.py has no comment '# (eq-4)'"),
        ("index.md:3", "pkg/a.py has no comment '# (eq-5)'"),  # no code follows it
        ("pkg/a.py:5", "'# (eq-2)' marks pkg/a.py:4, too"),
        ("pkg/a.py:6", "the book has no label 'eq-3'"),
        ("pkg/a.py:1", "index has no link to '# (eq-1)'"),
    ],
)
def test_what_does_not_fit_together_fails_the_book(broken, place, message):
    assert any(f"{place}: WARNING: source: {message}" in warning for warning in broken), broken


def test_a_book_that_was_built_before_notices_changed_code(source, tmp_path):
    page = "# One\n\n{source}`pkg/a.py#f`\n"
    folder = write(tmp_path, {"pkg/a.py": "def f(): ...\n", "pages/areas.md": page})
    assert build(folder) == (0, [])
    (folder / "pkg/a.py").write_text("\n\ndef f(): ...\n")
    assert build(folder) == (0, [])
    assert 'href="../code/pkg/a.html#L3"' in (folder / "_build/pages/areas.html").read_text()
    (folder / "pkg/a.py").write_text("\n\ndef renamed(): ...\n")
    status, warnings = build(folder)
    assert status == 1
    assert "pkg/a.py defines no 'f'" in warnings[0]


# --- the real book ---


@pytest.fixture(scope="module")
def library(source):
    return source.Library(ROOT, [f"{name}/**/*.py" for name in source.PACKAGES])


def test_each_equation_and_line_of_the_algorithm_is_marked_once(library):
    marked = [label for path in library.paths for label, lines in library[path].markers.items() for _ in lines]
    assert sorted(marked) == sorted(EQUATIONS + ALGORITHM)


def test_each_marker_is_linked_once_on_the_method_page():
    assert sorted(re.findall(r"\{source\}`[^`<]*@([\w-]+)`", METHOD)) == sorted(EQUATIONS + ALGORITHM)
    assert re.findall(r"^\d+\. \((alg-1-\d+)\)=$", METHOD, flags=re.MULTILINE) == ALGORITHM


@pytest.mark.parametrize("label", EQUATIONS)
def test_an_equations_link_stands_right_below_it(label):
    assert re.search(rf"^\({label}\)=\n\$\$\n[^$]+\n\$\$\n\nCode: \{{source\}}`\S+@{label}`$", METHOD, re.MULTILINE)


@pytest.mark.parametrize("label", ALGORITHM)
def test_a_line_of_the_algorithm_ends_in_its_own_link(label):
    item = METHOD.split(f"({label})=\n")[1].split("\n```\n")[0]
    item = re.split(r"^\d+\. ", item, flags=re.MULTILINE)[0]
    assert re.findall(r"@([\w-]+)`", item) == [label]


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("eq-1", "self.text_residual("),
        ("eq-2", "self.text_attention(text, video)"),
        ("eq-3", "self.video_residual("),
        ("eq-4", "self.video_attention(video, text)"),
        ("eq-5", "self.text_residual("),
        ("eq-6", "self.text_attention(text, video)"),
        ("eq-7", "self.video_residual("),
        ("eq-8", "self.video_attention(video, text)"),
        ("eq-9", ".sigmoid()"),
        ("eq-10", "gate * of_global + (1 - gate) * of_steps"),
        ("eq-11", "config.weight_class * parts"),
        ("alg-1-1", "model = build_model(config, inputs)"),
        ("alg-1-2", "for epoch in range("),
        ("alg-1-3", "in enumerate(loader)"),
        ("alg-1-4", 'batch["key"]'),
        ("alg-1-5", "encode_video(pixels(batch))"),
        ("alg-1-6", "inputs.embed(model, key"),
        ("alg-1-7", "self.fusion(self.place(features), steps, instruction"),
        ("alg-1-8", "self.class_head(fused)"),
        ("alg-1-9", "self.quality_head(fused)"),
        ("alg-1-10", "self.decoder(tokens, fusion.fused"),
        ("alg-1-11", "config.weight_quality * parts"),
        ("alg-1-12", "optimizer.step()"),
        ("alg-1-13", "row: dict[str, float]"),
        ("alg-1-14", "if main:"),
        ("alg-1-15", "return model.eval()"),
    ],
)
def test_the_marked_line_does_what_its_label_says(library, label, code):
    (target,) = re.findall(rf"\{{source\}}`([^`<]*@{label})`", METHOD)
    page, _, line = library.find(target)
    path = page.removeprefix("code/") + ".py"
    assert code in library[path].text.splitlines()[line - 1]


def test_every_link_to_code_has_its_target(library):
    files = [*(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    roles = [role for file in files for role in re.findall(r"\{source\}`([^`]+)`", file.read_text())]
    assert len(roles) > len(EQUATIONS + ALGORITHM)
    for role in roles:
        library.find(re.sub(r"^.*<(.*)>$", r"\1", role))
