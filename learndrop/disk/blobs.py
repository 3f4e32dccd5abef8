"""Bytes by their hash, each written once; torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from pathlib import Path

from learndrop.disk.files import remove, write_atomic
from learndrop.disk.manifest import Blob
from learndrop.disk.turns import Doing, at_once
from learndrop.errors import DamagedFile

ENDING = ".safetensors"


class BlobStore:
    """A folder of files that are named by the SHA-256 of their content."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> Blob:
        """Have these bytes in the store; the folder is synced by the caller.

        Bytes that are there already are read once: what has rotted since it was written must not
        get into a new version.
        """
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        if not self._is_whole(blob):
            write_atomic(self.path(blob), data, sync_name=False)
        return blob

    def get(self, blob: Blob, told: str, doing: Doing = at_once) -> bytes:
        """The bytes, checked when `doing` lets it; `told` says in the error what they are.

        Raises:
            DamagedFile: if they are not there, or not what was written.
        """
        path = self.path(blob)
        try:
            if path.stat().st_size != blob.bytes:
                raise DamagedFile(f"{told} ({path}) is not {blob.bytes} bytes long")
            data = path.read_bytes()
        except OSError as exc:  # a bad block is damage too
            raise DamagedFile(f"{told} ({path}) cannot be read: {exc}") from exc
        if doing(hashlib.sha256(data).hexdigest) != blob.sha256:
            raise DamagedFile(f"{told} ({path}) does not match its checksum")
        return data

    def remove_others(self, wanted: Container[str]) -> None:
        """Remove all bytes but those of these hashes."""
        for path in self.root.glob(f"*{ENDING}"):
            if path.stem not in wanted:
                remove(path)

    def path(self, blob: Blob) -> Path:
        """The file of these bytes."""
        return self.root / f"{blob.sha256}{ENDING}"

    def _is_whole(self, blob: Blob) -> bool:
        try:
            self.get(blob, "bytes")
        except DamagedFile:
            return False
        return True
