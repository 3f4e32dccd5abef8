"""An application/x-npz body: numpy's zip of `images.npy`, `labels.npy` and `ids.npy`.

Read by hand, because nothing of it may be trusted: numpy would unpickle objects, and zipfile
would build a list of whatever number of members is claimed. Every size is checked against the
limit before memory is taken for it; stored (not deflated) pixels are never copied.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadBody, BadInput, TooLarge
from service.bodies.batches import Batch, BatchLimits, as_labels, check_count, check_text_count
from service.bodies.npy import read_npy
from service.bodies.sample_ids import as_ids

MEMBERS = ("images.npy", "labels.npy", "ids.npy")
MOST_RATIO = 1032
"""Deflate cannot do better: a member that claims more is a lie."""

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    method: int
    crc: int
    packed: int
    size: int
    at: int


def read_npz(body: bytes | bytearray, limits: BatchLimits) -> Batch:
    """Read the batch: uint8 images [N, H, W, 3] or [N, H, W]; labels and ids [N], numbers or text.

    Raises:
        BadBody: no zip, no numpy arrays, or damaged ones.
        BadInput, TooLarge: arrays that are no batch, or claim more than the limit.
    """
    view = memoryview(body)
    members = {m.name: m for m in _members(view, limits)}
    if "images.npy" not in members:
        raise BadInput("the .npz has no array `images`", item="images", value=sorted(members))
    images = _images(_content(view, members["images.npy"]), limits)
    told: dict[str, list[Any] | None] = dict.fromkeys(("labels", "ids"))
    for item in told:
        if (name := f"{item}.npy") in members:
            told[item] = _texts(_content(view, members[name]), item, limits)
    labels, ids = told["labels"], told["ids"]
    return Batch(
        list(images),
        None if labels is None else as_labels(labels, limits),
        None if ids is None else as_ids(ids, limits),
    )


def unpacked_bytes(body: bytes | bytearray, limits: BatchLimits) -> int:
    """Bytes that its packed members become, beside the body; 0 of a body that is refused."""
    try:
        members = _members(memoryview(body), limits)
    except BadInput:
        return 0
    return sum(member.size for member in members if member.method == _DEFLATED)


def is_stored(body: bytes | bytearray, limits: BatchLimits) -> bool:
    """Whether it is a zip of nothing but stored members: reading it takes no longer than its size.

    Of a body that is refused the answer is no; `read_npz` says why.
    """
    try:
        return all(member.method == _STORED for member in _members(memoryview(body), limits))
    except BadInput:
        return False


def _images(content: memoryview, limits: BatchLimits) -> NDArray[np.uint8]:
    images = read_npy(content, "images")
    grey_or_rgb = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not grey_or_rgb:
        raise BadInput(
            f"images are {images.dtype} {list(images.shape)},"
            " expected uint8 [N, height, width, 3] or [N, height, width]",
            item="images",
            limit="uint8 [N, height, width, 3]",
            value=f"{images.dtype} {list(images.shape)}",
        )
    check_count(len(images), limits)
    return images


def _texts(content: memoryview, item: str, limits: BatchLimits) -> list[Any]:
    """Whole numbers or texts, one for each picture."""
    array = read_npy(content, item)
    found = f"{array.dtype} {list(array.shape)}"
    if array.dtype.kind not in "iuU" or array.ndim != 1:
        raise BadInput(
            f"{item} are {found}, expected whole numbers or text [N]",
            item=item,
            limit="integer or str [N]",
            value=found,
        )
    check_text_count(len(array), item, limits)
    try:
        told: list[Any] = array.tolist()
    except ValueError as exc:  # numbers that are no letters of Unicode
        raise BadInput(f"{item} are no text: {exc}", item=item) from exc
    return told


def _members(view: memoryview, limits: BatchLimits) -> list[_Member]:
    """The zip's directory: up to three members, with what they claim checked."""
    tail = bytes(view[-(_END.size + 65535) :])
    found = tail.rfind(b"PK\x05\x06")
    if found < 0 or len(tail) - found < _END.size:
        raise BadBody("the body is no .npz: it ends without a zip's directory", item="body")
    _, _, _, _, count, length, at, _ = _END.unpack_from(tail, found)
    if count > len(MEMBERS) or length > 4096:
        raise BadInput(
            f"the .npz claims {count} arrays, only `images`, `labels` and `ids` are taken",
            item="body",
            limit=list(MEMBERS),
            value=count,
        )
    directory = bytes(view[at : at + length])
    members: list[_Member] = []
    offset = 0
    for _ in range(count):
        member, offset = _entry(directory, offset)
        if member.name not in MEMBERS or member.name in {m.name for m in members}:
            raise BadInput(
                f"the .npz holds {member.name[:80]!r}, only one `images`, `labels`, `ids` is taken",
                item="body",
                limit=list(MEMBERS),
                value=member.name[:80],
            )
        _check_claim(member, limits)
        members.append(member)
    return members


def _entry(directory: bytes, offset: int) -> tuple[_Member, int]:
    try:
        fields = _ENTRY.unpack_from(directory, offset)
    except struct.error as exc:
        raise BadBody("the .npz's directory is cut short", item="body") from exc
    magic, _, _, flags, method, _, _, crc, packed, size, name, extra, note, _, _, _, at = fields
    if magic != b"PK\x01\x02" or flags & 1 or method not in (_STORED, _DEFLATED):
        raise BadBody("the .npz is damaged, encrypted or packed in an unknown way", item="body")
    start = offset + _ENTRY.size
    text = directory[start : start + name].decode("utf-8", "replace")
    return _Member(text, method, crc, packed, size, at), start + name + extra + note


def _check_claim(member: _Member, limits: BatchLimits) -> None:
    item = member.name.removesuffix(".npy")
    if member.size > limits.body_bytes:
        raise TooLarge(
            f"`{item}` claims {member.size} bytes unpacked, the limit is {limits.body_bytes}",
            item=item,
            limit=limits.body_bytes,
            value=member.size,
        )
    most = member.packed * MOST_RATIO + 64 if member.method == _DEFLATED else member.packed
    if member.size > most:
        raise BadBody(
            f"`{item}` claims {member.size} bytes in {member.packed} packed ones",
            item=item,
            limit=most,
            value=member.size,
        )


def _content(view: memoryview, member: _Member) -> memoryview:
    """The member's bytes: a view of the body if stored, else unpacked to its claimed size."""
    damaged = BadBody(f"{member.name} in the .npz is damaged", item=member.name)
    try:
        fields = _LOCAL.unpack_from(view, member.at)
    except struct.error as exc:
        raise damaged from exc
    start = member.at + _LOCAL.size + fields[-2] + fields[-1]
    content = packed = view[start : start + member.packed]
    if fields[0] != b"PK\x03\x04" or len(packed) != member.packed:
        raise damaged
    if member.method == _DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = memoryview(unpacker.decompress(packed, member.size + 1))
        except zlib.error as exc:
            raise damaged from exc
    if len(content) != member.size or zlib.crc32(content) != member.crc:
        raise damaged
    return content
