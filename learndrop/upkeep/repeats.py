"""Changes that are asked for again under the same Idempotency-Key: answered as the first time.

Samples need none of this: their key is remembered in the script that takes them. Here the answer
is written down after the change, so a death between the two leaves a change that nobody remembers;
after `UNDER_WAY_S` it may be made again. It is for changes that do little harm then: a letter that
was put back is not found, a label that was given is `repeated`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from learndrop.errors import StillRunning
from learndrop.server.connections import connect_async
from learndrop.server.keys import Keys
from learndrop.server.mending import mending_async
from learndrop.settings import Settings
from learndrop.stream.publish_script import ANSWER, RESERVE, WINDOW
from learndrop.stream.taking import other_content, owned

UNDER_WAY_S = 60
LONG_BYTES = 512
"""Answers over this are kept compressed: those to many labels are long and monotonous."""


class Repeats:
    """Remembers answers beside the batches of samples, within the same bounds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis: Any = connect_async(settings)
        self._keys = Keys(settings.name)
        self._batches = self._keys.remembered
        self._reserve = self._redis.register_script(RESERVE)
        self._answer = self._redis.register_script(ANSWER)
        self._window = self._redis.register_script(WINDOW)

    async def once(
        self, who: str, key: str, content: str, make: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> dict[str, Any]:
        """Make a change and remember its answer (JSON values), or give the one remembered.

        `content` says what is asked; a change that raises is not remembered. Without a key the
        change is made each time.

        Raises:
            OtherContent: if the key came with other content.
            StillRunning: if the first request is under way.
            StreamAway: if Redis does not answer; the change may have been made.
        """
        if not key:
            return dict(await make())
        name, digest = owned(who, f"change {key}"), owned("", content).hex()
        known = self._settings
        args: list[Any] = [name, digest, math.ceil(known.idempotency_ttl_s), known.idempotency_kept]
        async with mending_async(self._redis, self._keys):
            what, *told = await self._reserve(self._batches, [*args, UNDER_WAY_S, who])
        if what == b"other":
            raise other_content()
        if what == b"running":
            raise StillRunning("the request with this Idempotency-Key is under way")
        if what == b"again":
            return _unpacked(told[0])
        try:
            answer = dict(await make())
        except BaseException:
            async with mending_async(self._redis, self._keys):
                await self._answer(self._batches, [name, digest, "", who])
            raise
        async with mending_async(self._redis, self._keys):
            await self._answer(self._batches, [name, digest, _packed(answer), who])
        return answer

    async def window(self) -> tuple[int, float]:
        """How many batches are remembered, and the age in seconds of the one that goes next.

        Raises:
            StreamAway: if Redis does not answer.
        """
        async with mending_async(self._redis, self._keys):
            number, age_s = await self._window(self._batches, [])
        return int(number), float(age_s)

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()


def _packed(answer: Mapping[str, Any]) -> bytes:
    """As JSON, which begins with a brace, or compressed, which does not.

    >>> _unpacked(_packed({"a": "b"})), len(_packed({"a": "b" * 1000})) < 100
    ({'a': 'b'}, True)
    """
    told = orjson.dumps(answer)
    return told if len(told) <= LONG_BYTES else zlib.compress(told)


def _unpacked(told: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(told if told.startswith(b"{") else zlib.decompress(told))
    return answer
