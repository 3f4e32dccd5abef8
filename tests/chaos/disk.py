"""A disk that dies at the N-th thing done to it, whoever does it: below `disk.files`, at `os`.

Three deaths. `killed`: the process is gone, what it did stays. `torn`: the power is gone too, and
bytes that no fsync brought down are lost, their file is empty. `undone`: so are names (made,
changed, removed) whose folder was not synced.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Death = Literal["killed", "torn", "undone"]
DEATHS: tuple[Death, ...] = get_args(Death)
DIED = 9
WRITING = os.O_WRONLY | os.O_RDWR


@dataclass
class Disk:
    """Takes the place of the functions of `os` that change a disk, for the life of this process.

    Attributes:
        step: the step at which it dies, counted from 1; 0 never. A write counts twice: it dies
            before it, and after half of its bytes.
        death: how.
        aside: a folder outside of what is changed, for what `undone` puts back.
        told: what was done, in order.
        unseen: files opened for writing in another way: must stay empty, or steps were missed.
    """

    step: int
    death: Death
    aside: Path
    told: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    _dirty: set[str] = field(default_factory=set)
    _undo: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    _real: dict[str, Any] = field(default_factory=dict)
    _opening: int = 0

    def install(self) -> None:
        """From here on every step counts."""
        ways: dict[str, Callable[..., Any]] = {
            "open": self._open,
            "write": self._write,
            "fsync": self._fsync,
            "replace": self._rename,
            "rename": self._rename,
            "unlink": self._unlink,
            "remove": self._unlink,
            "mkdir": self._mkdir,
            "rmdir": self._rmdir,
        }
        for name, way in ways.items():
            self._real[name] = getattr(os, name)
            setattr(os, name, way)
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        """Python says by itself what is opened, also by who does not go through `os.open`."""
        if event == "open" and args[2] and args[2] & WRITING and not self._opening:
            self.unseen.append(str(args[0]))

    def _count(self, what: str, path: str) -> None:
        self.told.append(f"{what} {path}")
        if len(self.told) == self.step:
            self.die()

    def die(self) -> None:
        """End the process, and take with it what this death takes."""
        if self.death != "killed":
            for path in self._dirty:
                if os.path.exists(path):
                    os.truncate(path, 0)
        if self.death == "undone":
            for _, undo in reversed(self._undo):
                undo()
        os._exit(DIED)

    # -- what changes a disk ----------------------------------------------------------------

    def _open(self, path: Any, flags: int, *args: Any, **more: Any) -> Any:
        new = bool(flags & os.O_CREAT) and not os.path.exists(path)
        if new:
            self._count("create", str(path))
        self._opening += 1
        try:
            fd = self._real["open"](path, flags, *args, **more)
        finally:
            self._opening -= 1
        if new:
            self._names(path, lambda: self._real["unlink"](path))
        return fd

    def _write(self, fd: int, data: Any) -> int:
        path = _path(fd)
        self._count("write", path)
        self._dirty.add(path)
        half = len(data) // 2
        if len(self.told) + 1 == self.step:
            self._real["write"](fd, data[:half])
        self._count("write half", path)
        return int(self._real["write"](fd, data))

    def _fsync(self, fd: int) -> None:
        path = _path(fd)
        self._count("fsync", path)
        self._real["fsync"](fd)
        self._dirty.discard(path)
        self._undo = [(folder, undo) for folder, undo in self._undo if folder != path]

    def _rename(self, old: Any, new: Any, **_: Any) -> None:
        self._count("rename", f"{old} {new}")
        kept = self._keep(new)
        self._real["replace"](old, new)
        self._dirty = {_moved(path, str(old), str(new)) for path in self._dirty}

        def undo() -> None:
            self._real["replace"](new, old)
            if kept:
                self._real["replace"](kept, new)

        self._names(new, undo)

    def _unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        whole = path if dir_fd is None else os.path.join(_path(dir_fd), path)
        self._count("unlink", str(whole))
        kept = self._keep(whole)
        self._real["unlink"](path, dir_fd=dir_fd)
        self._names(whole, lambda: kept and self._real["replace"](kept, whole))

    def _mkdir(self, path: Any, mode: int = 0o777, **more: Any) -> None:
        self._count("mkdir", str(path))
        self._real["mkdir"](path, mode, **more)
        self._names(path, lambda: shutil.rmtree(path))

    def _rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        whole = path if dir_fd is None else os.path.join(_path(dir_fd), path)
        self._count("rmdir", str(whole))
        self._real["rmdir"](path, dir_fd=dir_fd)
        self._names(whole, lambda: self._real["mkdir"](whole))

    def _names(self, path: Any, undo: Callable[[], object]) -> None:
        self._undo.append((os.path.dirname(os.path.abspath(path)), undo))

    def _keep(self, path: Any) -> str | None:
        """A second name, aside, for a file that is about to lose its own."""
        if self.death != "undone" or not os.path.isfile(path):
            return None
        kept = str(self.aside / f"kept-{len(self.told)}")
        os.link(path, kept)
        return kept


def _moved(path: str, old: str, new: str) -> str:
    """Where a file is after itself, or a folder above it, was renamed."""
    inside = path == old or path.startswith(old + "/")
    return new + path[len(old) :] if inside else path


def _path(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")
