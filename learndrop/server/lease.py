"""Who leads: of several workers on one model, one at a time may write.

The lease is a hash in Redis: a token that grows with every holder, and a beat that the holder moves
on. Each script by which a worker writes compares the token, so that a holder who was stopped, was
thought dead and wakes up can change nothing. There is no expiry and no wall clock: whoever waits
looks at the beat, and takes over when it has not moved for `lease_s` of its own steady clock. So a
clock that jumps, here or on the server, neither loses nor prolongs a lease.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from learndrop.errors import NotLeading, StreamAway
from learndrop.server.connections import connect, translated
from learndrop.server.keys import Keys
from learndrop.server.mending import mending
from learndrop.server.script_parts import ALWAYS
from learndrop.settings import Settings

BEATS = 3  # in the time of one lease

_TAKE = (
    ALWAYS
    + """
-- KEYS lease; ARGV token and beat as they were seen last, owner, least token. It passes on if
-- nobody has it or it is as it was seen. Returns the new token, or 0 and what is seen now.
local held = redis.call('HMGET', KEYS[1], 'token', 'beat', 'owner')
local token, beat, owner = held[1] or '0', held[2] or '', held[3] or ''
if owner ~= '' and (token ~= ARGV[1] or beat ~= ARGV[2]) then
  return {0, token, beat, owner}
end
local new = math.max(tonumber(token), tonumber(ARGV[4])) + 1
redis.call('HSET', KEYS[1], 'token', string.format('%.0f', new), 'beat', 0, 'owner', ARGV[3])
return {new}
"""
)

_RENEW = (
    ALWAYS
    + """
-- KEYS lease; ARGV token, owner, whether a lease that is gone may be made again. Returns 1 if kept.
local token = redis.call('HGET', KEYS[1], 'token')
if token == ARGV[1] then
  redis.call('HINCRBY', KEYS[1], 'beat', 1)
  return 1
end
if token or ARGV[3] == '0' then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'beat', 0, 'owner', ARGV[2])
return 1
"""
)

_RELEASE = """
-- KEYS lease; ARGV token.
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then redis.call('HSET', KEYS[1], 'owner', '') end
return 0
"""


class Lease:
    """One worker's claim to lead; `renew` may be called from a second thread.

    Attributes:
        token: the number under which this worker leads or led; 0 before it ever did.
        owner: how it is called in the log of those that wait.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.token = 0
        self.owner = f"{settings.consumer} on {socket.gethostname()}, process {os.getpid()}"
        self._lease_s, self._clock = settings.lease_s, clock
        self._keys = Keys(settings.name)
        self._redis: Any = connect(settings)
        self._take = self._redis.register_script(_TAKE)
        self._renew = self._redis.register_script(_RENEW)
        self._release = self._redis.register_script(_RELEASE)
        self._seen, self._since = ("", ""), 0.0
        self._renewed_at = 0.0
        self._lost: NotLeading | None = None

    def look(self, *, least: int = 0, dead: bool = False) -> str | None:
        """Look once, and take the lease if it is free or its holder silent for `lease_s`.

        Args:
            least: a number that the token must pass.
            dead: whether the holder that was seen last is known to have ended: no need to wait.

        Returns:
            None when it is taken, else who has it.

        Raises:
            StreamAway: when Redis does not answer.
        """
        began = self._clock()
        silent = dead or began - self._since >= self._lease_s
        seen = self._seen if silent else ("", "")
        with mending(self._redis, self._keys):
            said = self._take([self._keys.lease], [*seen, self.owner, least])
        if said[0]:
            self.token, self._renewed_at, self._lost = int(said[0]), began, None
            self._seen = ("", "")
            return None
        now = (said[1].decode(), said[2].decode())
        if now != self._seen:
            self._seen, self._since = now, self._clock()
        owner: str = said[3].decode("utf-8", "replace")
        return owner

    def take(self) -> int:
        """Take the lease at once, whoever has it; returns the token.

        Raises:
            StreamAway: when Redis does not answer.
        """
        while self.look(dead=True) is not None:
            pass
        return self.token

    def renew(self) -> None:
        """Move the beat on.

        Raises:
            NotLeading: when another worker has taken the lease.
            StreamAway: when Redis does not answer; the lease may still be this worker's.
        """
        began = self._clock()
        fresh = began - self._renewed_at < self._lease_s
        with translated():
            kept = self._renew([self._keys.lease], [self.token, self.owner, int(fresh)])
        if not kept:
            raise NotLeading(f"the lease {self.token} was taken over by another worker")
        self._renewed_at = began

    def confirm(self) -> None:
        """Ask nobody, but tell what a renewal has found.

        Raises:
            NotLeading: when the lease is known to be lost.
        """
        if self._lost:
            raise NotLeading(str(self._lost))

    def release(self) -> None:
        """Let the next worker lead at once; nothing happens when another does already."""
        with suppress(StreamAway), translated():
            self._release([self._keys.lease], [self.token])

    @contextmanager
    def kept(self, alive: Callable[[], bool]) -> Iterator[None]:
        """Renew from a thread while the block runs, as long as `alive()`: a step may take long.

        Whoever has lost the lease learns of it by the first thing that it wants to write, or by
        `confirm`.
        """
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(self._lease_s / BEATS):
                if not alive():
                    continue
                try:
                    self.renew()
                except NotLeading as exc:
                    self._lost = exc
                    return
                except StreamAway:
                    continue

        thread = threading.Thread(target=beat, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()
