"""What was learned, kept for a while so that it can be played again; torch-free, no pickle.

    root/000000000001700000000000-000003.npz   a segment: the samples learned after that entry

A segment is written before the checkpoint that has its samples, and is named after the entry where
the checkpoint before it ended. A worker that dies between the two learns the same samples again,
and writes the same segment again in place of the first: nothing is in the archive twice.
"""

from __future__ import annotations

import io
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learndrop.disk.files import make_folder, remove, remove_leftovers, write_atomic
from learndrop.errors import DamagedFile, UnknownFileFormat
from learndrop.stream.messages import Sample

FORMAT = 1
NAME = re.compile(r"(\d{24})-(\d{6,})\.npz")

# What numpy and zipfile raise where a byte is not what it was.
_UNREADABLE = (
    ValueError, KeyError, EOFError, OSError, NotImplementedError, RuntimeError, SyntaxError,
    MemoryError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segment:
    """Samples in the order in which they were learned.

    Attributes:
        images: uint8 [N, S, S, 3].
        labels: N class names.
        keys: N names of API keys, empty where there was none.
        ids: N ids of the stream's entries.
        accepted_s: float64 [N], unix time.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.str_]
    keys: NDArray[np.str_]
    ids: NDArray[np.str_]
    accepted_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)

    def samples(self) -> list[Sample]:
        """As they came from the stream."""
        rows = zip(self.images, self.labels, self.accepted_s, self.keys, strict=True)
        return [Sample(i, str(label), float(at), str(key)) for i, label, at, key in rows]

    def without(self, ids: Collection[str]) -> Segment:
        """The others."""
        stay = ~np.isin(self.ids, list(ids))
        return Segment(*(getattr(self, name)[stay] for name in self.__dataclass_fields__))

    def to_bytes(self) -> bytes:
        """As the content of a file, which numpy reads too."""
        out = io.BytesIO()
        arrays: dict[str, Any] = {n: getattr(self, n) for n in self.__dataclass_fields__}
        np.savez(out, allow_pickle=False, format=np.array(FORMAT), **arrays)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, told: str) -> Segment:
        """Read what `to_bytes` wrote; `told` names the file in errors.

        Raises:
            DamagedFile: if it is not what was written.
            UnknownFileFormat: if a newer learndrop wrote it.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as found:
                arrays = {name: found[name] for name in found.files}
        except _UNREADABLE as exc:
            raise DamagedFile(f"{told} cannot be read: {exc}") from exc
        number = int(arrays.pop("format", np.array(0)))
        if number > FORMAT:
            raise UnknownFileFormat(
                f"{told} has format {number}, this learndrop reads up to {FORMAT}"
            )
        count = len(arrays.get("labels", ()))
        missing = set(cls.__dataclass_fields__) - set(arrays)
        if missing or any(len(array) != count for array in arrays.values()):
            raise DamagedFile(f"{told} is no segment: {sorted(missing) or 'lengths differ'}")
        return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})


class Archive:
    """A folder of segments that never takes more than `max_bytes`.

    Args:
        root: the folder; made when something is written.
        max_bytes: the oldest segments go when there would be more; 0 keeps nothing.
        sealing: around whatever changes a file; it may refuse a worker that leads no more, whose
            segment would take the place of the new leader's.
    """

    def __init__(
        self,
        root: Path,
        max_bytes: int,
        sealing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.root, self.max_bytes, self._sealing = root, max_bytes, sealing
        self._waiting: list[tuple[str, Sample]] = []
        self._bytes, self._after = 0, ""

    def add(self, ids: Sequence[str], samples: Sequence[Sample], after: str) -> None:
        """Samples were learned, the first since the checkpoint that ends at the entry `after`; they
        are on disk after `write`."""
        if not self.max_bytes:
            return
        if not self._waiting:
            self._after = after
        self._waiting += zip(ids, samples, strict=True)
        self._bytes += sum(s.image.nbytes for s in samples)
        while self._bytes > self.max_bytes:  # those would be the first to go anyway
            self._bytes -= self._waiting.pop(0)[1].image.nbytes

    def write(self) -> None:
        """Write what was added since the last time.

        Raises:
            OSError: if the disk refuses; what was added stays for the next time.
        """
        if not self._waiting:
            return
        make_folder(self.root)
        remove_leftovers(self.root)
        ids, samples = zip(*self._waiting, strict=True)
        data = segment(ids, samples).to_bytes()
        path = self.root / _name(self._after)
        self._make_room(len(data), path)
        write_atomic(path, data, sealing=self._sealing)
        self._waiting, self._bytes = [], 0

    def paths(self) -> list[Path]:
        """The segments' files, oldest first."""
        return sorted(p for p in self.root.glob("*.npz") if NAME.fullmatch(p.name))

    def segments(self) -> Iterator[Segment]:
        """All that can be read, oldest first; a damaged one is named in the log and passed over.

        Raises:
            UnknownFileFormat: if a newer learndrop wrote one.
        """
        for path in self.paths():
            try:
                yield Segment.from_bytes(_read(path), str(path))
            except UnknownFileFormat:
                raise
            except DamagedFile as exc:
                log.error("segment passed over: %s", exc)

    def erase(self, ids: Collection[str]) -> int:
        """Remove samples by the ids of their entries; how many were there.

        A damaged segment goes whole: what is in it cannot be told, and nobody can play it.

        Raises:
            OSError: if the disk refuses.
            UnknownFileFormat: if a newer learndrop wrote one; the others are done all the same.
        """
        gone = set(ids)
        kept = [(i, s) for i, s in self._waiting if i not in gone]
        count = len(self._waiting) - len(kept)
        self._waiting = kept
        self._bytes = sum(s.image.nbytes for _, s in kept)
        newer: UnknownFileFormat | None = None
        for path in self.paths():
            try:
                found = Segment.from_bytes(path.read_bytes(), str(path))
            except UnknownFileFormat as exc:
                newer = exc
                continue
            except DamagedFile as exc:
                log.error("segment removed, since a sample must go that may be in it: %s", exc)
                self._remove(path)
                continue
            rest = found.without(gone)
            count += len(found) - len(rest)
            if not len(rest):
                self._remove(path)
            elif len(rest) < len(found):
                write_atomic(path, rest.to_bytes(), sealing=self._sealing)
        if newer:
            raise newer
        return count

    def expire(self, before_s: float) -> int:
        """Remove segments whose newest sample was accepted before a unix time; how many samples.

        One that cannot be read counts as old as its file, which was written after that.

        Raises:
            OSError: if the disk refuses.
        """
        count = 0
        for path in self.paths():
            try:
                found = Segment.from_bytes(path.read_bytes(), str(path))
            except DamagedFile:
                if path.stat().st_mtime < before_s:
                    self._remove(path)
                continue
            if len(found) and float(found.accepted_s.max()) < before_s:
                count += len(found)
                self._remove(path)
        return count

    def trim(self) -> None:
        """Remove what is over the budget, as after a start with a smaller one; all where it is 0.

        Raises:
            OSError: if the disk refuses.
        """
        if self.root.is_dir():
            self._make_room(0, self.root)

    def _remove(self, path: Path) -> None:
        with self._sealing():
            remove(path)

    def _make_room(self, coming: int, replaced: Path) -> None:
        paths = [p for p in self.paths() if p != replaced]
        sizes = [p.stat().st_size for p in paths]
        while paths and sum(sizes) + coming > self.max_bytes:
            self._remove(paths.pop(0))
            del sizes[0]


def segment(ids: Sequence[str], samples: Sequence[Sample]) -> Segment:
    """Samples of one size as a segment."""
    return Segment(
        np.stack([s.image for s in samples]),
        np.array([s.label for s in samples], np.str_),
        np.array([s.key for s in samples], np.str_),
        np.array(ids, np.str_),
        np.array([s.accepted_s for s in samples], np.float64),
    )


def read_segment(path: Path) -> Segment:
    """One file, as `Segment.to_bytes` or `learndrop export` wrote it.

    Raises:
        DamagedFile, UnknownFileFormat: naming it.
    """
    return Segment.from_bytes(_read(path), str(path))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise DamagedFile(f"{path} cannot be read: {exc}") from exc


def _name(after: str) -> str:
    """So that names sort as the entries do.

    >>> _name("1700000000000-3")
    '000000000001700000000000-000003.npz'
    """
    time_ms, _, number = after.partition("-")
    return f"{int(time_ms):024d}-{int(number or 0):06d}.npz"
