"""Errors that end in one line: a user's mistake, a loss that is not finite."""

from formsim.errors import InputError as InputError
from formsim.errors import did_you_mean as did_you_mean
from formsim.errors import near as near


class Diverged(FloatingPointError):  # noqa: N818
    """A loss or a gradient that is not finite; raised before the weights change, so that a run can be resumed.

    Args:
        epoch, step: where it happened, from 1; step 0: in validation.
        clips: ids of the batch, at most eight.
        parts: what is not finite: 'class', 'quality', 'text', 'further term' or 'gradient'.
    """

    def __init__(
        self, message: str, *, epoch: int = 0, step: int = 0, clips: tuple[str, ...] = (), parts: tuple[str, ...] = ()
    ):
        self.epoch, self.step, self.clips, self.parts = epoch, step, clips, parts
        super().__init__(" ".join(message.split()))
