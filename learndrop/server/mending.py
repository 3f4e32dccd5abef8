"""Keys of ours that another hand gave a value of another type: set aside, so that work goes on.

Nothing of ours can have written such a value, and nothing of ours can use the key while it is
there. It is renamed, not deleted; what lay there before was lost when it was overwritten, and the
account counts it as vanished.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import redis

from learndrop.server.connections import translated
from learndrop.server.keys import Keys

log = logging.getLogger(__name__)

_MEND = """
-- KEYS each key and the name that a stranger's value gets; ARGV their types. Returns who moved.
local moved = {}
for n, wanted in ipairs(ARGV) do
  local key, aside = KEYS[2 * n - 1], KEYS[2 * n]
  local found = redis.call('TYPE', key)['ok']
  if found ~= 'none' and found ~= wanted then
    redis.call('RENAME', key, aside)
    moved[#moved + 1] = key
  end
end
return moved
"""


@contextmanager
def mending(client: Any, keys: Keys) -> Iterator[None]:
    """Around whatever asks Redis: its errors become ours, as `translated` has them.

    When the block meets a stranger's value, it is set aside; the error is raised all the same, and
    the next try finds the key free.
    """
    with translated():
        try:
            yield
        except redis.ResponseError as exc:
            if _met_a_stranger(exc):
                _tell(client.eval(*_mend(keys)))
            raise


@asynccontextmanager
async def mending_async(client: Any, keys: Keys) -> AsyncIterator[None]:
    """The same for asyncio."""
    with translated():
        try:
            yield
        except redis.ResponseError as exc:
            if _met_a_stranger(exc):
                _tell(await client.eval(*_mend(keys)))
            raise


def _met_a_stranger(error: redis.ResponseError) -> bool:
    return "WRONGTYPE" in str(error)


def _mend(keys: Keys) -> list[Any]:
    """Arguments of EVAL that rename every key whose value is of a wrong type."""
    pairs = [name for key in keys.types for name in (key, f"{key}:set-aside")]
    return [_MEND, len(pairs), *pairs, *keys.types.values()]


def _tell(moved: list[bytes]) -> None:
    for name in (key.decode() for key in moved):
        log.error("%s held a value of another type: renamed to %s:set-aside", name, name)
