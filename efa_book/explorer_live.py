"""The explorer in JupyterLab: the same module beside controls that assess a video or a recording of your own."""

import base64
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from efa.data.observation import observe
from efa.data.video import load_clip
from efa.metrics import step_in_text
from efa.predict import EFA, shipped_checkpoint
from efa.utils.errors import InputError
from efa_book.explorer import FOLDER, PICTURES_PER_FRAME, Document, encode_strip
from efa_book.html import Html, escape
from efa_book.pictures import draw_answer, explained_strip
from formsim.faults import one_line
from formsim.others import OTHER

GUESS = "let the model decide"


class Explorer(anywidget.AnyWidget):
    """The explorer as a widget: `data` is the document of `efa_book.explorer.build_document`, `own` the clips assessed
    here, as `assess_clip` makes them; the last one is shown when it arrives.
    """

    _esm = FOLDER / "explorer.js"
    _css = FOLDER / "explorer.css"
    data: Any = traitlets.Dict().tag(sync=True)
    own: Any = traitlets.List().tag(sync=True)


class Camera(anywidget.AnyWidget):
    """A button that records `seconds` of video with the browser's camera, `wait` seconds after it was clicked.

    `recording` is what the browser made of the last one, a whole file (WebM, or MP4 in Safari). It comes as a message,
    not as a synchronised field: that would send it back to the browser.
    """

    _esm = FOLDER / "camera.js"
    _css = ".efa-camera video { display: block; width: 22rem; max-width: 100%; transform: scaleX(-1); }"  # a mirror
    _css += " .efa-camera video[hidden] { display: none; } .efa-camera button { width: auto; }"
    _css += " .efa-status.widget-label { height: auto; white-space: normal; }"  # of the panel: sentences, not a label
    seconds: Any = traitlets.Int(10, min=1, max=20).tag(sync=True)
    wait: Any = traitlets.Int(5, min=0).tag(sync=True)
    recording: Any = traitlets.Bytes()

    def __init__(self, **fields: Any):
        super().__init__(**fields)
        self.on_msg(self._receive)

    def _receive(self, _: Any, content: Any, buffers: list[Any]) -> None:
        if buffers and str(content.get("type", "")).startswith("video/"):
            self.recording = bytes(buffers[0])


def assess_clip(
    efa: EFA,
    video: str | Path,
    action: str | None = None,
    name: str = "",
    size: int = 192,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Document, Html]:
    """Assesses one video, as a clip of the explorer's document of which nothing is known but the model's answer.

    Args:
        video: a file that libav decodes, or a folder of frames; called by its file's name without `name`.
        action: which action it is; None: the model decides.
        size: side of a picture in pixels.
        progress: called with the number of frames done and in all while the person's pose is estimated.

    Returns:
        The clip, and for a model that reads poses the picture of its answer (`draw_answer`), else nothing. Such a
        clip's pictures are of the repetition that is explained, the skeleton over the person.

    Raises:
        InputError: it cannot be read, or there is no such action.
    """
    seen = observe(video, efa.config, progress)
    answer = efa.answer(seen, str(video), action)
    frames, name = efa.config.data.frames, name or Path(video).name
    picture = Html("")
    if seen.landmarks is None:
        pictures = load_clip(video, PICTURES_PER_FRAME * frames, size, efa.config.data.sampling).frames
    else:
        pictures = explained_strip(video, seen.landmarks, answer, PICTURES_PER_FRAME * frames, size)
        with tempfile.TemporaryDirectory() as folder:
            alt = draw_answer(video, seen.landmarks, answer, Path(folder) / "answer.png")
            data = base64.b64encode((Path(folder) / "answer.png").read_bytes()).decode()
        image = f'<img src="data:image/png;base64,{data}" alt="{escape(alt)}" style="max-width: 100%">'
        picture = Html(f'<figure style="margin: 0">{image}<figcaption>{escape(name)}</figcaption></figure>', alt)
    chosen = "Its steps were picked by you." if action else "The model's own answer picked the steps."
    chosen = "" if answer["abstained"] else chosen
    weights = [None if answer["abstained"] else step["frames"] for step in answer["steps"]]
    text = one_line(answer["explanation"])
    live = {
        "action": answer["action"], "top5": [one["action"] for one in answer["top5"]],
        "sure": [one["probability"] for one in answer["top5"]], "wrong": answer["quality_probability"],
        "text": [[text, 0]] if text else [], "names": [], "step": step_in_text(text),
        "abstained": answer["abstained"], "repetitions": answer["repetitions"], "explained": answer["explained"],
    }  # fmt: skip
    unknown = {"action": "", "view": "", "quality": -1, "fault": None, "reference": []}
    clip = unknown | {
        "id": name, "own": True, "note": " ".join(filter(None, [chosen, "; ".join(answer["warnings"])])),
        "steps": [step["text"] for step in answer["steps"]], "attention": None if None in weights else weights,
        "answers": {"live": live}, **encode_strip(pictures, frames),
    }  # fmt: skip
    return clip, picture


class Panel(ipywidgets.VBox):
    """Controls to assess a video, above the picture of the answer and the explorer that shows it.

    The video is uploaded (`file`), lies beside the kernel (`path`, which counts if it is given) or is recorded
    (`camera`; it is assessed at once); `action` is one of the model's actions, or `GUESS`; the button `go` starts, the
    line `status` says what happened.
    """

    def __init__(self, data: Document, checkpoint: str = ""):
        """The model is loaded at the first assessment, from `checkpoint` or the pose model that comes with the package;
        where there is none, from the newest finished run of EFA.
        """
        self.checkpoint = checkpoint
        self.efa: EFA | None = None
        self.given: tuple[str, bytes] | None = None  # name and content of the last upload or recording
        self.explorer = Explorer(data=data)
        wide = ipywidgets.Layout(width="24rem", max_width="100%")
        line = {"style": {"description_width": "6rem"}, "layout": wide}
        self.file = ipywidgets.FileUpload(accept="video/*", description="Upload a video", layout=wide)
        self.path = ipywidgets.Text(description="or its path", placeholder="squat.mp4", **line)
        self.camera = Camera()
        self.action = ipywidgets.Dropdown(options=[GUESS, *sorted(data["actions"])], description="Action", **line)
        self.go = ipywidgets.Button(description="Assess", button_style="primary")
        self.status, self.picture = ipywidgets.Label(""), ipywidgets.HTML("")
        self.status.add_class("efa-status")
        self.go.on_click(lambda _: self.assess())
        self.file.observe(lambda _: self._uploaded(), "value")
        self.camera.observe(lambda _: self._recorded(), "recording")
        controls = [self.file, self.path, self.camera, self.action, self.go, self.status]
        super().__init__([*controls, self.picture, self.explorer])

    def assess(self) -> None:
        """Assesses the chosen video; a mistake is reported in one line and changes nothing else."""
        self.go.disabled, self.status.value = True, "Assessing ..."
        try:
            clip, picture = self._assess_chosen()
            self.explorer.own = [*(one for one in self.explorer.own if one["id"] != clip["id"]), clip]
            self.picture.value = picture.source
            self.status.value = f"{clip['id']} is shown below. {clip['note']}"
        except InputError as error:
            self.status.value = f"{error}"
        finally:
            self.go.disabled = False

    def _uploaded(self) -> None:
        if self.file.value:
            upload = self.file.value[-1]
            self.given = str(upload["name"]), bytes(upload["content"])

    def _recorded(self) -> None:
        self.given, self.path.value = (f"camera {datetime.now():%H:%M:%S}", self.camera.recording), ""
        self.assess()

    def _assess_chosen(self) -> tuple[Document, Html]:
        action = None if self.action.value == GUESS else str(self.action.value)
        if self.efa is None:
            self.efa = EFA.from_pretrained(self.checkpoint or shipped_checkpoint())
            known = [
                GUESS,
                *sorted(set(self.efa.actions) - {OTHER}),
            ]  # the checkpoint may know others than the clips shown
            self.action.options = known
            self.action.value = action if action in known else GUESS
        if path := self.path.value.strip():
            return assess_clip(self.efa, Path(path).expanduser(), action, progress=self._progress)
        if self.given is None:
            raise InputError("no video is chosen", hint="upload one, write its path, or record one")
        name, content = self.given
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"video{Path(name).suffix}"
            file.write_bytes(content)
            return assess_clip(self.efa, file, action, name, progress=self._progress)

    def _progress(self, done: int, total: int) -> None:
        self.status.value = f"Looking for the person: {done} of {total} frames"
