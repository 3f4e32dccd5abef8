"""One worker a data folder: two would write over each other's checkpoints and learn twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from learndrop.errors import DidNotStart


@contextmanager
def only_worker(data_dir: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets it go when the process ends, however it ends.

    Raises:
        DidNotStart: if another worker holds it, or the folder cannot be written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        held = os.open(data_dir / "worker.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:
        raise DidNotStart(f"data folder {data_dir}: {exc.strerror}") from exc
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(held, 0)
        os.pwrite(held, b"%d\n" % os.getpid(), 0)
        yield
    except BlockingIOError as exc:
        owner = os.pread(held, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise DidNotStart(
            f"data folder {data_dir} is in use by another worker (process {owner})"
        ) from exc
    finally:
        os.close(held)
