"""A JSON body: `{"images": [base64, ...], "labels": [name or number, ...], "ids": [...]}`."""

from __future__ import annotations

import binascii
from typing import Any

import orjson

from learndrop.errors import BadBody, BadInput, BadPicture, TooLarge
from service.bodies.batches import Batch, BatchLimits, as_labels, check_count, check_image_bytes
from service.bodies.sample_ids import MOST_CHARS, as_ids

FIELDS = ("images", "labels", "ids")


def read_json(body: bytes | bytearray, limits: BatchLimits) -> Batch:
    """Read the batch.

    Raises:
        BadBody: no JSON.
        BadInput, BadPicture, TooLarge: JSON that is no batch.
    """
    told = read_object(body, FIELDS, limits)
    coded = told.get("images")
    if not isinstance(coded, list):
        raise BadInput("images are no list", item="images", value=type(coded).__name__)
    check_count(len(coded), limits)
    images = [_decoded(one, index, limits) for index, one in enumerate(coded)]
    labels, ids = told.get("labels"), told.get("ids")
    return Batch(
        images,
        None if labels is None else as_labels(labels, limits),
        None if ids is None else as_ids(ids, limits),
    )


def read_object(
    body: bytes | bytearray, fields: tuple[str, ...], limits: BatchLimits
) -> dict[str, Any]:
    """A JSON object with no other fields than these.

    Raises:
        BadBody: no JSON.
        TooLarge: more structure than a full batch needs.
        BadInput: no object, or with another field.
    """
    _check_structure(body, limits)
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise BadBody(f"the body is no JSON: {exc}", item="body") from exc
    check_fields(told, fields, "body")
    return dict(told)


def check_fields(told: Any, fields: tuple[str, ...], item: str) -> None:
    """Refuse what is no object, or has another field than these.

    Raises:
        BadInput: naming the field.
    """
    if not isinstance(told, dict):
        raise BadInput(f"{item} is no JSON object", item=item, limit=list(fields))
    for name in told:
        if name not in fields:
            raise BadInput(
                f"unknown field {name[:80]!r}", item=item, limit=list(fields), value=name[:80]
            )


def _check_structure(body: bytes | bytearray, limits: BatchLimits) -> None:
    """A body of nothing but `[[],[],...` would become 20 times its size in memory.

    Base64 holds none of these bytes and a batch needs few; labels and ids may hold some.
    """
    most = 64 + limits.images * (5 + 4 * limits.label_chars + MOST_CHARS)
    found = sum(body.count(sign) for sign in (b",", b"[", b"{"))
    if found > most:
        raise TooLarge(
            f"the JSON has {found} commas and brackets, a full batch needs at most {most}",
            item="body",
            limit=most,
            value=found,
        )


def _decoded(text: Any, index: int, limits: BatchLimits) -> bytes:
    if not isinstance(text, str):
        raise BadPicture(f"picture {index} is no base64 text", index=index)
    check_image_bytes(len(text) * 3 // 4 - 2, index, limits)
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError as exc:
        raise BadPicture(f"picture {index} is no base64 text: {exc}", index=index) from exc
