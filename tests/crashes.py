"""A crash at the N-th thing that `disk.files` does to the disk; a disk that tells its story."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from learndrop.disk import files

STEPS = ("_write", "_fsync", "_rename", "_unlink")


class Crash(BaseException):
    """Not an Exception: no clean-up of the code under test may run for it."""


class CrashAt:
    """Lets N-1 steps happen and crashes at the next, a write after half of its bytes."""

    def __init__(self, patch: pytest.MonkeyPatch, step: int, crash: Callable[[], None]) -> None:
        self.left, self._crash = step, crash
        for name in STEPS:
            patch.setattr(files, name, self._wrapped(name, getattr(files, name)))

    def _wrapped(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object) -> object:
            self.left -= 1
            if self.left == 0:
                if name == "_write":
                    fd, data = args
                    assert isinstance(fd, int) and isinstance(data, memoryview)
                    os.write(fd, data[: len(data) // 2])
                self._crash()
            return real(*args)

        return step


def raise_crash() -> None:
    """As good as death for the code above."""
    raise Crash


class Story:
    """What happened to the disk, in order: (step, path), for renames (step, old, new)."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, ...]] = []
        for name in STEPS:
            patch.setattr(files, name, self._wrapped(name[1:], getattr(files, name)))

    def _wrapped(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object) -> object:
            result = real(*args)
            fd = args[0]
            if isinstance(fd, int):
                self.told.append((name, os.readlink(f"/proc/self/fd/{fd}")))
            else:
                self.told.append((name, *(str(a) for a in args)))
            return result

        return step

    def renames(self) -> list[tuple[int, str, str]]:
        """Place in the story, old path and new path of each rename."""
        return [(i, t[1], t[2]) for i, t in enumerate(self.told) if t[0] == "rename"]

    def last(self, step: str, path: Path | str, before: int) -> int:
        """Place of the last such step before another; -1 if there was none."""
        found = [i for i, t in enumerate(self.told[:before]) if t[:2] == (step, str(path))]
        return found[-1] if found else -1
