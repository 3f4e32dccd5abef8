"""Model versions on disk: published whole or not at all, every byte checked before use; torch-free.

    root/blobs/<sha256>.safetensors   bytes of a part, written once however many versions have it
    root/versions/000001.json         manifest: which parts, and what the version is
    root/CURRENT                      the number that readers take, and whether they are held there
    root/PINS                         versions that are kept for good
    root/LOCK                         held by whoever changes something

A version is there once its manifest is; readers switch at CURRENT. Each file is written aside,
synced and renamed, blobs before manifest before CURRENT, so that a crash at any point leaves what
was there before, or the new version.
"""

from __future__ import annotations

import builtins
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learndrop.disk.blobs import BlobStore
from learndrop.disk.files import sync_folder
from learndrop.disk.manifest import Manifest
from learndrop.disk.shelf import Shelf
from learndrop.disk.turns import Doing, at_once
from learndrop.errors import DamagedFile, NoModel, NotFound, UnknownFileFormat

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Version:
    """A version with its bytes, all of them checked.

    Attributes:
        number: counted from 1.
        about: what the publisher said of it, JSON values.
        parts: bytes by name.
        published_s: unix time.
        instead_of: the number that readers should take, if that one is damaged and this is the
            last good one before it; None as a rule.
        trouble: what is wrong with that one.
    """

    number: int
    about: Mapping[str, Any]
    parts: Mapping[str, bytes]
    published_s: float
    instead_of: int | None = None
    trouble: str | None = None


class Registry:
    """One folder of model versions; one process publishes, any number read.

    Args:
        root: the folder; made when something is written.
        keep: how many of the newest versions stay, besides the current and the pinned.
        sealing: makes what is entered around the writes by which a version begins to count.
    """

    def __init__(
        self,
        root: Path,
        keep: int = 8,
        sealing: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.root, self.keep, self._sealing = root, keep, sealing
        self._blobs, self._shelf = BlobStore(root / "blobs"), Shelf(root)

    # -- changing ---------------------------------------------------------------------------

    def publish(self, parts: Mapping[str, bytes], about: Mapping[str, Any]) -> int:
        """Write a version and, unless an older one is held, let readers switch to it.

        Only bytes that no kept version has are written.

        Args:
            parts: bytes by name; any name will do.
            about: JSON values.

        Returns:
            its number.

        Raises:
            OSError: if the disk refuses; readers still find what was there before.
        """
        with self._shelf.changing(self._blobs.root):
            try:
                number = self._publish(parts, about)
            except OSError:
                self._collect()  # a full disk should not keep what was written in vain
                raise
            self._collect()
        return number

    def pin(self, number: int) -> None:
        """Keep a version for good.

        Raises:
            NotFound: if it is not there.
        """
        with self._shelf.changing():
            self._shelf.need(number)
            self._shelf.set_pins(self._shelf.pins() | {number})

    def unpin(self, number: int) -> None:
        """Let a version go with the others when its time comes."""
        with self._shelf.changing():
            self._shelf.set_pins(self._shelf.pins() - {number})

    def roll_back(self, number: int, *, hold: bool = True) -> None:
        """Let readers go to an older version, and stay there while newer ones are published.

        With `hold` False the next publish takes them on again.

        Raises:
            NotFound: if it is not there.
            DamagedFile: if it cannot be used.
        """
        with self._shelf.changing():
            self._load(number)
            self._shelf.point(number, held=hold)

    def resume(self) -> None:
        """End a roll-back: readers go to the newest version, and to each that follows."""
        with self._shelf.changing():
            for newest in self._shelf.numbers()[:1]:
                self._shelf.point(newest)

    # -- reading ----------------------------------------------------------------------------

    def current(self) -> int | None:
        """The number that readers take; None before the first publish. Reads one small file."""
        return self._shelf.pointer()[0]

    def held(self) -> bool:
        """Whether a roll-back holds the readers where they are."""
        return self._shelf.pointer()[1]

    def numbers(self) -> tuple[int, ...]:
        """All versions that have a manifest, whole or not, newest first."""
        return self._shelf.numbers()

    def pins(self) -> set[int]:
        """Versions that are kept for good.

        Raises:
            DamagedFile: if their list is not what was written.
        """
        return self._shelf.pins()

    def load(self, number: int | None = None, doing: Doing = at_once) -> Version:
        """Read a version, sizes and hashes checked, the hashes part by part when `doing` lets it.

        Without a number the current one; where that is damaged the last good one before it, which
        says so in `instead_of` and `trouble` (and in the log).

        Raises:
            NoModel: if nothing is published yet.
            NotFound: if this number is not kept.
            DamagedFile: if it is not what was written, and no older one is whole.
            UnknownFileFormat: if a newer learndrop wrote it: the older ones are not taken instead.
        """
        if number is not None:
            return self._load(number, doing)
        wanted = self.current()
        if wanted is None:
            raise NoModel("no model version is published yet")
        try:
            return self._load(wanted, doing)
        except UnknownFileFormat:
            raise
        except (DamagedFile, NotFound) as exc:
            if self.current() != wanted:
                return self.load(None, doing)  # published and collected meanwhile
            return self._last_good(wanted, exc)

    def list(self) -> builtins.list[dict[str, Any]]:
        """All versions, newest first: number, published_s, about, bytes, parts, current, pinned.

        One whose manifest cannot be read has `problem` instead of the figures.

        Raises:
            DamagedFile: if the list of pins is not what was written.
        """
        current, pins = self.current(), self.pins()
        rows: builtins.list[dict[str, Any]] = []
        for number in self._shelf.numbers():
            row = {"number": number, "current": number == current, "pinned": number in pins}
            try:
                manifest = self._shelf.manifest(number)
            except NotFound:
                continue  # collected meanwhile
            except DamagedFile as exc:
                rows.append({**row, "problem": str(exc)})
                continue
            rows.append(
                {
                    **row,
                    "published_s": manifest.published_s,
                    "about": manifest.about,
                    "bytes": sum(blob.bytes for blob in manifest.parts.values()),
                    "parts": len(manifest.parts),
                }
            )
        return rows

    # -- inside -----------------------------------------------------------------------------

    def _publish(self, parts: Mapping[str, bytes], about: Mapping[str, Any]) -> int:
        blobs = {name: self._blobs.put(data) for name, data in parts.items()}
        sync_folder(self._blobs.root)
        current, held = self._shelf.pointer()
        number = max([0, current or 0, *self._shelf.numbers()]) + 1
        with self._sealing():
            self._shelf.write(Manifest(number, time.time(), about, blobs))
            if not held:
                self._shelf.point(number)
        return number

    def _load(self, number: int, doing: Doing = at_once) -> Version:
        manifest = self._shelf.manifest(number)
        parts = {
            name: self._blobs.get(blob, f"part {name!r} of version {number}", doing)
            for name, blob in manifest.parts.items()
        }
        return Version(number, manifest.about, parts, manifest.published_s)

    def _last_good(self, wanted: int, trouble: Exception) -> Version:
        for number in self._shelf.numbers():
            if number >= wanted:
                continue
            try:
                good = self._load(number)
            except (DamagedFile, NotFound):
                continue
            log.error("version %d is taken instead of %d: %s", number, wanted, trouble)
            return Version(number, good.about, good.parts, good.published_s, wanted, str(trouble))
        raise DamagedFile(f"no version up to {wanted} is whole: {trouble}") from trouble

    def _collect(self) -> None:
        """Remove versions beyond `keep`, then blobs that no version has."""
        try:
            staying = {*self._shelf.numbers()[: self.keep], *self.pins(), self.current()}
        except DamagedFile as exc:
            log.error("nothing is removed: %s", exc)
            return
        with suppress(OSError):  # a version that is out is out; the next publish tries again
            for number in self._shelf.numbers():
                if number not in staying:
                    self._shelf.remove(number)
            self._collect_blobs()

    def _collect_blobs(self) -> None:
        wanted: set[str] = set()
        for number in self._shelf.numbers():
            try:
                wanted |= {b.sha256 for b in self._shelf.manifest(number).parts.values()}
            except UnknownFileFormat:
                return  # a newer learndrop's: which blobs it needs cannot be told
            except DamagedFile:
                continue
        self._blobs.remove_others(wanted)
