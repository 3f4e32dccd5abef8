"""What a request body holds, whatever its content type: pictures, and labels where they belong."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from learndrop.errors import BadInput, BadPicture, TooLarge
from learndrop.settings import Settings
from service.decoding.inputs import Picture

MOST_COMPOSED = 4
"""Characters that NFC makes one of, at most: a label that is longer by more cannot fit."""
MOST_MARKS = 30
"""Accents on one letter; no language has nearly as many."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one request may hold."""

    images: int
    image_bytes: int
    label_chars: int
    body_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> BatchLimits:
        """The limits that the settings state."""
        return cls(
            images=settings.max_batch,
            image_bytes=settings.max_image_bytes,
            label_chars=settings.max_label_chars,
            body_bytes=settings.max_body_bytes,
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures of one request, all files or all pixels, a label for each and an id; None where none
    were sent."""

    images: Sequence[Picture]
    labels: list[str] | None
    ids: list[str] | None = None


def check_count(count: int, limits: BatchLimits) -> None:
    """Refuse a number of pictures over the limit, before they are looked at.

    Raises:
        TooLarge: naming limit and value.
    """
    if count > limits.images:
        raise TooLarge(
            f"{count} or more images, the limit is {limits.images} in one request",
            item="images",
            limit=limits.images,
            value=count,
        )


def check_text_count(count: int, item: str, limits: BatchLimits) -> None:
    """Refuse a number of labels or ids (`item`) over the limit of images.

    Raises:
        TooLarge: naming limit and value.
    """
    if count > limits.images:
        raise TooLarge(
            f"{count} or more {item}, the limit is {limits.images} in one request",
            item=item,
            limit=limits.images,
            value=count,
        )


def check_image_bytes(count: int, index: int, limits: BatchLimits) -> None:
    """Refuse an encoded picture over the limit, before it is copied or decoded.

    Raises:
        BadPicture: naming index, limit and value.
    """
    if count > limits.image_bytes:
        raise BadPicture(
            f"picture {index} has {count} bytes or more, the limit is {limits.image_bytes}",
            index=index,
            limit=limits.image_bytes,
            value=count,
        )


def checked(batch: Batch, limits: BatchLimits, *, labelled: bool) -> Batch:
    """Refuse what cannot be a batch.

    Raises:
        BadInput: no image; labels or ids missing, too many, too few, or not wanted.
        TooLarge: more images than the limit.
    """
    count = len(batch.images)
    check_count(count, limits)
    if count == 0:
        raise BadInput("the batch has no image", item="images", limit=limits.images, value=0)
    if not labelled:
        for item, texts in (("labels", batch.labels), ("ids", batch.ids)):
            if texts is not None:
                raise BadInput(f"a prediction takes no {item}: send images only", item=item)
        return batch
    if not batch.labels:
        raise BadInput(f"labels are missing for {count} images", item="labels", value=0)
    for item, texts in (("labels", batch.labels), ("ids", batch.ids)):
        if texts is not None and len(texts) != count:
            told = f"{count} images and {len(texts)} {item}"
            raise BadInput(told, item=item, limit=count, value=len(texts))
    return batch


def as_label(raw: Any, index: int, limits: BatchLimits) -> str:
    """One label as text: a name, or a whole number.

    Spaces around a name are taken off and its letters composed (NFC), so that two spellings that
    look the same are one class. A text that cannot fit is refused before that is done.

    Raises:
        BadInput: naming the label's index, and the limit if one was passed.
    """
    item = f"labels[{index}]"
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        told = "null" if raw is None else type(raw).__name__
        raise BadInput(f"label {index} is no name and no whole number: {told}", item=item)
    text = str(raw).strip()
    _check_chars(text, MOST_COMPOSED * limits.label_chars, index, limits)
    if not text.isascii():
        _check_marks(text, index)
        text = unicodedata.normalize("NFC", text).strip()
    if not text:
        raise BadInput(f"label {index} is empty", item=item)
    _check_chars(text, limits.label_chars, index, limits)
    if not text.isprintable():
        raise BadInput(f"label {index} holds characters that cannot be shown", item=item)
    return text


def _check_chars(text: str, most: int, index: int, limits: BatchLimits) -> None:
    if len(text) > most:
        raise BadInput(
            f"label {index} has {len(text)} characters, the limit is {limits.label_chars}",
            item=f"labels[{index}]",
            limit=limits.label_chars,
            value=len(text),
        )


def _check_marks(text: str, index: int) -> None:
    """Composing puts marks in order, in a time that grows with the square of how many there are."""
    row = 0
    for letter in text:
        row = row + 1 if unicodedata.combining(letter) else 0
        if row > MOST_MARKS:
            raise BadInput(
                f"label {index} has more than {MOST_MARKS} accents on one letter",
                item=f"labels[{index}]",
                limit=MOST_MARKS,
            )


def as_labels(raw: Any, limits: BatchLimits) -> list[str]:
    """A list of labels as text.

    Raises:
        BadInput: if it is no list, or naming the label that is bad.
        TooLarge: if there are more than a batch may hold.
    """
    known: dict[str, str] = {}  # a batch has few labels
    labels = []
    for index, one in enumerate(as_list(raw, "labels", limits)):
        label = known.get(one) if type(one) is str else None
        if label is None:
            label = as_label(one, index, limits)
            if type(one) is str:
                known[one] = label
        labels.append(label)
    return labels


def as_list(raw: Any, what: str, limits: BatchLimits) -> list[Any]:
    """What was given as a list of `what`, one for each picture of a batch.

    Raises:
        BadInput: if it is no list.
        TooLarge: if there are more than a batch may hold.
    """
    if not isinstance(raw, list):
        raise BadInput(f"{what} are no list", item=what, value=type(raw).__name__)
    check_text_count(len(raw), what, limits)
    return raw
