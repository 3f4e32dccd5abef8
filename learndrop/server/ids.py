"""Ids as a Redis stream gives them: milliseconds and a number within them."""

from __future__ import annotations

import re
import time

from learndrop.errors import BadInput

START = "0-0"
"""The position before the first entry."""

_ID = re.compile(r"(0|[1-9][0-9]{0,19})-(0|[1-9][0-9]{0,19})")
_MOST = 2**64 - 1


def oldest_id(age_s: float) -> str:
    """The least id of a Redis stream that is not older than so many seconds."""
    return str(max(1, int(1000 * (time.time() - age_s))))


def is_id(text: str) -> bool:
    """Whether it is an id as the server writes it: two numbers of 64 bits.

    >>> is_id("1764046800000-0"), is_id("1764046800000"), is_id("+")
    (True, False, False)
    >>> is_id("18446744073709551615-0"), is_id("18446744073709551616-0")
    (True, False)
    """
    found = _ID.fullmatch(text)
    return found is not None and all(int(number) <= _MOST for number in found.groups())


def is_cursor(text: str) -> bool:
    """Whether there can be something older than it: the server refuses to look before 0-0.

    >>> is_cursor("1764046800000-0"), is_cursor("0-0"), is_cursor("x")
    (True, False, False)
    """
    return is_id(text) and text != START


def older_than(cursor: str | None) -> str:
    """Where a page begins that goes back from `cursor`, as XREVRANGE takes it; None is the newest.

    Raises:
        BadInput: if the cursor is none that a page gave.

    >>> older_than("1764046800000-0"), older_than(None)
    ('(1764046800000-0', '+')
    """
    if cursor is None:
        return "+"
    if not is_cursor(cursor):
        raise BadInput("the cursor is none that a page gave", item="cursor", value=cursor[:80])
    return f"({cursor}"


def checked_id(entry_id: str) -> str:
    """The id of an entry as the server writes it.

    Raises:
        BadInput: if it is none.

    >>> checked_id("1764046800000-0")
    '1764046800000-0'
    """
    if not is_id(entry_id):
        raise BadInput("a sample's id looks like 1764046800000-0", item="id", value=entry_id[:80])
    return entry_id


def milliseconds(entry_id: str) -> int:
    """The first part of an id.

    >>> milliseconds("1764046800000-3")
    1764046800000
    """
    return int(entry_id.split("-")[0])
