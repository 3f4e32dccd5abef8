"""What the service and a decoder's process say to each other over their socket.

An ask is a head of fixed length, the lengths of the files, the files. An answer is a head and what
it announces: pixels, or why there are none, as JSON. Nothing is ever unpickled, and the service
believes no length: the other side has had strangers' bytes in native code.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from learndrop.errors import BadInput, BadPicture, TooLong
from learndrop.images.pictures import Fit, PictureLimits, Pixels
from service.decoding.inputs import Shape

READY, PIXELS, REFUSAL = range(3)
MOST_REFUSAL_BYTES = 65536
MOST_MESSAGE_CHARS = 4000
"""What a decoder in native code says may quote a file; a character takes up to 12 bytes of JSON."""
_ASK = struct.Struct("<4I2Q2d")
_ANSWER = struct.Struct("<3Id")
ANSWER_BYTES = _ANSWER.size
_FITS: tuple[Fit, ...] = get_args(Fit)


@dataclass(frozen=True, slots=True)
class Ask:
    """Picture files to be decoded; `first` is which of its batch the first one is."""

    files: Sequence[bytes | bytearray]
    shape: Shape
    limits: PictureLimits
    left_s: float
    first: int

    def parts(self) -> list[bytes | bytearray]:
        """The bytes to be sent, in pieces."""
        shape, limits = self.shape, self.limits
        head = _ASK.pack(
            len(self.files),
            self.first,
            shape.size,
            _FITS.index(shape.fit),
            limits.max_bytes,
            limits.max_pixels,
            limits.max_s,
            self.left_s,
        )
        lengths = struct.pack(f"<{len(self.files)}Q", *map(len, self.files))
        return [head + lengths, *self.files]

    @classmethod
    def received(cls, receive: Callable[[int], bytearray]) -> Ask:
        """Read the next one; `receive` gives so many bytes."""
        count, first, size, fit, *limits, left_s = _ASK.unpack(receive(_ASK.size))
        lengths = struct.unpack(f"<{count}Q", receive(8 * count))
        files = [receive(length) for length in lengths]
        return cls(files, Shape(size, _FITS[fit]), PictureLimits(*limits), left_s, first)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer: its kind, how many pictures, bytes that follow, seconds it took."""

    kind: int
    count: int
    length: int
    spent_s: float

    @classmethod
    def of(cls, data: bytes | bytearray) -> Head:
        """Read ANSWER_BYTES."""
        return cls(*_ANSWER.unpack(data))

    def answers(self, ask: Ask | None) -> bool:
        """Whether it can be what follows this ask, or the greeting where there is none."""
        if not math.isfinite(self.spent_s) or self.spent_s < 0:
            return False
        if ask is None:
            return self.kind == READY and self.length == 0
        if self.kind == PIXELS:
            whole = self.length == self.count * 3 * ask.shape.size**2
            return 1 <= self.count <= len(ask.files) and whole
        return self.kind == REFUSAL and self.length <= MOST_REFUSAL_BYTES


GREETING = _ANSWER.pack(READY, 0, 0, 0.0)


def pixels_answer(pixels: Sequence[Pixels], spent_s: float) -> bytes:
    """The answer of pictures that could be decoded."""
    together = np.stack(pixels).tobytes()
    return _ANSWER.pack(PIXELS, len(pixels), len(together), spent_s) + together


def refusal_answer(error: BadPicture | TooLong, spent_s: float) -> bytes:
    """The answer of a picture that is refused."""
    told = {
        "kind": type(error).__name__,
        "message": str(error)[:MOST_MESSAGE_CHARS],
        "item": error.item,
        "index": error.index if isinstance(error, BadPicture) else None,
        "limit": error.limit,
        "value": error.value,
    }
    data = json.dumps(told).encode()
    return _ANSWER.pack(REFUSAL, 0, len(data), spent_s) + data


def pixels_of(payload: bytearray, count: int, size: int) -> list[Pixels]:
    """Pictures as views of what came."""
    return list(np.frombuffer(payload, np.uint8).reshape(count, size, size, 3))


def error_of(payload: bytes | bytearray) -> BadInput:
    """The refusal that the other side raised.

    Raises:
        ValueError: if it is none.
    """
    try:
        told = json.loads(payload)
    except RecursionError as exc:
        raise ValueError("no refusal") from exc
    if not isinstance(told, dict) or not isinstance(told.get("message"), str):
        raise ValueError("no refusal")
    message, limit, value = told["message"], told.get("limit"), told.get("value")
    match told:
        case {"kind": "BadPicture", "index": int(index)}:
            return BadPicture(message, index=index, limit=limit, value=value)
        case {"kind": "TooLong", "item": str(item)}:
            return TooLong(message, item=item, limit=limit, value=value)
    raise ValueError("no refusal")
