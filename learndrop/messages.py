"""What one entry of the stream means: version, encode, decode."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadMessage

VERSION = b"1"
MOST_LABEL_BYTES = 4000


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image as the network will see it.

    Attributes:
        image: uint8 array [size, size, 3], RGB.
        label: the class name; numbers are written as text.
        accepted_s: unix time at which the service took it.
        key: name of the API key that sent it; empty where none is needed.
        name: what its sender calls it; empty where it has no name.
    """

    image: NDArray[np.uint8]
    label: str
    accepted_s: float = 0.0
    key: str = ""
    name: str = ""

    def to_fields(self) -> dict[bytes, bytes]:
        """Encode as the fields of a stream entry."""
        pixels = np.ascontiguousarray(self.image).tobytes()
        height, width, _ = self.image.shape
        fields = {
            b"v": VERSION,
            b"shape": b"%dx%d" % (height, width),
            b"image": pixels,
            b"crc": b"%08x" % zlib.crc32(pixels),
            b"label": self.label.encode(),
            b"at": b"%.3f" % self.accepted_s,
        }
        told = {b"key": self.key, b"name": self.name}
        return fields | {field: text.encode() for field, text in told.items() if text}

    @classmethod
    def from_fields(cls, fields: Mapping[bytes, bytes]) -> Sample:
        """Decode the fields of a stream entry.

        Raises:
            BadMessage: if the version, a field, the size or the checksum is not as written.
        """
        if fields.get(b"v") != VERSION:
            raise BadMessage(f"message version {fields.get(b'v')!r}, expected {VERSION!r}")
        missing = [k.decode() for k in (b"shape", b"image", b"crc", b"label") if k not in fields]
        if missing:
            raise BadMessage(f"field {missing[0]!r} is missing")
        pixels = fields[b"image"]
        try:
            height, width = (int(n) for n in fields[b"shape"].split(b"x"))
            label = fields[b"label"].decode()
            accepted_s = float(fields.get(b"at", b"0"))
            key, name = (fields.get(field, b"").decode() for field in (b"key", b"name"))
        except ValueError as exc:
            raise BadMessage(f"a field cannot be read: {exc}") from exc
        if min(height, width) < 1 or height * width * 3 != len(pixels):
            raise BadMessage(f"{len(pixels)} bytes of pixels for {height} x {width} x 3")
        if b"%08x" % zlib.crc32(pixels) != fields[b"crc"]:
            raise BadMessage("the pixels do not match their checksum")
        if not label or len(fields[b"label"]) > MOST_LABEL_BYTES:
            raise BadMessage(f"label of {len(fields[b'label'])} bytes, limit {MOST_LABEL_BYTES}")
        image = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
        return cls(image, label, accepted_s, key, name)
