"""A headless Chromium driven over its own protocol: open a page, press keys, ask the page, see what it requests."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic"
FLAGS += " --disable-dev-shm-usage --no-first-run --disable-background-networking --disable-component-update"
FLAGS += " --disable-sync --remote-debugging-port=0 --remote-allow-origins=*"
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40}


@contextlib.contextmanager
def chromium(patience: float = 30, *flags: str) -> Iterator["Browser"]:
    """A browser of its own, with these flags as well, ended afterwards; the test is skipped where there is none."""
    websocket = pytest.importorskip("websocket")  # of jupyter_server
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")
    with tempfile.TemporaryDirectory() as profile:
        place = Path(profile) / "DevToolsActivePort"
        command = [program, *FLAGS.split(), *flags, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            lines = wait(lambda: place.read_text().splitlines()[1:2], patience, "Chromium starts")
            address = f"ws://127.0.0.1:{place.read_text().split()[0]}{lines[0]}"
            socket = websocket.create_connection(address, timeout=patience)
            try:
                yield Browser(socket, patience)
            finally:
                socket.close()
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            time.sleep(0.2)  # its children leave the profile a moment later
            shutil.rmtree(profile, ignore_errors=True)
            Path(profile).mkdir(exist_ok=True)


def wait(found: Any, patience: float, what: str) -> Any:
    """Calls `found` until it is true."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if value := found():
                return value
        time.sleep(0.05)
    raise AssertionError(f"waited {patience:.0f} s in vain: {what}")


class Browser:
    """One tab at a time.

    Attributes:
        errors: what the page threw or wrote to the console as an error.
        requests: every address that it asked for, data: and blob: left out.
    """

    def __init__(self, socket: Any, patience: float):
        self.socket, self.patience, self.number = socket, patience, itertools.count(1)
        self.session, self.target = "", ""
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.settings: dict[str, dict[str, Any]] = {}  # method -> parameters, for every tab to come

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol and returns its answer; events that arrive meanwhile are kept."""
        own = next(self.number)
        message = {"id": own, "method": method, "params": parameters}
        self.socket.send(json.dumps(message | ({"sessionId": self.session} if self.session else {})))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == own:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return answer["result"]
            self._event(answer.get("method", ""), answer.get("params", {}))

    def _event(self, method: str, given: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(given["exceptionDetails"])[:2000])
        elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "assert"):
            self.errors.append(json.dumps(given["args"])[:2000])
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.errors.append(given["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not given["request"]["url"].startswith(("data:", "blob:")):
            self.requests.append(given["request"]["url"])

    def open(self, address: str, ready: str = "true") -> None:
        """Loads an address in a fresh tab and waits until the expression `ready` is true in the page."""
        old, self.session = self.target, ""
        self.target = self.send("Target.createTarget", url="about:blank")["targetId"]
        if old:
            self.send("Target.closeTarget", targetId=old)
        self.session = self.send("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        for method, parameters in self.settings.items():
            self.send(method, **parameters)
        self.errors.clear()
        self.requests.clear()
        self.send("Page.navigate", url=address)
        self.until(f"document.readyState === 'complete' && location.href !== 'about:blank' && ({ready})")

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        wait(lambda: self.ask(f"Boolean({expression})"), self.patience, expression)

    def click(self, element: str) -> None:
        """Presses and releases the mouse in the middle of an element, given as an expression."""
        self.ask(f"({element}).scrollIntoView({{block: 'center'}})")
        box = self.ask(
            f"(() => {{ const b = ({element}).getBoundingClientRect(); return [b.x, b.y, b.width, b.height] }})()"
        )
        place = {"x": box[0] + box[2] / 2, "y": box[1] + box[3] / 2, "button": "left", "clickCount": 1}
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, **place)

    def press(self, *keys: str) -> None:
        """Keys one after the other, as a keyboard sends them."""
        for key in keys:
            code = {" ": "Space"}.get(key, f"Key{key.upper()}" if len(key) == 1 else key)
            typed = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            number = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
            about = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            self.send("Input.dispatchKeyEvent", type="keyDown", text=typed, **about)
            self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def look(self, width: int = 1280, dark: bool = False, calm: bool = False) -> None:
        """For the tabs to come: the window's width, the colour scheme and whether less motion is asked for."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"},
        ]
        self.settings["Emulation.setDeviceMetricsOverride"] = size
        self.settings["Emulation.setEmulatedMedia"] = {"features": features}

    def scripts(self, on: bool) -> None:
        """For the tabs to come: whether pages may run scripts of their own."""
        self.settings["Emulation.setScriptExecutionDisabled"] = {"value": not on}

    def picture(self, to: Path, whole: bool = True) -> None:
        """A screenshot as PNG."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        to.write_bytes(base64.b64decode(shot["data"]))
