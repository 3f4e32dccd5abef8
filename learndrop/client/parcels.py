"""How a client packs pictures into a request body: pixels as .npz, files as multipart."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadInput

Picture = bytes | Path | NDArray[np.uint8]
"""An encoded picture, the path of one, or its pixels: uint8 [H, W, 3] or grey [H, W]."""
Pictures = Sequence[Picture] | NDArray[np.uint8]
Labels = Sequence[str | int | np.integer[Any]] | NDArray[Any]

MOST_BYTES = 16 * 1024 * 1024
"""Of pictures in one request, whatever the service would take."""
ROOM_BYTES = 64 * 1024
"""Left in a body for what is around the pictures."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much goes into one request."""

    images: int = 256
    bytes: int = MOST_BYTES

    @classmethod
    def of_limits(cls, limits: Mapping[str, Any]) -> Self:
        """What a service takes, from its GET /v1/limits."""
        room = max(1, int(limits["max_body_bytes"]) - ROOM_BYTES)
        return cls(int(limits["max_batch"]), min(MOST_BYTES, room))


FULL_LOAD = Load()


def parcels(
    images: Pictures,
    labels: Labels | None,
    load: Load = FULL_LOAD,
    ids: Sequence[str] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Pack everything into requests: content type and body of each, in order.

    `ids` are the sender's own names of the samples.

    Raises:
        BadInput: no images, counts that differ, or something that is no picture.
    """
    if len(images) == 0:
        raise BadInput("there are no images", item="images", value=0)
    for item, told in (("labels", labels), ("ids", ids)):
        if told is not None and len(told) != len(images):
            raise BadInput(
                f"{len(images)} images and {len(told)} {item}", item=item, value=len(told)
            )
    if isinstance(images, np.ndarray) and images.ndim == 3 and images.shape[-1] == 3:
        # Its rows would pass for as many grey pictures, three pixels wide.
        raise BadInput(
            f"an array of {list(images.shape)} is one picture: give it in a list",
            item="images",
            value=list(images.shape),
        )
    texts = {} if labels is None else {"labels": [_as_text(label) for label in labels]}
    texts |= {} if ids is None else {"ids": [_as_text(one, "ids") for one in ids]}

    def part(start: int, stop: int | None) -> dict[str, list[str]]:
        return {item: told[start:stop] for item, told in texts.items()}

    read: list[bytes | NDArray[np.uint8]] = []
    start = size = 0
    for index, picture in enumerate(images):
        one = _read(picture)
        count = one.nbytes if isinstance(one, np.ndarray) else len(one)
        alike = not read or _alike(read[-1], one)
        if read and (len(read) == load.images or size + count > load.bytes or not alike):
            yield _packed(read, part(start, index))
            read, start, size = [], index, 0
        read.append(one)
        size += count
    yield _packed(read, part(start, None))


def _read(picture: object) -> bytes | NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
            raise BadInput(
                f"pixels of {picture.dtype} {list(picture.shape)}, expected uint8 [H, W, 3] or"
                " [H, W]; one picture must come in a list",
                item="images",
            )
        return picture
    if isinstance(picture, Path):
        return picture.read_bytes()
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    raise BadInput(
        f"a {type(picture).__name__} is no picture: give a list of pathlib.Path, of a file's bytes"
        " or of uint8 arrays",
        item="images",
        value=type(picture).__name__,
    )


def _alike(one: bytes | NDArray[np.uint8], other: bytes | NDArray[np.uint8]) -> bool:
    """Whether two pictures can travel in one body."""
    shapes = [p.shape if isinstance(p, np.ndarray) else None for p in (one, other)]
    return shapes[0] == shapes[1]


def _as_text(one: object, item: str = "labels") -> str:
    if isinstance(one, str):
        return one
    if isinstance(one, int | np.integer) and not isinstance(one, bool):
        return str(int(one))
    what = "a label is a name" if item == "labels" else "an id is a text"
    raise BadInput(f"{what} or a whole number, not {one!r}", item=item)


def _packed(
    read: list[bytes | NDArray[np.uint8]], texts: Mapping[str, list[str]]
) -> tuple[str, bytes]:
    if isinstance(read[0], np.ndarray):
        return "application/x-npz", _npz(np.stack(read), texts)
    return _form([one for one in read if isinstance(one, bytes)], texts)


def _npz(images: NDArray[np.uint8], texts: Mapping[str, list[str]]) -> bytes:
    arrays: dict[str, NDArray[Any]] = {"images": images}
    arrays |= {item: np.array(told, dtype=np.str_) for item, told in texts.items()}
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def _form(images: list[bytes], texts: Mapping[str, list[str]]) -> tuple[str, bytes]:
    boundary = uuid.uuid4().hex.encode()
    head = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="'
    parts = []
    for index, image in enumerate(images):
        parts += [head, b'images"; filename="%d"\r\n\r\n' % index, image, b"\r\n"]
    for item, told in texts.items():
        for text in told:
            parts += [head, item.encode() + b'"\r\n\r\n', text.encode(), b"\r\n"]
    body = b"".join([*parts, b"--", boundary, b"--\r\n"])
    return f"multipart/form-data; boundary={boundary.decode()}", body
