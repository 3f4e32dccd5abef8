"""Answers of the network that can be asked for again: bounded, the oldest go first.

With each answer its picture is kept as the network saw it, so that a label that comes later makes a
sample of it (late_labels.py). Bounded in answers, in bytes and in age; `predictions_pixels` keeps
the answers alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from learndrop.answers.answer_scripts import DELETE, PUT, ROWS
from learndrop.errors import NotFound, StreamAway
from learndrop.server.connections import connect_async
from learndrop.server.ids import is_id, older_than, oldest_id
from learndrop.server.keys import Keys
from learndrop.server.mending import mending_async
from learndrop.settings import Settings
from learndrop.stream.messages import picture_of, pixel_fields

MOST_WAIT_S = 1.0
"""An answer is never held back longer than this to be stored."""
PAUSE_S = 1.0
"""After a store that failed, none is tried for this long."""
MOST_A_PAGE = 500
MOST_TOGETHER_BYTES = 4 * 1024 * 1024
"""Stored by one script: Redis serves nobody else meanwhile."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One stored answer.

    Attributes:
        id: given when it was stored.
        answer: JSON values, as they were stored.
        margin: between the two greatest probabilities; 1 where there is only one.
        pictured: whether its pixels are kept.
        label: that came later; None if none did.
        sample_id: of the sample made of it; None if none was.
        asked_by: name of the API key that asked; empty if none did.
    """

    id: str
    answer: Mapping[str, Any]
    margin: float
    pictured: bool
    label: str | None
    sample_id: str | None
    asked_by: str


class Answers:
    """The newest answers, in a stream of Redis.

    At most `predictions_kept`, `predictions_bytes` (with their pixels) and `predictions_ttl_s` old.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis: Any = connect_async(settings)
        self._settings, self._keys = settings, Keys(settings.name)
        self._held = self._keys.held_answers
        self._scripts = {text: self._redis.register_script(text) for text in (PUT, ROWS, DELETE)}
        self._wait_s = min(MOST_WAIT_S, settings.redis_timeout_s)
        self._not_before = 0.0

    async def put(
        self,
        answers: Sequence[Mapping[str, Any]],
        images: NDArray[np.uint8] | None = None,
        margins: Sequence[float] = (),
        asked_by: str = "",
    ) -> list[str]:
        """Store answers and give their ids, in order.

        Args:
            answers: JSON values; a later label is held against `label` and `model_version`.
            images: uint8 [N, S, S, 3], what each answer is about.
            margins: between the two greatest probabilities of each.
            asked_by: name of the API key that asked.

        Raises:
            StreamAway: if Redis did not take them within a second, or just failed to.
        """
        if time.monotonic() < self._not_before:
            raise StreamAway("Redis did not answer a moment ago")
        pixels = images if self._settings.predictions_pixels else None
        entries = [
            _fields(answer, None if pixels is None else pixels[n], [*margins[n : n + 1], 1.0][0])
            | ({b"asked-by": asked_by.encode()} if asked_by else {})
            for n, answer in enumerate(answers)
        ]
        ids: list[str] = []
        try:
            async with asyncio.timeout(self._wait_s):
                for some in _parcels(entries):
                    ids += (await self._put(some))[0]
        except (StreamAway, TimeoutError) as exc:
            self._not_before = time.monotonic() + PAUSE_S
            raise StreamAway(f"answers could not be stored: {exc or 'no answer in time'}") from exc
        return ids

    async def expire(self) -> int:
        """Take away what is over its age or a bound; how many went.

        Raises:
            StreamAway: if Redis does not answer.
        """
        total = 0
        while gone := (await self._put([]))[1]:
            total += gone
        return total

    async def get(self, answer_id: str) -> Kept:
        """The answer of that id.

        Raises:
            NotFound: if there is none, or none any more.
            StreamAway: if Redis does not answer.
        """
        if is_id(answer_id) and not self.expired(answer_id):
            rows = await self._rows("XRANGE", answer_id, answer_id, 1)
            if rows:
                return rows[0]
        raise self._not_kept(answer_id)

    async def picture(self, answer_id: str) -> tuple[NDArray[np.uint8], str]:
        """What that answer is about, uint8 [S, S, 3], and the name of the key that asked.

        Raises:
            NotFound: if there is no such answer any more, or its pixels were not kept.
            StreamAway: if Redis does not answer.
        """
        if not is_id(answer_id) or self.expired(answer_id):
            raise self._not_kept(answer_id)
        async with mending_async(self._redis, self._keys):
            found = await self._redis.xrange(self._keys.predictions, answer_id, answer_id)
        if not found:
            raise self._not_kept(answer_id)
        picture = picture_of(found[0][1])
        if picture is None:
            raise NotFound(f"the pixels of prediction {answer_id} were not kept")
        return picture, found[0][1].get(b"asked-by", b"").decode()

    async def page(self, cursor: str | None, limit: int) -> tuple[list[Kept], str | None]:
        """Up to `limit` answers older than `cursor`, newest first, and the next cursor.

        The cursor is None at the end. It stays valid while new answers arrive.

        Raises:
            BadInput: if the cursor is none of ours.
            StreamAway: if Redis does not answer.
        """
        newest = older_than(cursor)
        found = await self._rows("XREVRANGE", newest, self._oldest(), limit + 1)
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def delete(self, answer_id: str) -> str | None:
        """Take one away with its pixels; the id of the sample that a label made of it, if any.

        Raises:
            NotFound: if there is none, or none any more.
            StreamAway: if Redis does not answer.
        """
        if not is_id(answer_id):
            raise self._not_kept(answer_id)
        async with mending_async(self._redis, self._keys):
            gone, sample_id = await self._scripts[DELETE](self._held, [answer_id])
        if not gone:
            raise self._not_kept(answer_id)
        return _sample_id(sample_id)

    def expired(self, answer_id: str) -> bool:
        """Whether an answer of that id is older than `predictions_ttl_s`."""
        return int(answer_id.partition("-")[0]) < int(self._oldest())

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    def _oldest(self) -> str:
        """Ids begin with the time in milliseconds; those before this one are over their age."""
        return oldest_id(self._settings.predictions_ttl_s)

    async def _put(self, entries: Sequence[Mapping[bytes, bytes]]) -> tuple[list[str], int]:
        known = self._settings
        args: list[Any] = [known.predictions_kept, known.predictions_bytes]
        args += [f"({self._oldest()}-0", len(entries)]
        for fields in entries:
            args += [2 * len(fields), *(part for pair in fields.items() for part in pair)]
        async with mending_async(self._redis, self._keys):
            ids, gone = await self._scripts[PUT](self._held, args)
        return [one.decode() for one in ids], int(gone)

    async def _rows(self, way: str, start: str, end: str, most: int) -> list[Kept]:
        keys = [self._keys.predictions, self._keys.given]
        async with mending_async(self._redis, self._keys):
            rows = await self._scripts[ROWS](keys, [way, start, end, most])
        return [_read(row) for row in rows]

    def _not_kept(self, answer_id: str) -> NotFound:
        kept, age_s = self._settings.predictions_kept, self._settings.predictions_ttl_s
        return NotFound(
            f"no prediction {answer_id[:80]!r} is kept (the newest {kept} are, for {age_s:g} s)"
        )


def _fields(
    answer: Mapping[str, Any], image: NDArray[np.uint8] | None, margin: float
) -> dict[bytes, bytes]:
    fields = {
        b"answer": orjson.dumps(answer),
        b"said": str(answer.get("label", "")).encode(),
        b"version": b"%d" % int(answer.get("model_version", 0)),
        b"margin": b"%.6f" % margin,
    }
    return fields if image is None else fields | pixel_fields(image)


def _parcels(
    entries: Sequence[Mapping[bytes, bytes]],
) -> Iterator[list[Mapping[bytes, bytes]]]:
    some: list[Mapping[bytes, bytes]] = []
    size = 0
    for fields in entries:
        more = sum(map(len, fields.values()))
        if some and size + more > MOST_TOGETHER_BYTES:
            yield some
            some, size = [], 0
        some.append(fields)
        size += more
    if some:
        yield some


def _read(row: Sequence[Any]) -> Kept:
    answer: dict[str, Any] = orjson.loads(row[1])
    sample_id, _, label = row[4].decode().partition(" ")
    margin = float(row[2] or 1)  # stored by a version that kept none
    made = _sample_id(sample_id.encode())
    return Kept(row[0].decode(), answer, margin, bool(row[3]), label or None, made, row[5].decode())


def _sample_id(told: bytes) -> str | None:
    return None if told in (b"", b"-") else told.decode()
