"""The built book in a browser: nothing fails, nothing is asked of another host, axe finds nothing serious.

Looks at `_build/html`, which `make book` leaves; skipped where there is no build or no Chromium. The book is served
from localhost, because a page that is opened from disk may do less than one that is served.
"""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from browser import Browser, chromium

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if not (BUILT / "index.html").is_file():
        pytest.skip("no book is built here: make book")
    handler = functools.partial(Quiet, directory=str(BUILT))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def tab(address) -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_core_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8") + "; true"


def show(tab: Browser, address: str, page: str) -> None:
    tab.look()
    tab.open(f"{address}/{page}.html", "document.querySelector('main')")


@pytest.fixture(scope="module")
def opened(tab, address, request) -> Browser:
    """A page, opened once for all that is asked of it."""
    show(tab, address, request.param)
    return tab


@pytest.mark.parametrize("opened", [*PAGES, "search", "genindex"], indirect=True)
def test_nothing_fails_and_nothing_comes_from_elsewhere(opened, address):
    assert opened.errors == []
    assert {request for request in opened.requests if not request.startswith((address, "about:"))} == set()
    assert len(opened.requests) > 3


@pytest.mark.parametrize("opened", PAGES, indirect=True)
def test_every_picture_says_what_it_shows(opened):
    assert opened.ask("[...document.querySelectorAll('article img')].filter((one) => !one.alt.trim()).length") == 0


@pytest.mark.parametrize("opened", PAGES, indirect=True)
def test_axe_finds_nothing_serious(opened, axe):
    opened.ask("document.head.insertAdjacentHTML('beforeend', '<style>* { transition: none !important }</style>')")
    opened.ask(axe)  # without transitions: colours half way from one theme to the other are nobody's
    for theme in ("light", "dark"):
        opened.look(dark=theme == "dark")
        opened.send("Emulation.setEmulatedMedia", **opened.settings["Emulation.setEmulatedMedia"])
        opened.ask(f"Object.assign(document.documentElement.dataset, {{theme: '{theme}', mode: '{theme}'}})")
        found = opened.ask(
            "axe.run({resultTypes: ['violations']}).then((said) => said.violations"
            ".filter((v) => ['serious', 'critical'].includes(v.impact))"
            ".map((v) => [v.id, v.nodes.length, v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200))]))"
        )
        assert found == [], theme


@pytest.mark.parametrize("opened", PAGES, indirect=True)
def test_a_phone_needs_no_sideways_scrolling(opened):
    opened.look(390)
    opened.open(opened.ask("location.href"), "document.querySelector('main')")
    wide = opened.ask("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 1, f"{wide} pixels too wide"


def test_the_index_leads_to_the_first_page(tab, address):
    text = (BUILT / "index.html").read_text(encoding="utf-8")
    assert f"url={PAGES[0]}.html" in text
    assert "http:" not in text
    assert "https:" not in text


def test_the_explorer_runs_inside_the_book(tab, address):
    show(tab, address, "notebooks/explore")
    tab.until("document.querySelector('.efax-card')")
    before = tab.ask("document.querySelector('.efax-status').textContent")
    tab.click("[...document.querySelectorAll('.efax button')].find((one) => one.textContent.includes('Next'))")
    tab.until(f"document.querySelector('.efax-status').textContent !== {before!r}")
    assert tab.errors == []
