"""Answers of the network that can be asked for again: bounded, the oldest go first."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from learndrop.connections import connect_async, translated
from learndrop.errors import BadInput, NotFound, StreamAway
from learndrop.keys import Keys
from learndrop.settings import Settings

MOST_WAIT_S = 1.0
"""An answer is never held back longer than this to be stored."""
PAUSE_S = 1.0
"""After a store that failed, none is tried for this long."""
MOST_A_PAGE = 500

_ID = re.compile(r"\d{1,20}-\d{1,20}")


class Answers:
    """The newest `predictions_kept` answers, in a stream of Redis.

    An answer is a dict of JSON values; its id is given when it is stored and is not inside.
    """

    def __init__(self, settings: Settings) -> None:
        self._redis: Any = connect_async(settings)
        self._key = Keys(settings.name).predictions
        self._kept = settings.predictions_kept
        self._wait_s = min(MOST_WAIT_S, settings.redis_timeout_s)
        self._not_before = 0.0

    async def put(self, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        """Store answers and give their ids, in order.

        Raises:
            StreamAway: if Redis did not take them within a second, or just failed to.
        """
        if time.monotonic() < self._not_before:
            raise StreamAway("Redis did not answer a moment ago")
        try:
            with translated():
                async with asyncio.timeout(self._wait_s):
                    return await self._add(answers)
        except StreamAway:
            self._not_before = time.monotonic() + PAUSE_S
            raise

    async def _add(self, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        pipe = self._redis.pipeline(transaction=False)
        for answer in answers:
            pipe.xadd(
                self._key, {"answer": orjson.dumps(answer)}, maxlen=self._kept, approximate=True
            )
        return [entry.decode() for entry in await pipe.execute()]

    async def get(self, answer_id: str) -> dict[str, Any]:
        """The answer of that id, with `id`.

        Raises:
            NotFound: if there is none, or none any more.
            StreamAway: if Redis does not answer.
        """
        if _ID.fullmatch(answer_id):
            with translated():
                found = await self._redis.xrange(self._key, answer_id, answer_id)
            if found:
                return _read(found[0])
        raise NotFound(f"no prediction {answer_id!r} is kept (the newest {self._kept} are)")

    async def page(self, cursor: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
        """Up to `limit` answers older than `cursor`, newest first, and the next cursor.

        The cursor is None at the end. It stays valid while new answers arrive.

        Raises:
            BadInput: if the cursor is none of ours.
            StreamAway: if Redis does not answer.
        """
        if cursor is not None and not _ID.fullmatch(cursor):
            raise BadInput("the cursor is none that a page gave", item="cursor", value=cursor[:80])
        newest = f"({cursor}" if cursor else "+"
        with translated():
            found = await self._redis.xrevrange(self._key, newest, "-", count=limit + 1)
        answers = [_read(entry) for entry in found[:limit]]
        return answers, answers[-1]["id"] if len(found) > limit else None

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()


def _read(entry: tuple[bytes, Mapping[bytes, bytes]]) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(entry[1][b"answer"])
    return {"id": entry[0].decode(), **answer}
