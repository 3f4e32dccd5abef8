"""The small files of a registry: manifests, the pointer to the current one, pins; torch-free."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from learndrop.disk.files import make_folder, remove, remove_leftovers, seal, unseal, write_atomic
from learndrop.disk.manifest import Manifest
from learndrop.errors import DamagedFile, NotFound

log = logging.getLogger(__name__)

HELD = b"held"
LONGEST_CHANGE_S = 10.0


class Shelf:
    """Reads and writes them; what a change needs of them together is the registry's."""

    def __init__(self, root: Path) -> None:
        self.root, self._folder = root, root / "versions"

    @contextmanager
    def changing(self, *folders: Path) -> Iterator[None]:
        """One process at a time changes something; what a crash left half written goes first.

        Raises:
            BlockingIOError: if another process is at it for longer than any change takes.
        """
        used = (self.root, self._folder, *folders)
        for folder in used:
            make_folder(folder)
        fd = os.open(self.root / "LOCK", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._lock(fd)  # let go by close, also by a crash
            for folder in used:
                remove_leftovers(folder)
            yield
        finally:
            os.close(fd)

    def _lock(self, fd: int) -> None:
        """Wait for whoever changes something, but not for ever: it may have been paused."""
        until = time.monotonic() + LONGEST_CHANGE_S
        while True:
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as exc:
                if time.monotonic() > until:
                    told = f"another process has held it for {LONGEST_CHANGE_S:g} s"
                    raise BlockingIOError(exc.errno, told, str(self.root / "LOCK")) from exc
            time.sleep(0.01)

    # -- manifests --------------------------------------------------------------------------

    def numbers(self) -> tuple[int, ...]:
        """All versions that have a manifest, whole or not, newest first."""
        names = (p.stem for p in self._folder.glob("*.json"))
        return tuple(sorted((int(n) for n in names if n.isdecimal()), reverse=True))

    def need(self, number: int) -> None:
        """Raise NotFound unless there is a manifest of this number."""
        if not self._path(number).is_file():
            raise NotFound(f"model version {number} is not kept")

    def manifest(self, number: int) -> Manifest:
        """One manifest, checked.

        Raises:
            NotFound: if there is none of this number.
            DamagedFile: if it is not what was written.
            UnknownFileFormat: if a newer learndrop wrote it.
        """
        path = self._path(number)
        try:
            manifest = Manifest.from_bytes(path.read_bytes(), str(path))
        except FileNotFoundError as exc:
            raise NotFound(f"model version {number} is not kept") from exc
        except OSError as exc:  # a bad block is damage too
            raise DamagedFile(f"{path} cannot be read: {exc}") from exc
        if manifest.number != number:
            raise DamagedFile(f"{path} is the manifest of version {manifest.number}")
        return manifest

    def write(self, manifest: Manifest) -> None:
        """Put a manifest in its place: from here on the version is there."""
        write_atomic(self._path(manifest.number), manifest.to_bytes())

    def remove(self, number: int) -> None:
        """Remove a manifest."""
        remove(self._path(number))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.json"

    # -- pointer ----------------------------------------------------------------------------

    def pointer(self) -> tuple[int | None, bool]:
        """The version that readers take and whether they are held there.

        Where the pointer is lost or damaged the newest version counts; None if there is none.
        """
        path = self.root / "CURRENT"
        try:
            number, *held = unseal(path.read_bytes(), str(path)).split()
            return int(number), held == [HELD]
        except FileNotFoundError:
            pass
        except (DamagedFile, ValueError, OSError) as exc:
            log.error("the newest version counts as current: %s", exc)
        return next(iter(self.numbers()), None), False

    def point(self, number: int, *, held: bool = False) -> None:
        """Let readers switch."""
        content = b"%d %s" % (number, HELD) if held else b"%d" % number
        write_atomic(self.root / "CURRENT", seal(content))

    # -- pins -------------------------------------------------------------------------------

    def pins(self) -> set[int]:
        """Versions that are kept for good.

        Raises:
            DamagedFile: if their list is not what was written.
        """
        path = self.root / "PINS"
        try:
            return {int(n) for n in unseal(path.read_bytes(), str(path)).split()}
        except FileNotFoundError:
            return set()

    def set_pins(self, pins: set[int]) -> None:
        """Replace their list."""
        write_atomic(self.root / "PINS", seal(b" ".join(b"%d" % n for n in sorted(pins))))
