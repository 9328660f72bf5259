"""The explorer in JupyterLab: the same module beside controls that assess a video of your own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets

from efa.metrics import step_in_text
from efa.metrics.forms import one_line
from efa.predict import EFA
from efa.runs import default_checkpoint
from efa.utils.errors import InputError
from efa_book.explorer import FOLDER, TABLE_SPECS, Document, strip

GUESS = "let the model decide"


class Explorer(anywidget.AnyWidget):
    """The explorer as a widget.

    Attributes:
        data: the document of `efa_book.explorer.data`.
        own: clips assessed here, as `assessed` makes them; the last one is shown when it arrives.
    """

    _esm = FOLDER / "explorer.js"
    _css = FOLDER / "explorer.css"
    data: Any = traitlets.Dict().tag(sync=True)
    own: Any = traitlets.List().tag(sync=True)


def assessed(efa: EFA, video: str | Path, action: str | None = None, name: str = "", size: int = 128) -> dict[str, Any]:
    """One video, assessed now, as a clip of the explorer's document: nothing is known of it but what the model says.

    Args:
        video: a file that libav decodes, or a folder of frames.
        action: which action it is; None: the model decides.
        name: what to call it; by default the file's name.

    Raises:
        InputError: it cannot be read, or there is no such action.
    """
    from efa.data.video import load_clip

    said = efa.assess(video, action)
    seen = efa.config.data.frames
    pictures = load_clip(video, TABLE_SPECS * seen, size, efa.config.data.sampling).frames
    told = "Its steps were picked by you." if action else "The model's own answer picked the steps."
    weights = [step["frames"] for step in said["steps"]]
    text = one_line(said["explanation"])
    return {
        "id": name or Path(video).name,
        "own": True,
        "action": "",
        "view": "",
        "quality": -1,
        "fault": None,
        "reference": [],
        "note": " ".join([told, *said["warnings"]]),
        "steps": [step["text"] for step in said["steps"]],
        "attention": None if None in weights else weights,
        "answers": {
            "live": {
                "action": said["action"],
                "top5": [one["action"] for one in said["top5"]],
                "sure": [one["probability"] for one in said["top5"]],
                "wrong": said["quality_probability"],
                "text": [[text, 0]] if text else [],
                "names": [],
                "step": step_in_text(text),
            }
        },
        **strip(pictures, seen),
    }


class Panel(ipywidgets.VBox):
    """Controls to assess a video, above the explorer that shows the answer.

    Attributes:
        file, path: a video to upload, or where one lies beside the kernel; the path counts if both are given.
        action: one of the model's actions, or `GUESS`.
        go, said: the button, and the line that says what happened.
        explorer: the `Explorer`.
    """

    def __init__(self, data: Document, checkpoint: str = ""):
        """The model is loaded when it is first asked, from `checkpoint` or the newest finished run of EFA."""
        self.checkpoint = checkpoint
        self.efa: EFA | None = None
        self.explorer = Explorer(data=data)
        wide, described = ipywidgets.Layout(width="24rem", max_width="100%"), {"description_width": "6rem"}
        self.file = ipywidgets.FileUpload(accept="video/*", description="Upload a video", layout=wide)
        self.path = ipywidgets.Text(description="or its path", placeholder="squat.mp4", style=described, layout=wide)
        known = sorted(data["actions"])
        self.action = ipywidgets.Dropdown(options=[GUESS, *known], description="Action", style=described, layout=wide)
        self.go = ipywidgets.Button(description="Assess", button_style="primary")
        self.said = ipywidgets.Label("")
        self.go.on_click(lambda _: self.assess())
        super().__init__([self.file, self.path, self.action, self.go, self.said, self.explorer])

    def assess(self) -> None:
        """Assesses what is chosen; a mistake is said in one line and changes nothing else."""
        self.go.disabled, self.said.value = True, "Assessing ..."
        try:
            clip = self._assessed()
            others = [one for one in self.explorer.own if one["id"] != clip["id"]]
            self.explorer.own = [*others, clip]
            self.said.value = f"{clip['id']} is shown below. {clip['note']}"
        except InputError as error:
            self.said.value = f"{error}"
        finally:
            self.go.disabled = False

    def _assessed(self) -> dict[str, Any]:
        action = None if self.action.value == GUESS else str(self.action.value)
        if self.efa is None:
            self.efa = EFA.from_pretrained(self.checkpoint or default_checkpoint())
            known = [GUESS, *sorted(self.efa.actions)]  # the checkpoint may know others than the clips shown
            self.action.options = known
            self.action.value = action if action in known else GUESS
        if path := self.path.value.strip():
            return assessed(self.efa, Path(path).expanduser(), action)
        if not self.file.value:
            raise InputError("no video is chosen", hint="upload one, or write its path")
        upload = self.file.value[-1]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"video{Path(str(upload['name'])).suffix}"
            file.write_bytes(upload["content"])
            return assessed(self.efa, file, action, str(upload["name"]))
