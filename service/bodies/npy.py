"""One numpy array out of the bytes of a .npy file, without numpy's own reader of pickles."""

from __future__ import annotations

import ast
import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadBody, BadInput

MOST_HEADER_BYTES = 1024
_PLAIN = frozenset("biufUS")


def read_npy(content: memoryview, item: str) -> NDArray[Any]:
    """Read an array of numbers or text; the result is a view of `content`, not a copy.

    Raises:
        BadBody: if it is no .npy file, or holds more or fewer bytes than its header says.
        BadInput: if its elements are objects (a pickle), records, or anything but numbers or text.
    """
    head, start = _header(content, item)
    try:
        kind, shape, by_column = head["descr"], head["shape"], head["fortran_order"]
    except KeyError as exc:
        raise BadBody(f"`{item}`: its header lacks {exc}", item=item) from exc
    dtype = _dtype(kind, item)
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise BadBody(f"`{item}`: no shape: {str(shape)[:80]}", item=item)
    if len(shape) > 8:
        raise BadBody(f"`{item}` has {len(shape)} dimensions", item=item, limit=8, value=len(shape))
    wanted = math.prod(shape) * dtype.itemsize
    if wanted != len(content) - start or dtype.itemsize == 0:
        raise BadBody(
            f"`{item}` claims {list(shape)} of {dtype}, {wanted} bytes; it has"
            f" {len(content) - start}",
            item=item,
            limit=wanted,
            value=len(content) - start,
        )
    if wanted == 0:
        try:
            return np.zeros(shape, dtype)
        except ValueError as exc:  # of no bytes, and yet with a side that no array can have
            told = f"`{item}` claims a shape that no array has: {str(shape)[:80]}"
            raise BadBody(told, item=item) from exc
    flat: NDArray[Any] = np.frombuffer(content, dtype, offset=start)
    return flat.reshape(shape[::-1]).T if by_column else flat.reshape(shape)


def _header(content: memoryview, item: str) -> tuple[dict[str, Any], int]:
    damaged = BadBody(f"`{item}` is no .npy file", item=item)
    if bytes(content[:6]) != b"\x93NUMPY" or len(content) < 12:
        raise damaged
    width = 2 if content[6] == 1 else 4
    length = int.from_bytes(content[8 : 8 + width], "little")
    start = 8 + width + length
    if content[6] not in (1, 2, 3) or length > MOST_HEADER_BYTES or start > len(content):
        raise damaged
    try:
        head = _literal(bytes(content[8 + width : start]))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as exc:
        raise damaged from exc
    if not isinstance(head, dict):
        raise damaged
    return head, start


@functools.lru_cache(maxsize=64)  # senders repeat themselves; at most 64 KiB of text
def _literal(text: bytes) -> Any:
    """What a header says; shared by its readers, so it must not be changed."""
    return ast.literal_eval(text.decode("latin-1").strip())


def _dtype(kind: Any, item: str) -> np.dtype[Any]:
    refused = BadInput(
        f"`{item}` holds {str(kind)[:80]!r}: only plain numbers or text are read, never objects",
        item=item,
        limit="numbers or text",
        value=str(kind)[:80],
    )
    if not isinstance(kind, str) or len(kind) > 16:
        raise refused
    try:
        dtype = np.dtype(kind)
    except (TypeError, ValueError, SyntaxError) as exc:
        raise refused from exc
    if dtype.kind not in _PLAIN or dtype.subdtype is not None:
        raise refused
    return dtype
