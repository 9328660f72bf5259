"""The reference of the package, read from its source: signatures, docstrings and what comments say of settings.

The directive ``api`` lists objects of one file, in the order in which it names them::

    ```{api} efa/metrics/captions.py
    :module: efa.metrics
    caption_scores
    ```

`module` is where a reader imports them from, by default the file's own module. Nothing is imported, so that the book
needs no model to be built, and a field of a dataclass is explained by its comment, which autodoc does not see. Each
object becomes one of Sphinx's Python domain, with its anchor, its place in the index and a link to its line. A name
that the file does not define is a Sphinx warning, which fails the book.
"""

import ast
import copy
import io
import re
import tokenize
from collections.abc import Callable
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from source import Function, Source, is_overload, library_of
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):")
ENTRY = re.compile(r"(\*{0,2}\w[\w., *]*): +(.*)")
CODE = re.compile(r"``(.+?)``|`(.+?)`|(?<!\w)('[\w./+-]*')(?!\w)")
logger = logging.getLogger(__name__)


class Api(SphinxDirective):
    """The directive ``api``: file, and a line for each name."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {"module": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        path, library = self.arguments[0], library_of(self.env)
        if path not in library.paths:
            logger.warning("api: no file '%s'", path, location=self.get_location(), type="api")
            self.env.note_reread()
            return []
        self.env.note_dependency(str(library.root / path))
        module = self.options.get("module", path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
        reference = Reference(path, module, library[path])
        objects = public(library[path].text)
        lines: list[str] = []
        for name in filter(None, map(str.strip, self.content)):
            if name in objects:
                lines += reference.describe(objects[name], name)
            else:
                logger.warning("api: %s defines no '%s'", path, name, location=self.get_location(), type="api")
        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, path), self.content_offset, parent)
        return parent.children


def public(text: str) -> dict[str, Function | ast.ClassDef]:
    """Classes and functions at the top of a file."""
    found = (node for node in ast.parse(text).body if isinstance(node, Function | ast.ClassDef))
    return {node.name: node for node in found if not is_overload(node)}


def comments(text: str) -> dict[int, tuple[str, bool]]:
    """Line -> its comment without the sign, and whether it stands there alone."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {
        token.start[0]: (token.string.lstrip("# "), not token.line[: token.start[1]].strip())
        for token in tokens
        if token.type == tokenize.COMMENT
    }


class Reference:
    """Markdown that describes the objects of the file `path`, which a reader imports from `module`."""

    def __init__(self, path: str, module: str, source: Source):
        self.path, self.module, self.source = path, module, source
        self.comments, self.objects = comments(source.text), public(source.text)

    def describe(self, node: Function | ast.ClassDef, name: str) -> list[str]:
        """One object, a class with its documented methods; `name` is dotted."""
        link = f"{{source}}`{self.path}, line {self.source.objects[name]} <{self.path}#{name}>`"
        inside = [link, "", *markdown(ast.get_docstring(node) or "")]
        options, kind, fence = [f":module: {self.module}"], "function", "```"
        if isinstance(node, ast.ClassDef):
            kind, fence, signature = "class", "````", _constructor(node)
            inside += self.fields(node)
            for method in node.body:
                if isinstance(method, Function) and not method.name.startswith("_") and ast.get_docstring(method):
                    inside += self.describe(method, f"{name}.{method.name}")
        else:
            decorators = {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}
            signature = _signature(node, bound="." in name and "staticmethod" not in decorators)
            if decorators & {"property", "cached_property"}:
                kind, signature = "property", ""
                options += [f":type: {ast.unparse(node.returns)}"] if node.returns else []
            elif "." in name:
                kind = "method"
                options += [f":{d}:" for d in ("classmethod", "staticmethod") if d in decorators]
        return [f"{fence}{{py:{kind}}} {name}{signature}", *options, "", *inside, fence, ""]

    def fields(self, node: ast.ClassDef) -> list[str]:
        """The fields of a dataclass or pydantic model: type, default and the comments above and behind each.

        None if the docstring has `Attributes`, which describes them already.
        """
        documented = "\nAttributes:\n" in (ast.get_docstring(node) or "")
        is_dataclass = any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
        if documented or not (is_dataclass or self.is_model(node)):
            return []
        out = []
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.target.id[0] != "_":
                code = f"{field.target.id}: {ast.unparse(field.annotation)}"
                if field.value and not isinstance(field.value, ast.Call):
                    code += f" = {' '.join((ast.get_source_segment(self.source.text, field.value) or '').split())}"
                text = " ".join(plain(part) for part in self._comments_of(field))
                out.append(f"- `{code}`" + (f": {text}" if text else ""))
        return [*out, ""] if out else []

    def is_model(self, node: ast.ClassDef) -> bool:
        """Whether a class is a pydantic model, perhaps through bases in the same file."""
        names = [ast.unparse(base) for base in node.bases]
        known = [base for base in map(self.objects.get, names) if isinstance(base, ast.ClassDef)]
        return "BaseModel" in names or any(map(self.is_model, known))

    def _comments_of(self, field: ast.AnnAssign) -> list[str]:
        found: list[str] = []
        line = field.lineno - 1
        while line in self.comments and self.comments[line][1]:
            found.insert(0, self.comments[line][0])
            line -= 1
        behind = self.comments.get(field.end_lineno or field.lineno)
        return [*found, behind[0]] if behind else found


def _constructor(node: ast.ClassDef) -> str:
    """What a class is called with; '' where its fields say that, or nobody calls it."""
    for method in node.body:
        if isinstance(method, Function) and method.name == "__init__":
            return _signature(method, bound=True).removesuffix(" -> None")
    return ""


def _signature(node: Function, bound: bool) -> str:
    arguments = node.args
    if bound:  # self and cls are not passed
        arguments = copy.deepcopy(arguments)
        del (arguments.posonlyargs or arguments.args)[0]
    return f"({ast.unparse(arguments)})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def markdown(docstring: str) -> list[str]:
    """A Google-style docstring as Markdown: paragraphs, lists, doctests, and a list for each section."""
    out: list[str] = []
    for block in re.split(r"\n\s*\n", docstring):
        lines = block.split("\n")
        if found := SECTION.fullmatch(lines[0].strip()):
            out += [f"**{found[1]}**", "", *_section(found[1], lines[1:]), ""]
        elif lines[0].lstrip().startswith(">>>"):
            out += ["```python", *(line.strip() for line in lines), "```", ""]
        elif lines[0].startswith("    "):
            out += ["```text", *(line[4:] for line in lines), "```", ""]
        else:
            marks = [re.match(r"(\s*- )?(.*)", line) for line in lines]
            out += [*((mark[1] or "") + plain(mark[2]) for mark in marks if mark), ""]
    return out


def _section(name: str, lines: list[str]) -> list[str]:
    entries: list[tuple[str, list[str]]] = []
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    for line in lines:
        found = ENTRY.fullmatch(line[margin:]) if name in ("Args", "Attributes", "Raises") else None
        if found:
            entries.append((found[1], [found[2]]))
        elif entries:
            entries[-1][1].append(line.strip())
        else:
            entries.append(("", [line.strip()]))
    return [(f"- `{of}`: " if of else "") + plain(" ".join(text)) for of, text in entries]


def plain(text: str) -> str:
    """Text that Markdown shows as it stands, but for what is in backticks, and single words in quotes, as code."""
    out, at = "", 0
    for found in [*CODE.finditer(text), None]:
        out += re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text[at : found.start() if found else None])
        if found:
            out, at = f"{out}`{found[1] or found[2] or found[3]}`", found.end()
    return out


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("api", Api)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
