"""A run in a subprocess of its own: when that dies, only its run is lost.

The child, `python -m efa.launch.child`, reads a pickled description of its job from stdin, and ends when the parent
closes the pipe or dies. It writes lines of JSON to stdout: a string is a line of the run's report, a number the share
of it that is done, and an object the end: the fields of a `grid.Failure`, or none.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from efa.utils import paths
from efa.utils.signals import GRACE, end_process_after, ignore_interrupts

if TYPE_CHECKING:
    from efa.runs import Run

Message = str | float | dict[str, Any] | None  # None: nothing new
HEARTBEAT = 0.5  # seconds between two reports of progress


def describe_job(run: Run, title: str = "") -> dict[str, Any]:
    """What a child needs to know; `title` is the first line of its report."""
    home = str(paths.home().resolve())
    return {"run": pickle.dumps(run), "key": run.key, "home": home, "threads": 1, "title": title}


def run_in_child(description: dict[str, Any], cwd: str | None = None) -> Iterator[Message]:
    """Starts a child and yields its messages, at least every `HEARTBEAT`; closing the generator ends the child."""
    search = os.pathsep.join(path or os.getcwd() for path in sys.path)  # so that it imports the same code
    command, pipe = [sys.executable, "-P", "-m", "efa.launch.child"], subprocess.PIPE
    with ignore_interrupts():
        child = subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=cwd, env=os.environ | {"PYTHONPATH": search})
    try:
        yield description["title"]
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has died already
            child.stdin.write(pickle.dumps(description))
            child.stdin.flush()
        for line in child.stdout:
            if line.endswith(b"\n"):  # else it was killed as it wrote
                yield json.loads(line)
        code = child.wait()
        number = -code if code < 0 else code - 128
        reason = f"was ended by {signal.Signals(number).name}" if number > 0 else f"ended with status {code}"
        hint = ", perhaps because memory ran out" if reason.endswith("SIGKILL") else ""
        yield {"message": f"its process {reason}{hint}", "kind": "died"}
    finally:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):  # time to remove unfinished files
            child.wait(GRACE)
        child.kill()
        child.wait()


def main() -> None:
    """The child. Signals and pipes are set up before anything heavy is imported."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: unfinished files are removed on the way
    output, lock, share = os.dup(1), threading.Lock(), 0.0
    os.dup2(2, 1)  # what libraries print must not mix with the messages

    def send(message: Message) -> None:
        with lock, contextlib.suppress(BrokenPipeError):  # the parent has died: `end_process_after` follows
            os.write(output, json.dumps(message).encode() + b"\n")

    def progress(done: int, total: int) -> None:
        nonlocal share
        share = done / total

    def send_progress() -> None:
        while True:
            time.sleep(HEARTBEAT)
            send(share)

    try:
        description = pickle.load(sys.stdin.buffer)  # plain values; the run in it, which imports all, comes later
        threading.Thread(target=send_progress, daemon=True).start()
        wait_for_closed_pipe = (lambda: os.read(0, 1),)
        threading.Thread(target=end_process_after, args=wait_for_closed_pipe, daemon=True).start()

        import torch

        from efa.launch.grid import Failure, attempt

        os.environ["EFA_HOME"] = description["home"]
        torch.set_num_threads(description["threads"])
        run = pickle.loads(description["run"])
        outcome = attempt(run, progress, lambda line: send(f"    {line}"), description["key"])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent now waits for this process to exit
        send({"message": outcome.message, "kind": outcome.kind} if isinstance(outcome, Failure) else {})
    except KeyboardInterrupt:  # SIGTERM; unfinished files are removed by now
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
