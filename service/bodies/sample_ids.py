"""The field `ids`: what senders call their samples, so that one that comes again is known."""

from __future__ import annotations

from typing import Any

from learndrop.errors import BadInput
from service.bodies.batches import BatchLimits, as_list

MOST_CHARS = 128


def as_ids(raw: Any, limits: BatchLimits) -> list[str]:
    """A list of ids as text; whole numbers are ids too.

    Raises:
        BadInput: if it is no list, or naming the id that is bad.
        TooLarge: if there are more than a batch may hold.
    """
    return [as_id(one, index) for index, one in enumerate(as_list(raw, "ids", limits))]


def as_id(raw: Any, index: int) -> str:
    """One id as text, as it came.

    Raises:
        BadInput: naming its index, and the limit if one was passed.
    """
    item = f"ids[{index}]"
    if isinstance(raw, bool) or not isinstance(raw, str | int):
        told = "null" if raw is None else type(raw).__name__
        raise BadInput(f"id {index} is no text and no whole number: {told}", item=item)
    text = str(raw)
    if not 1 <= len(text) <= MOST_CHARS or not text.isprintable():
        raise BadInput(
            f"id {index} has {len(text)} characters; 1 to {MOST_CHARS} that can be shown are taken",
            item=item,
            limit=MOST_CHARS,
            value=len(text),
        )
    return text
