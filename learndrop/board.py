"""What the worker tells about the learner, and the service shows: its state and its events."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from learndrop.connections import connect, connect_async, translated
from learndrop.errors import StreamAway
from learndrop.events import Event
from learndrop.keys import Keys
from learndrop.settings import Settings


class WorkerBoard:
    """Where the worker writes; no event is lost while Redis is away, but the oldest beyond a bound.

    `put_state` and `add_events` raise StreamAway; events are then told with the next call.
    """

    def __init__(self, settings: Settings) -> None:
        self._keys = Keys(settings.name)
        self._kept = settings.events_kept
        self._redis: Any = connect(settings)
        self._untold: deque[Event] = deque(maxlen=settings.events_kept)

    def put_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state. JSON values and numpy numbers; NaN and infinity become null."""
        told = orjson.dumps(state, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        with translated():
            self._redis.set(self._keys.state, told)

    def add_events(self, events: Sequence[Event]) -> None:
        """Append events, after those that could not be told before."""
        self._untold.extend(events)
        if not self._untold:
            return
        with translated(), self._redis.pipeline(transaction=True) as pipe:
            for event in self._untold:
                told = orjson.dumps(event.to_json(), option=orjson.OPT_SERIALIZE_NUMPY)
                pipe.xadd(self._keys.events, {b"event": told}, maxlen=self._kept, approximate=True)
            pipe.execute()
        self._untold.clear()

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()


class ServiceBoard:
    """Where the service reads."""

    def __init__(self, settings: Settings) -> None:
        self._keys = Keys(settings.name)
        self._kept = settings.events_kept
        self._redis: Any = connect_async(settings)

    async def state(self) -> dict[str, Any] | None:
        """The state told last; None before the worker's first word.

        Raises:
            StreamAway: when Redis does not answer, or what lies there is no state.
        """
        with translated():
            told = await self._redis.get(self._keys.state)
        if told is None:
            return None
        try:
            state: dict[str, Any] = orjson.loads(told)
        except orjson.JSONDecodeError as exc:
            raise StreamAway(f"the state in Redis cannot be read: {exc}") from exc
        return state

    async def events(self, limit: int) -> list[Event]:
        """The last `limit` events, newest first; what cannot be read is left out.

        Raises:
            StreamAway: when Redis does not answer.
        """
        if limit < 1:
            return []
        with translated():
            told = await self._redis.xrevrange(self._keys.events, count=min(limit, self._kept))
        return [event for _, fields in told if (event := _event(fields))]

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


def _event(fields: Mapping[bytes, bytes]) -> Event | None:
    try:
        return Event.from_json(orjson.loads(fields[b"event"]))
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return None
