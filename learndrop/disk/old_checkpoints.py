"""Which checkpoints there are, and the removal of those that hold what must be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from learndrop.errors import DamagedFile


def numbers(root: Path) -> list[int]:
    """Numbers of the checkpoints in a folder, oldest first; none where there is no folder."""
    folders = root.iterdir() if root.is_dir() else ()
    return sorted(int(p.name) for p in folders if p.is_dir() and p.name.isdigit())


def remove_through(
    root: Path,
    number: int,
    sealing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> bool:
    """Remove the checkpoints up to that number, if there is a newer one and it is whole.

    Returns:
        whether none of them is left.

    Raises:
        OSError: if one cannot be removed.
        whatever `sealing` raises, which is around each removal: what a worker found before another
            took over may not be so any more.
    """
    there = numbers(root)
    old = [n for n in there if n <= number]
    if not old:
        return True
    # With torch, seconds of import: the worker's loop is without until here, for whoever runs it
    # around another learner.
    from learndrop.disk.checkpoint_files import read_checkpoint, remove

    try:
        if there[-1] <= number:
            return False
        read_checkpoint(root / f"{there[-1]:08d}")
    except DamagedFile:
        return False  # the old ones are all there is to go back to
    for n in old:
        with sealing():
            remove(root / f"{n:08d}")
    return True
