"""What the worker tells about the learner, and the service shows: its state and its events."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from learndrop.errors import StreamAway
from learndrop.events import Event
from learndrop.server.connections import connect, connect_async
from learndrop.server.keys import Keys
from learndrop.server.mending import mending, mending_async
from learndrop.server.script_parts import FENCE
from learndrop.settings import Settings

_STATE = (
    FENCE
    + """
-- KEYS state; ARGV the state.
redis.call('SET', KEYS[1], ARGV[1])
"""
)

_EVENTS = (
    FENCE
    + """
-- KEYS events; ARGV most events kept (or a few more: whole nodes go), then each event.
for n = 2, #ARGV do
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', 'event', ARGV[n])
end
"""
)


class WorkerBoard:
    """Where the worker that leads writes.

    No event is lost while Redis is away, but the oldest beyond a bound. `put_state` and
    `add_events` raise StreamAway; events are then told with the next call. They raise NotLeading
    once another worker has taken over: nothing is changed then, or the page would show the state
    of a worker that learns no more.

    Args:
        settings: where the server is, and how many events are kept.
        token: of the lease under which this worker leads; see lease.py.
    """

    def __init__(self, settings: Settings, token: int) -> None:
        self._token = token
        self._keys = Keys(settings.name)
        self._kept = settings.events_kept
        self._redis: Any = connect(settings)
        self._state = self._redis.register_script(_STATE)
        self._events = self._redis.register_script(_EVENTS)
        self._untold: deque[Event] = deque(maxlen=settings.events_kept)

    def put_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state. JSON values and numpy numbers; NaN and infinity become null."""
        told = orjson.dumps(state, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
        with mending(self._redis, self._keys):
            self._state([self._keys.state, self._keys.lease], [told, self._token])

    def add_events(self, events: Sequence[Event]) -> None:
        """Append events, after those that could not be told before."""
        self._untold.extend(events)
        if not self._untold:
            return
        told = [orjson.dumps(e.to_json(), option=orjson.OPT_SERIALIZE_NUMPY) for e in self._untold]
        with mending(self._redis, self._keys):
            keys = [self._keys.events, self._keys.lease]
            self._events(keys, [self._kept, *told, self._token])
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
        async with mending_async(self._redis, self._keys):
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
        async with mending_async(self._redis, self._keys):
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
