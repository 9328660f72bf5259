"""The explorer in JupyterLab: the same module beside controls that assess a video of your own."""

import tempfile
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from efa.data.video import load_clip
from efa.metrics import step_in_text
from efa.metrics.forms import one_line
from efa.predict import EFA
from efa.runs import default_checkpoint
from efa.utils.errors import InputError
from efa_book.explorer import FOLDER, PICTURES_PER_FRAME, Document, encode_strip

GUESS = "let the model decide"


class Explorer(anywidget.AnyWidget):
    """The explorer as a widget: `data` is the document of `efa_book.explorer.build_document`, `own` the clips assessed
    here, as `assess_clip` makes them; the last one is shown when it arrives.
    """

    _esm = FOLDER / "explorer.js"
    _css = FOLDER / "explorer.css"
    data: Any = traitlets.Dict().tag(sync=True)
    own: Any = traitlets.List().tag(sync=True)


def assess_clip(efa: EFA, video: str | Path, action: str | None = None, name: str = "", size: int = 128) -> Document:
    """Assesses one video, as a clip of the explorer's document of which nothing is known but the model's answer.

    Args:
        video: a file that libav decodes, or a folder of frames; called by its file's name without `name`.
        action: which action it is; None: the model decides.
        size: side of a picture in pixels.

    Raises:
        InputError: it cannot be read, or there is no such action.
    """
    answer = efa.assess(video, action)
    frames = efa.config.data.frames
    pictures = load_clip(video, PICTURES_PER_FRAME * frames, size, efa.config.data.sampling).frames
    chosen = "Its steps were picked by you." if action else "The model's own answer picked the steps."
    weights = [step["frames"] for step in answer["steps"]]
    text = one_line(answer["explanation"])
    live = {
        "action": answer["action"], "top5": [one["action"] for one in answer["top5"]],
        "sure": [one["probability"] for one in answer["top5"]], "wrong": answer["quality_probability"],
        "text": [[text, 0]] if text else [], "names": [], "step": step_in_text(text),
    }  # fmt: skip
    unknown = {"action": "", "view": "", "quality": -1, "fault": None, "reference": []}
    return unknown | {
        "id": name or Path(video).name, "own": True, "note": " ".join([chosen, *answer["warnings"]]),
        "steps": [step["text"] for step in answer["steps"]], "attention": None if None in weights else weights,
        "answers": {"live": live}, **encode_strip(pictures, frames),
    }  # fmt: skip


class Panel(ipywidgets.VBox):
    """Controls to assess a video, above the explorer that shows the answer.

    The video is uploaded (`file`) or lies beside the kernel (`path`, which counts if both are given); `action` is one
    of the model's actions, or `GUESS`; the button `go` starts, the line `status` says what happened.
    """

    def __init__(self, data: Document, checkpoint: str = ""):
        """The model is loaded at the first assessment, from `checkpoint` or the newest finished run of EFA."""
        self.checkpoint = checkpoint
        self.efa: EFA | None = None
        self.explorer = Explorer(data=data)
        wide = ipywidgets.Layout(width="24rem", max_width="100%")
        line = {"style": {"description_width": "6rem"}, "layout": wide}
        self.file = ipywidgets.FileUpload(accept="video/*", description="Upload a video", layout=wide)
        self.path = ipywidgets.Text(description="or its path", placeholder="squat.mp4", **line)
        self.action = ipywidgets.Dropdown(options=[GUESS, *sorted(data["actions"])], description="Action", **line)
        self.go = ipywidgets.Button(description="Assess", button_style="primary")
        self.status = ipywidgets.Label("")
        self.go.on_click(lambda _: self.assess())
        super().__init__([self.file, self.path, self.action, self.go, self.status, self.explorer])

    def assess(self) -> None:
        """Assesses the chosen video; a mistake is reported in one line and changes nothing else."""
        self.go.disabled, self.status.value = True, "Assessing ..."
        try:
            clip = self._assess_chosen()
            self.explorer.own = [*(one for one in self.explorer.own if one["id"] != clip["id"]), clip]
            self.status.value = f"{clip['id']} is shown below. {clip['note']}"
        except InputError as error:
            self.status.value = f"{error}"
        finally:
            self.go.disabled = False

    def _assess_chosen(self) -> dict[str, Any]:
        action = None if self.action.value == GUESS else str(self.action.value)
        if self.efa is None:
            self.efa = EFA.from_pretrained(self.checkpoint or default_checkpoint())
            known = [GUESS, *sorted(self.efa.actions)]  # the checkpoint may know others than the clips shown
            self.action.options = known
            self.action.value = action if action in known else GUESS
        if path := self.path.value.strip():
            return assess_clip(self.efa, Path(path).expanduser(), action)
        if not self.file.value:
            raise InputError("no video is chosen", hint="upload one, or write its path")
        upload = self.file.value[-1]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"video{Path(str(upload['name'])).suffix}"
            file.write_bytes(upload["content"])
            return assess_clip(self.efa, file, action, str(upload["name"]))
