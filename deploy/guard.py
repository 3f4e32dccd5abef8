"""Stops the children of a `deploy.local` that was killed before it could stop them itself.

`python -m deploy.guard FD PID...` waits until the pipe FD has no writer any more, then ends the
processes one after the other, in the order given, as `deploy.local` would have.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence

ASK_EVERY_S = 0.05
EACH_S = 60.0  # a worker finishes its batch and writes a checkpoint


def end(pid: int, wait_s: float = EACH_S) -> None:
    """Ask a process that is not our child to end, and wait until it is gone."""
    deadline = time.monotonic() + wait_s
    try:
        os.kill(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            time.sleep(ASK_EVERY_S)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main(arguments: Sequence[str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its parent, never before
    pipe, *pids = map(int, arguments)
    if os.read(
        pipe, 1
    ):  # a byte: the parent stopped everything in order; end of file: it was killed
        return
    for pid in pids:
        end(pid)


if __name__ == "__main__":
    main(sys.argv[1:])
