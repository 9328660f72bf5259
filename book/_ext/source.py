"""The package's code as pages of the book, and links both ways between the text and single lines.

Every file of ``source_files`` becomes a page ``code/<path>.html`` with an anchor ``#L42`` for each line; none of them
is in the search index. Pages of the book link there with the role ``source``::

    {source}`efa/model/fusion.py`                       a file
    {source}`efa/model/`                                its folder, in the list of all files
    {source}`the branch <efa/model/fusion.py#Branch>`   a class, function, constant or field: "Branch.forward"
    {source}`efa/model/fusion.py@eq-4`                  the line that a comment marks: "# (eq-4)"

A marker is a comment that starts with labels of the book in round brackets. After code it marks that line, on a line of
its own the next line of code. On the code's page its labels link back to the book. What does not fit together is a
Sphinx warning, which fails the book: an unknown file, object or marker; a marker that stands twice, that names no label
of the book, or to which the label's page has no link.
"""

import ast
import html
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.builders import Builder
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.docutils import ReferenceRole

PACKAGES = ("efa", "formsim", "efa_datasets", "efa_book")
FOLDER = "code"  # of the pages
LABEL = r"[a-z]+(?:-\d+)+"  # eq-4, alg-1-3
MARKER = re.compile(rf"#\s*\(({LABEL}(?:, {LABEL})*)\)")
TARGET = re.compile(r"(?P<file>[^#@\s]+)(?:#(?P<name>[\w.]+)|@(?P<label>[\w-]+))?")
Function = ast.FunctionDef | ast.AsyncFunctionDef
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One file of Python.

    Attributes:
        text: as it stands in the file.
        summary: the first sentence of its docstring, '' without one.
        objects: dotted name -> line of its `def` (not of a decorator), `class` or assignment; of several the first.
        markers: label -> the lines that it marks; one, where all is well.
        comments: line of a marker's comment -> its labels.
    """

    text: str
    summary: str
    objects: dict[str, int]
    markers: dict[str, list[int]]
    comments: dict[int, list[str]]


def read(file: Path) -> Source:
    """Parses a file; an unchanged one is parsed once. ExtensionError if it is not Python."""
    return _read(file, file.stat().st_mtime_ns, file.stat().st_size)


@cache
def _read(file: Path, changed: int, size: int) -> Source:
    with tokenize.open(file) as stream:  # reads the file's coding line, makes line ends \n
        text = stream.read()
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ExtensionError(f"{file}:{error.lineno}: {error.msg}") from error
    objects: dict[str, int] = {}
    for name, line in _definitions(tree, ""):
        objects.setdefault(name, line)
    summary = " ".join((ast.get_docstring(tree) or "").partition("\n\n")[0].split())
    summary = re.split(r"(?<=[.!?])\s", summary, maxsplit=1)[0]
    return Source(text, summary, objects, *_markers(text))


def _definitions(node: ast.AST, scope: str) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of everything defined here, also behind `if` and `try`, and in the scopes inside."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | Function) and not is_overload(child):
            yield scope + child.name, child.lineno
            yield from _definitions(child, f"{scope}{child.name}.")
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            named = [name for target in targets for name in getattr(target, "elts", [target])]
            yield from ((scope + name.id, child.lineno) for name in named if isinstance(name, ast.Name))
        else:
            yield from _definitions(child, scope)


def is_overload(node: ast.ClassDef | Function) -> bool:
    """Whether this is only another signature of what is defined further down."""
    return any(ast.unparse(decorator).split(".")[-1] == "overload" for decorator in node.decorator_list)


def _markers(text: str) -> tuple[dict[str, list[int]], dict[int, list[str]]]:
    markers: dict[str, list[int]] = defaultdict(list)
    comments: dict[int, list[str]] = {}
    waiting: list[str] = []  # labels on lines of their own, whose code is still to come
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and (found := MARKER.match(token.string)):
            line = token.start[0]
            comments[line] = labels = found[1].split(", ")
            if token.line[: token.start[1]].strip():
                for label in labels:
                    markers[label].append(line)
            else:
                waiting += labels
        elif token.string.strip() and token.type != tokenize.COMMENT:
            for label in waiting:
                markers[label].append(token.start[0])
            waiting = []
    return dict(markers), comments


class Library:
    """All files that have a page: those below `root` that match one of the glob patterns."""

    def __init__(self, root: str | Path, patterns: list[str]):
        self.root = Path(root)
        found = {file for pattern in patterns for file in self.root.glob(pattern) if file.is_file()}
        self.paths = sorted(file.relative_to(self.root).as_posix() for file in found)
        self.folders = sorted({f"{Path(path).parent.as_posix()}/" for path in self.paths})

    def __getitem__(self, path: str) -> Source:
        return read(self.root / path)

    def find(self, target: str) -> tuple[str, str, int]:
        """Page, anchor and line (0: the whole file or folder) of what a role names; LookupError if it is missing."""
        parts = TARGET.fullmatch(target)
        path, name, label = parts.group("file", "name", "label") if parts else (target, None, None)
        if path in self.folders and name is label is None:
            return f"{FOLDER}/index", slug(path), 0
        if path not in self.paths:
            raise LookupError(f"no file '{path}'")
        source, page = self[path], page_of(path)
        if name is label is None:
            return page, "", 0
        if name is not None and name not in source.objects:
            raise LookupError(f"{path} defines no '{name}'")
        if label is not None and label not in source.markers:
            raise LookupError(f"{path} has no comment '# ({label})'")
        line = source.objects[name] if name is not None else source.markers[label][0]
        return page, f"L{line}", line


def page_of(path: str) -> str:
    """Name of a file's page: code/efa/train for efa/train.py."""
    return f"{FOLDER}/{path.removesuffix('.py')}"


def slug(folder: str) -> str:
    """A folder's anchor in the list of files: efa-model for efa/model/."""
    return folder.strip("/").replace("/", "-")


class SourceRole(ReferenceRole):
    """The role ``source``. A link without a title shows the file, the object, or the file and the line."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        library = library_of(self.env)
        path, sign, name = [*re.split("([#@])", self.target, maxsplit=1), "", ""][:3]
        try:
            page, anchor, line = library.find(self.target)
        except LookupError as error:
            logger.warning("source: %s", error.args[0], location=self.get_location(), type="source")
            self.env.note_reread()  # it may be there next time, and then nothing that Sphinx watches has changed
            return [nodes.literal("", self.title)], []
        if path in library.paths:
            self.env.note_dependency(str(library.root / path))
        if self.has_explicit_title:
            text: nodes.Node = nodes.inline("", self.title)
        elif sign == "@":
            text = nodes.inline("", f"{path}, line {line}")
        else:
            text = nodes.literal("", name or path)
        link = {"reftype": "source", "reftarget": page, "refanchor": anchor, "refdoc": self.env.docname}
        link |= {"reftitle": path + (f", line {line}" if line else ""), "reflabel": name if sign == "@" else ""}
        return [addnodes.pending_xref("", text, **link)], []  # `resolve` finishes it when the builder is known


def resolve(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Element
) -> nodes.Element | None:
    """The link itself, or only its text if the builder makes no pages of code."""
    if node["reftype"] != "source":
        return None
    if not _has_pages(app.builder):
        return text
    address = app.builder.get_relative_uri(node["refdoc"], node["reftarget"])
    address += f"#{node['refanchor']}" if node["refanchor"] else ""
    classes = ["source-link", *(["source-line"] if node["reflabel"] else [])]
    return nodes.reference("", "", text, internal=True, refuri=address, reftitle=node["reftitle"], classes=classes)


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warns of every marker that is used twice or has no link from or to the book."""
    library, links = library_of(env), _links(env)
    where: dict[str, list[str]] = defaultdict(list)
    for path in library.paths:
        for label, lines in library[path].markers.items():
            where[label] += [f"{path}:{line}" for line in lines]
    for label, places in where.items():
        docname = env.domains["std"].anonlabels.get(label, ("",))[0]
        if len(places) > 1:
            logger.warning("source: '# (%s)' marks %s, too", label, places[0], location=places[1], type="source")
        elif not docname:
            logger.warning("source: the book has no label '%s'", label, location=places[0], type="source")
        elif label not in links[docname][1]:
            logger.warning("source: %s has no link to '# (%s)'", docname, label, location=places[0], type="source")


def _links(env: BuildEnvironment) -> dict[str, tuple[set[str], set[str]]]:
    """Page of the book -> the pages of code and the labels of markers that it links to, from the parsed pages."""
    found = {}
    for docname in sorted(env.found_docs):
        links = [n for n in env.get_doctree(docname).findall(addnodes.pending_xref) if n["reftype"] == "source"]
        found[docname] = {n["reftarget"] for n in links}, {n["reflabel"] for n in links} - {""}
    return found


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(name, context, template) of the list of files and of each file's page."""
    if not _has_pages(app.builder):
        return
    env, library = app.env, library_of(app.env)
    links = _links(env)
    yield f"{FOLDER}/index", {"title": "The code", "body": _index(app.builder, library)}, "page.html"
    labels = {label: place[:2] for label, place in env.domains["std"].anonlabels.items()}
    for path in library.paths:
        page = page_of(path)
        linked = [name for name, (pages_of_code, _) in links.items() if page in pages_of_code]
        titles = {name: env.titles[name].astext() if name in env.titles else name for name in linked}
        body = _body(app.builder, path, library[path], titles, labels, env.config.root_doc)
        yield page, {"title": path, "body": body}, "page.html"


def _body(
    builder: Builder,
    path: str,
    source: Source,
    linked: dict[str, str],
    labels: dict[str, tuple[str, str]],
    root: str,
) -> str:
    """A file's page. `linked`: pages that link to it -> titles; `labels`: of the book -> page and anchor."""
    page = page_of(path)

    def address(other: str, anchor: str = "") -> str:
        return html.escape(builder.get_relative_uri(page, other) + (f"#{anchor}" if anchor else ""))

    trail = [f'<a href="{address(root)}">The book</a>', f'<a href="{address(f"{FOLDER}/index")}">All files</a>']
    trail += [f'<a href="{address(docname)}">{html.escape(title)}</a>' for docname, title in linked.items()]
    lines = highlighted(source.text)
    for line, marks in source.comments.items():
        known = {label: address(*labels[label]) for label in marks if label in labels}
        lines[line - 1] = with_links(lines[line - 1], known)
    name = html.escape(path)
    return (
        f'<h1 class="source-title">{name}</h1>\n<p class="source-trail">{" · ".join(trail)}</p>\n'
        f'<div class="highlight source-code" role="region" aria-label="{name}" tabindex="0"><pre>'
        + "".join(
            f'<span class="line" id="L{n}"><a class="linenos" href="#L{n}" tabindex="-1">{n}</a>{line}\n</span>'
            for n, line in enumerate(lines, 1)
        )
        + "</pre></div>"
    )


def highlighted(text: str) -> list[str]:
    """The lines of a file as HTML; every span ends in the line in which it began."""
    return highlight(text, PythonLexer(stripnl=False, ensurenl=True), HtmlFormatter(nowrap=True)).split("\n")[:-1]


def with_links(line: str, addresses: dict[str, str]) -> str:
    """A highlighted line whose marker's labels are links back to the book."""

    def link(label: re.Match[str]) -> str:
        address = addresses.get(label[0])
        return f'<a class="source-back" href="{address}">{label[0]}</a>' if address else label[0]

    # What looks like a comment inside a string is no span of class c1.
    return re.sub(rf'(?<=<span class="c1">){MARKER.pattern}', lambda marker: re.sub(LABEL, link, marker[0]), line)


def _index(builder: Builder, library: Library) -> str:
    """The list of all files, folder by folder, each with the first sentence of its docstring."""
    out = ["<h1>The code</h1>\n<p>Every file of the package, as this book was built with it.</p>"]
    for folder in library.folders:
        out.append(f'<section id="{slug(folder)}"><h2>{html.escape(folder)}</h2><dl class="source-files">')
        for path in library.paths:
            if f"{Path(path).parent.as_posix()}/" == folder:
                link = html.escape(builder.get_relative_uri(f"{FOLDER}/index", page_of(path)))
                summary = re.sub(r"(`+)(.+?)\1", r"<code>\2</code>", html.escape(library[path].summary))
                name = html.escape(Path(path).name)
                out.append(f'<dt><a href="{link}"><code>{name}</code></a></dt><dd>{summary}</dd>')
        out.append("</dl></section>")
    return "\n".join(out)


def library_of(env: BuildEnvironment) -> Library:
    return Library(env.srcdir, env.config.source_files)


def _has_pages(builder: Builder) -> bool:
    return builder.format == "html" and builder.name not in ("singlehtml", "epub")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("source_files", [f"{name}/**/*.py" for name in PACKAGES], "env", [list])
    app.add_role("source", SourceRole())
    app.connect("missing-reference", resolve)
    app.connect("env-check-consistency", check)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
