"""Keeps the book free of requests to other hosts.

`sphinx_thebe` puts the address of a script on a content delivery network into every page. The book has no live cells,
so the two entries are dropped after every other extension has had its say.
"""

from typing import Any

from sphinx.application import Sphinx


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Remove thebe's entries from the scripts of one page."""
    scripts = context.get("script_files", [])
    context["script_files"] = [script for script in scripts if "thebe" not in _text(script)]


def _text(script: Any) -> str:
    """File name and inline body of a script, whichever it has."""
    return f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', {}).get('body', '')}".lower()


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", drop_thebe, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
