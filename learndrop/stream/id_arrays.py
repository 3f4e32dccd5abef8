"""What samples are called outside (their ids on the stream), as numbers that arrays can hold."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UNNAMED = (-1, -1)
_ID = re.compile(r"(\d{1,18})-(\d{1,18})")


def parts(stream_id: str) -> tuple[int, int]:
    """An id of the stream as milliseconds and number, or UNNAMED.

    >>> parts("1764046800000-3"), parts("")
    ((1764046800000, 3), (-1, -1))
    """
    found = _ID.fullmatch(stream_id)
    return (int(found[1]), int(found[2])) if found else UNNAMED


def as_rows(stream_ids: Sequence[str], count: int) -> NDArray[np.int64]:
    """int64 [count, 2] of so many ids, or of none where they are not known."""
    named = [parts(one) for one in stream_ids] or [UNNAMED] * count
    return np.array(named, np.int64).reshape(count, 2)


def among(rows: NDArray[np.int64], stream_ids: Sequence[str]) -> NDArray[np.bool_]:
    """Which rows [N, 2] are one of the ids."""
    wanted = {parts(one) for one in stream_ids} - {UNNAMED}
    return np.array([tuple(row) in wanted for row in rows.tolist()], bool)


def before(rows: NDArray[np.int64], unix_s: float) -> NDArray[np.bool_]:
    """Which rows [N, 2] the stream was given before that time; those without a name were not."""
    return np.asarray((rows[:, 0] >= 0) & (rows[:, 0] < 1000 * unix_s))
