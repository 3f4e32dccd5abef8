"""Files that are there whole or not at all: written aside, synced, renamed, folder synced.

What a crash can come between goes through the four functions at the end, so that tests can fail
each of them in turn.
"""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from learndrop.errors import DamagedFile, LearndropError

ASIDE = ".part"  # ending of what is being written; left behind by a crash, never read


def write_atomic(
    path: Path,
    data: bytes,
    *,
    sync_name: bool = True,
    sealing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Write a file so that a reader, also after a crash, finds all of it or what was there before.

    Without `sync_name` a crash of the machine may take the file's name back until the caller has
    synced the folder: for many files at once. The file gets its name inside `sealing`.

    Raises:
        OSError: if the disk refuses; nothing is left behind.
        whatever `sealing` raises; nothing is left behind then either.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{ASIDE}")
    try:
        write_new(aside, data)
        with sealing():
            _rename(aside, path)
    except (OSError, LearndropError):
        aside.unlink(missing_ok=True)
        raise
    if sync_name:
        sync_folder(path.parent)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet, down to the disk; its folder is not synced.

    Raises:
        OSError: if it exists, or the disk refuses.
    """
    write_pieces(path, [memoryview(data)])


def write_pieces(path: Path, pieces: Iterable[memoryview]) -> None:
    """The same for bytes that are not in one place.

    Raises:
        OSError: if it exists, or the disk refuses.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for left in pieces:
            while len(left):
                left = left[_write(fd, left) :]
        _fsync(fd)
    finally:
        os.close(fd)


def rename_folder(aside: Path, folder: Path) -> None:
    """Give a folder that was written and synced aside its name, down to the disk."""
    _rename(aside, folder)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder down to the disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, with their names down to the disk."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def seal(content: bytes) -> bytes:
    """A short text as the content of a file that shows whether it is whole."""
    return b"%s\n%08x\n" % (content, zlib.crc32(content))


def unseal(data: bytes, told: str) -> bytes:
    """The text that `seal` was given; `told` names the file in the error.

    Raises:
        DamagedFile: if it is not what was written.
    """
    content = data[:-10]
    if seal(content) != data:
        raise DamagedFile(f"{told} does not match its checksum")
    return content


def remove(path: Path) -> None:
    """Remove a file if it is there."""
    _unlink(path)


def remove_folder(folder: Path) -> None:
    """Remove a folder of files, if it is there."""
    if folder.is_dir():
        for path in folder.iterdir():
            remove(path)
        folder.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Remove what crashes left half written; only while nobody writes there."""
    for path in folder.glob(f".*{ASIDE}"):
        remove(path)


def _write(fd: int, data: memoryview) -> int:
    return os.write(fd, data)


def _fsync(fd: int) -> None:
    os.fsync(fd)


def _rename(old: Path, new: Path) -> None:
    os.replace(old, new)


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
