"""Keys of ours that another hand gave a value of another type: set aside, so that work goes on.

Nothing of ours can have written such a value, and nothing of ours can use the key while it is
there. It is renamed, not deleted; what lay there before was lost when it was overwritten, and the
account counts it as vanished.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from learndrop.keys import Keys

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
def mended(client: Any, keys: Keys) -> Iterator[None]:
    """Set strangers' values aside when the block meets one; its error is raised all the same."""
    try:
        yield
    except redis.ResponseError as exc:
        if "WRONGTYPE" in str(exc):
            mend(client, keys)
        raise


def mend(client: Any, keys: Keys) -> list[str]:
    """Rename every key whose value is of a wrong type; returns these keys."""
    pairs = [name for key in keys.types for name in (key, f"{key}:set-aside")]
    moved = client.eval(_MEND, len(pairs), *pairs, *keys.types.values())
    names = [key.decode() for key in moved]
    for name in names:
        log.error("%s held a value of another type: renamed to %s:set-aside", name, name)
    return names
