"""The explorer's notebook in a running JupyterLab: the widget appears, a video of the reader's own and a recording are
assessed.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import explorer_samples as samples
import pytest
import tiny
from browser import Browser, chromium, wait

pytestmark = pytest.mark.slow
pytest.importorskip("jupyterlab")
pytest.importorskip("av")


ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 180  # a kernel, PyTorch and some rendering, on a machine that does other things as well
PANEL = "document.querySelector('.jp-OutputArea .widget-vbox')"
CAMERA = "document.querySelector('.efa-camera')"
STATUS = "document.querySelector('.efax-status')?.textContent"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Iterator[Path]:
    """A project folder with this checkout's results and notebook, a checkpoint that knows nothing, and a video."""
    with tiny.home(tmp_path_factory.mktemp("home")) as home:
        samples.save_checkpoint(home)
        (home / "results").symlink_to(ROOT / "results")
        notebook = json.loads((ROOT / "notebooks" / "explore.ipynb").read_text())
        (parameters,) = [cell for cell in notebook["cells"] if cell["id"] == "parameters"]
        parameters["source"] += ["\n", "clips = 4\n", f"checkpoint = {str(home / 'checkpoint')!r}"]
        (home / "explore.ipynb").write_text(json.dumps(notebook))
        yield home


@pytest.fixture(scope="module")
def lab(home) -> Iterator[str]:
    """The address of a JupyterLab of its own, whose menus a test may command."""
    apart = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EFA_")} | apart
    environment |= {"EFA_HOME": str(home), "PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    flags = ["--no-browser", "--port=0", "--allow-root", "--IdentityProvider.token=", "--expose-app-in-browser"]
    command = [sys.executable, "-m", "jupyterlab", *flags, f"--ServerApp.root_dir={home}"]
    with (home / "lab.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        found = wait(lambda: list((home / "runtime").glob("jpserver-*.json")), PATIENCE, "JupyterLab starts")
        yield json.loads(found[0].read_text())["url"]
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="module")
def tab(lab) -> Iterator[Browser]:
    """The notebook, with all its cells run."""
    with chromium(PATIENCE, "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream") as tab:
        tab.look(1400)
        tab.open(f"{lab}lab/tree/explore.ipynb", "window.jupyterapp?.shell?.currentWidget?.context?.isReady")
        tab.until("jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.connectionStatus === 'connected'")
        tab.ask("jupyterapp.commands.execute('notebook:run-all-cells'); true")
        tab.until(PANEL)
        tab.until(STATUS)
        yield tab


def test_the_clips_are_there_beside_the_controls(tab):
    assert "4 of 4 clips fit" in tab.ask(STATUS)
    assert tab.ask(f"{PANEL}.querySelectorAll('button').length") > 2
    assert not tab.ask("document.querySelector('[data-mime-type=\"application/vnd.jupyter.stderr\"]')")


def test_a_filter_works_inside_jupyterlab(tab):
    tab.ask(
        "{ const one = [...document.querySelectorAll('.efax label')].find((l) => l.textContent === 'True verdict');"
        "const list = document.getElementById(one.htmlFor) ?? one.querySelector('select');"
        "list.value = list.options[1].value; list.dispatchEvent(new Event('change', {bubbles: true})); true }"
    )
    tab.until(f"!{STATUS}.startsWith('4 of 4')")


def assess(tab: Browser, path: str) -> None:
    """Writes a path into the panel's field and clicks on its button."""
    tab.ask(
        f"{{ const field = {PANEL}.querySelector('input[type=text]'); field.value = {json.dumps(path)};"
        "field.dispatchEvent(new Event('input', {bubbles: true}));"
        "field.dispatchEvent(new Event('change', {bubbles: true})); true }"
    )
    tab.click(f"[...{PANEL}.querySelectorAll('button')].find((one) => one.textContent.trim() === 'Assess')")


def test_a_video_is_assessed_and_shown(tab, home):
    assess(tab, str(home / "mine.mp4"))
    tab.until(f"{STATUS}.includes('mine.mp4')")
    assert "mine.mp4 is shown below" in tab.ask(f"{PANEL}.textContent")


def test_a_mistake_is_one_line_beside_the_button(tab):
    assess(tab, "no-such.mp4")
    tab.until(f"{PANEL}.textContent.includes('no-such.mp4')")
    assert "Traceback" not in tab.ask("document.body.textContent")


def test_a_recording_reaches_the_kernel_and_is_assessed(tab):
    tab.click(f"{CAMERA}.querySelector('button')")
    tab.until(f"{CAMERA}.textContent.includes('Recording starts in')")
    assert tab.ask(f"{CAMERA}.querySelector('video').videoWidth") > 100
    tab.until(f"{CAMERA}.textContent.includes('s left')")
    stream = f"{CAMERA}.querySelector('video').srcObject"
    tab.ask(f"globalThis.track = {stream}.getTracks()[0]; new Promise((done) => setTimeout(done, 6000))")
    tab.click(f"{CAMERA}.querySelector('button')")
    tab.until(f"{CAMERA}.textContent.includes('went to this notebook')")
    tab.until(f"{STATUS}.includes('camera ')")
    assert tab.ask(f"/camera [0-9:]+ is shown below/.test({PANEL}.textContent)")
    assert tab.ask("globalThis.track.readyState") == "ended"
    assert tab.ask(f"{CAMERA}.querySelector('video').hidden")


def test_stopping_before_it_starts_records_nothing(tab):
    tab.click(f"{CAMERA}.querySelector('button')")
    tab.until(f"{CAMERA}.textContent.includes('Recording starts in')")
    tab.click(f"{CAMERA}.querySelector('button')")
    tab.until(f"{CAMERA}.textContent.includes('Nothing was recorded')")


@pytest.mark.parametrize(
    ("error", "words"), [("NotAllowedError", "not allowed"), ("NotFoundError", "No camera"), ("Odd", "does not work")]
)
def test_what_is_wrong_with_the_camera_is_said(tab, error, words):
    tab.ask(f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{error}')); true")
    tab.click(f"{CAMERA}.querySelector('button')")
    tab.until(f"{CAMERA}.textContent.includes({json.dumps(words)})")
    assert tab.ask(f"{CAMERA}.querySelector('button').textContent") == "Record with the camera"
