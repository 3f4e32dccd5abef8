"""What one model version consists of, as a JSON file that carries its own hash; torch-free."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

from learndrop.errors import DamagedFile, UnknownFileFormat

FORMAT = 1
"""Later formats keep the envelope (format, sha256, version) and may change what is in `version`."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes in the blob store.

    Attributes:
        sha256: of the bytes, lower-case hex; also their file's name.
        bytes: how many they are.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version: `parts` by name are where its bytes lie, `about` says what it is."""

    number: int
    published_s: float
    about: Mapping[str, Any]
    parts: Mapping[str, Blob]

    def to_bytes(self) -> bytes:
        """As the content of a file."""
        body = {
            "number": self.number,
            "published_s": self.published_s,
            "about": self.about,
            "parts": {name: asdict(blob) for name, blob in self.parts.items()},
        }
        whole = {"format": FORMAT, "sha256": _hash(FORMAT, body), "version": body}
        return orjson.dumps(whole, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_bytes(cls, data: bytes, told: str) -> Self:
        """Read what `to_bytes` wrote; `told` names the file in errors.

        Raises:
            DamagedFile: if it is not what was written.
            UnknownFileFormat: if a newer learndrop wrote it.
        """
        try:
            whole = orjson.loads(data)
            format_, body = whole["format"], whole["version"]
            # Hash first: a flipped bit must not look like a newer format.
            if whole["sha256"] != _hash(format_, body):
                raise DamagedFile(f"{told} does not match its checksum")
            if format_ > FORMAT:
                raise UnknownFileFormat(
                    f"{told} has format {format_}, this learndrop reads up to {FORMAT}"
                )
            parts = {name: Blob(**blob) for name, blob in body["parts"].items()}
            return cls(body["number"], body["published_s"], body["about"], parts)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as exc:
            raise DamagedFile(f"{told} is no manifest of a model version: {exc!r}") from exc


def _hash(format_: object, body: object) -> str:
    packed = orjson.dumps([format_, body], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(packed).hexdigest()
