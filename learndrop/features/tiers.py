"""Where stored feature maps lie: memory of the device, memory of the host, or a file.

A tier gives pages and takes them back; its pages together never pass its bytes. A page is a tensor
wherever it lies, so that those above need not ask. A page on disk is a file without a name: nobody
else can open it, and it is gone when its page is given back or the process ends, however it ends.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from learndrop.settings import Settings

FOLDER = "features"
RESERVE: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)


class Tier(Protocol):
    """A place for pages.

    Attributes:
        name: for people: device, host or file.
        max_bytes: budget.
        nbytes: of the pages that are out now.
        trouble: why it gives no more pages, in one sentence; empty while it does.
    """

    name: str
    max_bytes: int
    nbytes: int
    trouble: str

    def page(self, rows: int, row_bytes: int) -> Tensor | None:
        """A uint8 tensor [up to `rows`, row_bytes] of unknown content; None where nothing is left.

        Fewer rows than asked for are the rest of the budget.
        """
        ...

    def give_back(self, page: Tensor) -> None:
        """Take a page back; whoever held it may not look at it any more."""
        ...


class _Budgeted(ABC):
    """The account that all tiers keep alike."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self.name, self.max_bytes = name, max_bytes
        self.nbytes = 0
        self.trouble = ""

    def page(self, rows: int, row_bytes: int) -> Tensor | None:
        rows = min(rows, (self.max_bytes - self.nbytes) // row_bytes)
        if rows < 1 or self.trouble:
            return None
        page = self._make(rows, row_bytes)
        if page is not None:
            self.nbytes += page.numel()
        return page

    def give_back(self, page: Tensor) -> None:
        self.nbytes -= page.numel()

    @abstractmethod
    def _make(self, rows: int, row_bytes: int) -> Tensor | None: ...


class MemoryTier(_Budgeted):
    """Pages in memory.

    Args:
        name: device or host.
        max_bytes: budget.
        device: whose memory.
        pinned: locked in place, for faster copies to a GPU.
    """

    def __init__(
        self, name: str, max_bytes: int, device: torch.device, *, pinned: bool = False
    ) -> None:
        super().__init__(name, max_bytes)
        self._device, self._pinned = device, pinned

    def _make(self, rows: int, row_bytes: int) -> Tensor | None:
        try:
            # not filled: on a CPU its memory is taken as maps are written
            return torch.empty(
                (rows, row_bytes), dtype=torch.uint8, device=self._device, pin_memory=self._pinned
            )
        except RuntimeError as exc:  # an OutOfMemoryError on a GPU, a plain one elsewhere
            self.trouble = f"memory of the {self.name} is full: {str(exc).partition('.')[0]}"
            return None


class FileTier(_Budgeted):
    """Pages in memory-mapped files without a name.

    Args:
        max_bytes: budget.
        folder: on the disk that is meant.
        allocate: reserves space (file descriptor, start, bytes), or raises OSError; None where
            the system cannot.
    """

    def __init__(
        self,
        max_bytes: int,
        folder: Path,
        allocate: Callable[[int, int, int], None] | None = RESERVE,
    ) -> None:
        super().__init__("file", max_bytes)
        self._folder, self._allocate = folder, allocate
        if allocate is None and max_bytes:
            self.trouble = "this system cannot reserve space for stored maps on its disk"

    def _make(self, rows: int, row_bytes: int) -> Tensor | None:
        size = rows * row_bytes
        assert self._allocate is not None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder) as file:
                # now: a mapped page that finds the disk full when it is written ends the process
                self._allocate(file.fileno(), 0, size)
                held = mmap.mmap(file.fileno(), size)
        except OSError as exc:
            self.trouble = f"no file for stored maps: {exc.strerror or exc}"
            return None
        return torch.frombuffer(held, dtype=torch.uint8).view(rows, row_bytes)


def tiers_of(settings: Settings, device: torch.device) -> list[Tier]:
    """Where maps may lie, the nearest first."""
    tiers: list[Tier] = [MemoryTier("device", settings.feature_bytes, device)]
    if device.type == "cuda":  # else it is the same memory; see `room`
        host = torch.device("cpu")
        tiers.append(MemoryTier("host", settings.feature_host_bytes, host, pinned=True))
    tiers.append(FileTier(settings.feature_file_bytes, settings.data_dir / FOLDER))
    return tiers


def room(settings: Settings, device: torch.device) -> int:
    """Bytes that all of them may take together.

    >>> given = Settings(feature_bytes=3, feature_host_bytes=20, feature_file_bytes=100)
    >>> room(given, torch.device("cpu")), room(given, torch.device("cuda"))
    (103, 123)
    """
    host = settings.feature_host_bytes if device.type == "cuda" else 0
    return settings.feature_bytes + host + settings.feature_file_bytes
