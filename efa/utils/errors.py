"""Errors that end in one line: a user's mistake, a loss that is no number, a process that has gone."""

from formsim.errors import InputError as InputError


class Diverged(FloatingPointError):  # noqa: N818 it names what became of the run
    """A loss or a gradient that is no finite number: this run is over, others may go on.

    It is raised before the weights take it in. What was saved after the last whole epoch stays in the run's folder, so
    the same command starts again from there. The command line prints it as one line and exits with 1.

    Args:
        message: the whole line.
        epoch: in which it happened, from 1.
        step: of that epoch, from 1; 0: in validation.
        clips: ids of the batch, at most eight.
        parts: what is not finite: 'class', 'quality', 'text', 'further term' or 'gradient'.
    """

    def __init__(
        self,
        message: str,
        *,
        epoch: int = 0,
        step: int = 0,
        clips: tuple[str, ...] = (),
        parts: tuple[str, ...] = (),
    ):
        self.epoch, self.step, self.clips, self.parts = epoch, step, clips, parts
        super().__init__(" ".join(message.split()))


class PeerLostError(RuntimeError):
    """Another process of the same training has ended, so this one cannot go on either."""
