"""Keeps the book free of requests to other hosts.

`sphinx_thebe` puts the address of a script on a content delivery network into every page. The book has no live cells,
so its scripts are dropped after every other extension has run.
"""

from typing import Any

from sphinx.application import Sphinx


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Removes thebe's entries, files and inline bodies, from the scripts of one page."""

    def text(script: Any) -> str:
        return f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', {}).get('body', '')}".lower()

    context["script_files"] = [script for script in context.get("script_files", []) if "thebe" not in text(script)]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("html-page-context", drop_thebe, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
