"""The wall clock of child processes, moved while they run (clock.c is preloaded into them).

Not libfaketime: its 0.9.10 makes Python's time.sleep fail with EINVAL, because it also moves the
deadlines on the monotonic clock that sleeps go by.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """The wall clock of every process that is started inside of `moved`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.write_bytes(struct.pack("q", 0))

    def set(self, ahead_s: int) -> None:
        """So far ahead of the machine's clock (behind, if negative), at once."""
        with self._file.open("r+b") as file:  # the processes have this very file mapped
            file.write(struct.pack("q", ahead_s))


@contextmanager
def moved(folder: Path) -> Iterator[Clock]:
    """Processes started in the block have the clock that is handed in.

    Raises:
        RuntimeError: there is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("no C compiler to build the clock with (Debian: apt install gcc)")
    library, file = folder / "clock.so", folder / "clock"
    flags = ["-O2", "-Wall", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE), "-ldl"], check=True)
    clock = Clock(file)
    os.environ.update(LD_PRELOAD=str(library), MOVED_CLOCK=str(file))
    try:
        yield clock
    finally:
        del os.environ["LD_PRELOAD"], os.environ["MOVED_CLOCK"]
