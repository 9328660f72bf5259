"""The explorer in a browser, opened from a file: by mouse, by keyboard, by an address, without scripts."""

import json
from pathlib import Path
from urllib.parse import quote

import explorer_samples as samples
import pytest
from browser import Browser, chromium
from explorer_samples import NASTY

from efa_book import explorer

pytestmark = pytest.mark.slow
READY = "document.querySelector('.efax-card')"
STATUS = "document.querySelector('.efax-status').textContent"
COUNTER = "document.querySelector('.efax-buttons .efax-small').textContent"
PLAY = "document.querySelector('.efax-buttons button')"
TITLES = "[...document.querySelectorAll('.efax-card .efax-title')].map((one) => one.textContent)"
PICTURES = 3 * samples.FRAMES


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> explorer.Document:
    folder = tmp_path_factory.mktemp("explorer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EFA_HOME", str(folder))
        samples.publish_attention(folder / "results" / "formsim-smoke")
        return samples.document(folder, clips=8, hostile=NASTY)


@pytest.fixture(scope="module")
def page(made, tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("page") / "explorer.html"
    file.write_text(explorer.html_page(made), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def tab():
    with chromium() as found:
        yield found


@pytest.fixture
def opened(tab, page) -> Browser:
    tab.look()
    tab.open(page, READY)
    return tab


@pytest.fixture(autouse=True)
def nothing_went_wrong(tab, page):
    yield
    assert tab.errors == []
    assert {address.partition("#")[0] for address in tab.requests} <= {page, "about:blank"}


def select(label: str) -> str:
    """The control with this label, as an expression."""
    found = f"[...document.querySelectorAll('.efax label')].find((one) => one.textContent === {json.dumps(label)})"
    return f"document.getElementById({found}.htmlFor)"


def choose(tab: Browser, label: str, value: str) -> None:
    """Picks an option as a reader's choice is reported to the page."""
    chosen = f"one.value = {json.dumps(value)}; one.dispatchEvent(new Event('change'))"
    tab.ask(f"((one) => {{ {chosen} }})({select(label)})")


def shown(tab: Browser) -> str:
    return tab.ask(f"{select('Clip')}.value")


def listed(tab: Browser) -> set[str]:
    return set(tab.ask(f"[...{select('Clip')}.options].map((one) => one.value)"))


def focus_by_tab(tab: Browser, element: str) -> None:
    """Presses Tab until the element has the focus."""
    for _ in range(40):
        if tab.ask(f"document.activeElement === {element}"):
            return
        tab.press("Tab")
    raise AssertionError(f"no Tab reaches {element}")


def test_filters_leave_the_clips_that_fit(opened, made):
    for label, name, value, pick in (
        ("True verdict", "quality", "non-standard", 1),
        ("Action", "action", made["actions"][0], made["actions"][0]),
        ("Seen from", "view", made["clips"][0]["view"], made["clips"][0]["view"]),
    ):
        choose(opened, label, value)
        assert listed(opened) == {clip["id"] for clip in made["clips"] if clip[name] == pick}
        choose(opened, label, "")
    choose(opened, "The system's answer", "verdict wrong")
    wrong = {c["id"] for c in made["clips"] if (c["answers"]["EFA"]["wrong"] >= 0.5) != bool(c["quality"])}
    assert listed(opened) == wrong
    assert 0 < len(wrong) < len(made["clips"])
    assert f"{len(wrong)} of {len(made['clips'])} clips fit" in opened.ask(STATUS)
    choose(opened, "The system's answer", "names the true fault")
    assert listed(opened) == {c["id"] for c in made["clips"] if c["quality"]}  # EFA writes the reference here
    choose(opened, "System", "TSM")
    assert "TSM writes no explanation" in opened.ask(STATUS)
    assert not opened.ask("document.querySelector('.efax-cards').offsetParent")


def test_play_pause_and_step(opened):
    opened.click(PLAY)
    opened.until(f"!{COUNTER}.startsWith('1 of')")
    assert opened.ask(f"{PLAY}.textContent") == "❚❚ Pause"
    opened.click(PLAY)
    at = int(opened.ask(COUNTER).split()[0])
    opened.press("ArrowRight")
    assert int(opened.ask(COUNTER).split()[0]) == at % PICTURES + 1
    opened.press("ArrowLeft", "ArrowLeft")
    assert int(opened.ask(COUNTER).split()[0]) == (at - 2) % PICTURES + 1
    slider = select("Picture")
    opened.ask(f"{slider}.focus()")
    opened.press("Home", "ArrowRight")
    assert opened.ask(COUNTER) == f"2 of {PICTURES}"
    assert f"Picture 2 of {PICTURES}" in opened.ask("document.querySelector('.efax canvas').getAttribute('aria-label')")
    pixels = "[...document.querySelector('.efax canvas').getContext('2d').getImageData(0, 0, 48, 48).data]"
    first = opened.ask(pixels)
    assert len(set(first)) > 10  # a picture was drawn
    opened.press("End")
    assert opened.ask(pixels) != first


def test_who_asks_for_less_motion_gets_none_by_itself(tab, page, made):
    tab.look(calm=True)
    tab.open(f"{page}#clip={made['clips'][3]['id']}&system=EFA", READY)
    assert tab.ask(f"{PLAY}.textContent") == "▶ Play"
    tab.click(PLAY)
    tab.until(f"!{COUNTER}.startsWith('1 of')")
    tab.until(f"{PLAY}.textContent === '▶ Play'")  # once, then it rests
    tab.look()


def test_two_systems_side_by_side_by_mouse(opened, made):
    assert opened.ask(TITLES) == ["EFA", "SwinBERT"]
    choose(opened, "Beside it", "TSM")
    text = opened.ask("document.querySelectorAll('.efax-card')[1].textContent")
    assert text.startswith("TSM")
    assert "Writes no explanation" in text
    choose(opened, "Beside it", "")
    assert opened.ask("document.querySelectorAll('.efax-card').length") == 1
    before = shown(opened)
    opened.click("[...document.querySelectorAll('.efax button')].find((one) => one.textContent.startsWith('Next'))")
    assert shown(opened) == made["clips"][1]["id"] != before
    assert shown(opened) in opened.ask(STATUS)


def test_everything_by_keyboard(opened, made):
    focus_by_tab(opened, select("System"))
    opened.press("ArrowDown")
    assert opened.ask(f"{select('System')}.value") == "SwinBERT"
    focus_by_tab(opened, select("Beside it"))
    opened.press("t")
    assert opened.ask(f"{select('Beside it')}.value") == "TSM"
    assert opened.ask(TITLES) == ["SwinBERT", "TSM"]
    focus_by_tab(opened, select("Clip"))
    opened.press("ArrowDown")
    assert shown(opened) == made["clips"][1]["id"]
    focus_by_tab(opened, PLAY)
    if opened.ask(f"{PLAY}.textContent").startswith("▶"):
        opened.press("Enter")
    opened.press("Enter")
    assert opened.ask(f"{PLAY}.textContent") == "▶ Play"
    at = opened.ask(COUNTER)
    opened.press("ArrowRight")
    assert opened.ask(COUNTER) != at
    focus_by_tab(opened, "document.querySelector('.efax-looks thead [data-frame=\"2\"] button')")
    opened.press("Enter")
    assert opened.ask(COUNTER) == f"8 of {PICTURES}"  # the third frame that the model saw
    assert opened.ask("document.querySelector('.efax-looks td.efax-now').dataset.frame") == "2"
    focus_by_tab(opened, "document.querySelector('.efax summary')")
    opened.press("Enter")
    assert opened.ask("document.querySelector('.efax details').open")


def test_differences_and_faults_are_marked_by_more_than_colour(opened, made):
    clip = next(c for c in made["clips"] if c["quality"])
    choose(opened, "Clip", clip["id"])
    card = "document.querySelectorAll('.efax-card')"
    assert opened.ask(f"{card}[0].querySelectorAll('.efax-only').length") == 0  # EFA writes the reference here
    right = opened.ask(f"{card}[0].querySelector('mark.efax-right').textContent")
    assert right.startswith("✓ (names the true fault:)")
    assert clip["fault"]["clause"] in clip["reference"][1][0] or right.endswith(clip["reference"][1][0] + ".")
    lines = opened.ask(
        f"[...{card}[1].querySelectorAll('ins, del')].map((one) => getComputedStyle(one).textDecorationStyle)"
    )
    assert set(lines) == {"solid", "dashed"}
    assert "the true fault is in this step" in opened.ask("document.querySelector('.efax-looks tbody').textContent")


def test_an_address_opens_its_clip(tab, page, made):
    clip = made["clips"][5]["id"]
    tab.open(f"{page}#clip={clip}&system=TSM&beside=EFA", READY)
    assert shown(tab) == clip
    assert tab.ask(f"[{select('System')}.value, {select('Beside it')}.value]") == ["TSM", "EFA"]
    choose(tab, "System", "SwinBERT")
    address = tab.ask("location.href")
    assert address.endswith(f"#clip={clip}&system=SwinBERT&beside=EFA")
    assert tab.ask("document.querySelector('.efax-link').href") == address
    tab.open(f"{page}#clip={quote('<img src=x>')}", READY)
    assert "There is no clip <img src=x> here." in tab.ask(STATUS)
    assert shown(tab) == made["clips"][0]["id"]


def test_a_video_assessed_in_jupyterlab_has_no_truth(opened, made):
    """The module as anywidget serves it: imported, with a model that changes."""
    answer = {
        "action": "Squat",
        "top5": ["Squat", "Plank"],
        "sure": [0.75, 0.25],
        "wrong": 0.6,
        "step": None,
        "names": [],
    }
    clip = made["clips"][0] | {"id": "mine.mp4", "own": True, "action": "", "view": "", "quality": -1, "fault": None}
    clip |= {"reference": [], "note": NASTY, "steps": [NASTY] * 5, "answers": {"live": answer | {"text": [[NASTY, 0]]}}}
    module = (explorer.FOLDER / "explorer.js").read_text(encoding="utf-8")
    opened.ask(
        f"""const source = new Blob([{json.dumps(module)}], {{ type: "text/javascript" }});
        import(URL.createObjectURL(source)).then((found) => {{
          const el = document.querySelector("main").appendChild(document.createElement("div"));
          const text = document.querySelector("script[type='application/json']").textContent;
          const known = {{ data: JSON.parse(text), own: [] }};
          const model = {{ get: (name) => known[name], on: (_, act) => (model.act = act), off() {{}} }};
          window.leave = found.default.render({{ model, el }});
          known.own = [{json.dumps(clip)}];
          model.act();
        }})"""
    )
    last = "[...document.querySelectorAll('.efax')].at(-1)"
    text = opened.ask(f"{last}.querySelector('.efax-main').textContent")
    assert "Squat 75 %" in text
    assert "probability of non-standard form 0.60" in text
    assert not any(word in text.partition("underlined")[0] for word in ("✓", "✗"))  # nobody knows what is right
    assert opened.ask(f"{last}.querySelectorAll('.efax-card').length") == 1
    assert opened.ask(f"{last}.querySelector('.efax-looks tbody').textContent").startswith("1. </script><img")
    assert "#" not in opened.ask("location.href")  # a notebook's address is left alone
    assert opened.ask(f"{last}.querySelector('.efax-link').hidden")
    opened.ask("window.leave()")


def test_hostile_text_is_shown_as_text(opened):
    assert NASTY.strip().split()[0] in opened.ask("document.querySelectorAll('.efax-card')[1].textContent")
    assert "onerror=alert(1)>" in opened.ask("document.querySelectorAll('.efax-card')[1].textContent")
    assert opened.ask("document.querySelectorAll('.efax img').length") == 0


def test_without_scripts_the_table_stays(tab, page, made):
    tab.scripts(False)
    tab.open(page)
    try:
        rows = tab.ask("document.querySelectorAll('.efa-explorer > .efa-wide tbody tr').length")
    finally:
        tab.scripts(True)
    assert rows == len(made["clips"])


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(tab, page, width):
    tab.look(width)
    tab.open(page, READY)
    assert tab.ask("document.documentElement.scrollWidth") <= width
    tab.look()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(tab, page, dark, width):
    axe = pytest.importorskip("axe_core_python")
    tab.look(width, dark)
    tab.open(page, READY)
    tab.ask("document.querySelector('.efax details').open = true")
    tab.ask((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8") + "; true")
    found = tab.ask("axe.run().then((said) => said.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))")
    assert found == []
    assert tab.ask("axe.run('.efax', {runOnly: ['color-contrast']}).then((said) => said.passes.length)") == 1
    tab.look()
