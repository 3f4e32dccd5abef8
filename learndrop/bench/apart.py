"""Each run of a bench in a process of its own, so that its peak memory and its seconds are its own.

Importing torch takes seconds, as long as a short run does. So one process imports what all runs
need, computes nothing, and is copied (fork) for each. A copy of a process with several threads may
wait for ever for a lock that one of the others held (Python warns of it from 3.12 on), so the
process that is copied has one. Where it cannot, each run starts from nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from learndrop.disk.files import write_atomic
from learndrop.errors import LearndropError

Kind = Literal["stream", "epochs"]
Doers = dict[str, Callable[[dict[str, Any]], dict[str, Any]]]  # by kind: a job to its result
FORKS = sys.platform == "linux"  # elsewhere libraries do not stand being copied
# numpy's and scipy's OpenBLAS start threads as they are imported; no run computes with them
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}


class Apart:
    """Does runs one after another, none in this process.

    Used with `with`: the process that is copied ends with it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def run(self, kind: Kind, job: dict[str, Any], path: Path) -> None:
        """Do a run, whose result goes to the file.

        Args:
            kind: what does it: a stream's run (learndrop.bench.one) or one in epochs.
            job: as JSON values.
            path: of the result, as JSON.

        Raises:
            LearndropError: if it failed, with the last line that it said.
        """
        process = self._started()
        assert process.stdin and process.stdout
        order = {"kind": kind, "job": job, "path": str(path.absolute())}
        try:
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        told = json.loads(answer) if answer else None
        if told is None or not told["copied"]:
            self._end()
        if told is None:
            raise LearndropError("it ended before it said how it went")
        if told["code"]:
            raise LearndropError(f"it ended with {told['code']}: {told['last']}")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "learndrop.bench.apart"],
                env=ONE_THREAD | os.environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin and process.stdout
        process.stdin.close()  # it goes when it is asked for nothing more
        process.stdout.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serve(doers: Doers) -> None:
    """Read orders, a line each, from stdin; do each in a copy of this process, or the only one here
    where it cannot be copied; answer each with a line on stdout: whether it was done in a copy, how
    it ended, and the last line that it said on stderr.

    Args:
        doers: by kind, what makes a result of a job.
    """
    for line in sys.stdin:
        order, copied = json.loads(line), can_be_copied()
        with tempfile.TemporaryFile("w+") as said:
            do = _in_a_copy if copied else _here
            code = do(order, doers, said.fileno())
            said.seek(0)
            lines = said.read().strip().splitlines()
        answer = {"copied": copied, "code": code, "last": (lines or ["no message"])[-1]}
        print(json.dumps(answer), flush=True)
        if not copied:
            return


def can_be_copied() -> bool:
    """Whether this process has no thread but this one, those of libraries included."""
    return FORKS and len(os.listdir("/proc/self/task")) == 1


def _in_a_copy(order: dict[str, Any], doers: Doers, said: int) -> int:
    """Its exit status; negative where a signal ended it."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        code = _here(order, doers, said)
    finally:
        os._exit(code)  # what the original registered for its end is not for its copies


def _here(order: dict[str, Any], doers: Doers, said: int) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kept = os.dup(1), os.dup(2)
    os.dup2(said, 1)  # the answers' way is not for what a library prints
    os.dup2(said, 2)
    code = 1
    try:
        result = doers[order["kind"]](order["job"])
        write_atomic(Path(order["path"]), json.dumps(result, allow_nan=False).encode())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os.dup2(kept[0], 1)
    os.dup2(kept[1], 2)
    return code


if __name__ == "__main__":
    from learndrop.bench import one, one_in_epochs

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who ordered, and for the run
    serve({"stream": one.do, "epochs": one_in_epochs.do})
