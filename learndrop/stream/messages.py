"""What one entry of the stream means: version, encode, decode."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadMessage
from learndrop.stream.packing import Value

VERSION = b"1"
MOST_LABEL_BYTES = 4000
T = TypeVar("T")


def pixel_fields(image: NDArray[np.uint8]) -> dict[bytes, bytes]:
    """The fields of a picture, uint8 [height, width, 3], without a label."""
    pixels = np.ascontiguousarray(image).tobytes()
    height, width, _ = image.shape
    return {
        b"v": VERSION,
        b"shape": b"%dx%d" % (height, width),
        b"image": pixels,
        b"crc": b"%08x" % zlib.crc32(pixels),
    }


def picture_of(fields: Mapping[bytes, bytes]) -> NDArray[np.uint8] | None:
    """The picture of an entry that may be damaged otherwise: uint8 [height, width, 3], or None.

    >>> picture_of({b"shape": b"1x2", b"image": b"rgbrgb"}).shape, picture_of({b"shape": b"1x2"})
    ((1, 2, 3), None)
    """
    pixels = fields.get(b"image", b"")
    try:
        height, width = (int(n) for n in fields.get(b"shape", b"").split(b"x"))
    except ValueError:
        return None
    if min(height, width) < 1 or height * width * 3 != len(pixels):
        return None
    return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image as the network will see it.

    Attributes:
        image: uint8 array [size, size, 3], RGB.
        label: the class name; numbers are written as text.
        accepted_s: unix time at which the service took it.
        key: name of the API key that sent it; empty where none is needed.
        name: what its sender calls it; empty where it has no name.
        id: of its entry on the stream; empty where it came another way. No field of the entry.
    """

    image: NDArray[np.uint8]
    label: str
    accepted_s: float = 0.0
    key: str = ""
    name: str = ""
    id: str = ""

    def to_fields(self) -> dict[bytes, bytes]:
        """Encode as the fields of a stream entry."""
        own = {b"label": self.label.encode(), b"at": b"%.3f" % self.accepted_s}
        told = {b"key": self.key, b"name": self.name}
        named = {field: text.encode() for field, text in told.items() if text}
        return pixel_fields(self.image) | own | named

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
            label = fields[b"label"].decode()
            accepted_s = float(fields.get(b"at", b"0"))
            key, name = (fields.get(field, b"").decode() for field in (b"key", b"name"))
        except ValueError as exc:
            raise BadMessage(f"a field cannot be read: {exc}") from exc
        image = picture_of(fields)
        if image is None:
            shape = fields[b"shape"][:40].decode(errors="replace")
            raise BadMessage(f"{len(pixels)} bytes of pixels for {shape} x 3")
        if b"%08x" % zlib.crc32(pixels) != fields[b"crc"]:
            raise BadMessage("the pixels do not match their checksum")
        if not label or len(fields[b"label"]) > MOST_LABEL_BYTES:
            raise BadMessage(f"label of {len(fields[b'label'])} bytes, limit {MOST_LABEL_BYTES}")
        return cls(image, label, accepted_s, key, name)


def columns(samples: Sequence[Sample]) -> dict[bytes, list[Value]]:
    """`to_fields` of many at once, by field: the value of each sample, empty where it has none.

    Pixels are not copied where they lie without gaps.
    """
    images = [np.ascontiguousarray(sample.image).data for sample in samples]
    return {
        b"v": [VERSION] * len(samples),
        b"shape": _each(b"%dx%d".__mod__, [sample.image.shape[:2] for sample in samples]),
        b"image": [*images],
        b"crc": [b"%08x" % zlib.crc32(image) for image in images],
        b"label": _each(str.encode, [sample.label for sample in samples]),
        b"at": _each(b"%.3f".__mod__, [sample.accepted_s for sample in samples]),
        b"key": _each(str.encode, [sample.key for sample in samples]),
        b"name": _each(str.encode, [sample.name for sample in samples]),
    }


def _each(encode: Callable[[T], bytes], told: list[T]) -> list[Value]:
    """Each encoded; only once where all are alike, as in a batch they mostly are."""
    if told.count(told[0]) == len(told):
        return [encode(told[0])] * len(told)
    return [encode(one) for one in told]
