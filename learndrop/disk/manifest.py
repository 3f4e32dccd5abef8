"""What one model version consists of, as a JSON file that carries its own hash; torch-free."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import orjson

from learndrop.errors import DamagedFile, UnknownFileFormat

FORMAT = 1
# Later formats keep this, and may change what is in `version`.
ENVELOPE = re.compile(
    rb'\{"format":(?P<format>\d{1,9}),"sha256":"(?P<sha256>[0-9a-f]{64})",'
    rb'"version":(?P<version>.*)\}\n',
    re.DOTALL,
)


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
        packed = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        return b'{"format":%d,"sha256":"%s","version":%s}\n' % (
            FORMAT,
            _hash(b"%d" % FORMAT, packed),
            packed,
        )

    @classmethod
    def from_bytes(cls, data: bytes, told: str) -> Self:
        """Read what `to_bytes` wrote; `told` names the file in errors.

        Raises:
            DamagedFile: if it is not what was written.
            UnknownFileFormat: if a newer learndrop wrote it.
        """
        found = ENVELOPE.fullmatch(data)
        # Hash first: a flipped bit must not look like a newer format.
        if found is None or _hash(found["format"], found["version"]) != found["sha256"]:
            raise DamagedFile(f"{told} does not match its checksum")
        if int(found["format"]) > FORMAT:
            raise UnknownFileFormat(
                f"{told} has format {int(found['format'])}, this learndrop reads up to {FORMAT}"
            )
        try:
            body = orjson.loads(found["version"])
            parts = {name: Blob(**blob) for name, blob in body["parts"].items()}
            return cls(body["number"], body["published_s"], body["about"], parts)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as exc:
            raise DamagedFile(f"{told} is no manifest of a model version: {exc!r}") from exc


def _hash(format_: bytes, version: bytes) -> bytes:
    """Of the bytes as they lie in the file, so that nothing depends on how JSON is written."""
    return hashlib.sha256(format_ + b"\n" + version).hexdigest().encode()
