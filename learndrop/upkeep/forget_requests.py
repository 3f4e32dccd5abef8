"""The worker's half of a deletion: what it is asked to forget, and what it then says of that.

Requests lie on a stream of their own, which the worker reads in every turn and from the start after
a restart, since an older checkpoint has the image still. A request leaves that stream when no
checkpoint has. The service's half is deleting.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from learndrop.server.connections import FENCED, connect
from learndrop.server.keys import Keys
from learndrop.server.mending import mending
from learndrop.server.script_parts import FENCE
from learndrop.settings import Settings

log = logging.getLogger(__name__)

TIMES_WRITTEN_S = 0.001
"""A request tells its time no more exactly."""


@dataclass(frozen=True, slots=True)
class Request:
    """One sample that the worker must forget.

    Attributes:
        id: of the request.
        sample_id: the sample's.
        asked_s: unix time.
        receipt: sample id under which its receipt lies; empty if nobody asked for one.
    """

    id: str
    sample_id: str
    asked_s: float
    receipt: str


_CLOSE = (
    FENCE
    + """
-- KEYS deletions; ARGV ids of requests.
return redis.call('XDEL', KEYS[1], unpack(ARGV))
"""
)


class ForgetRequests:
    """The requests of one model. Every method raises StreamAway when Redis does not answer, and
    those that change something raise NotLeading once another worker has taken over.

    Args:
        settings: of the model.
        token: of the lease under which this worker leads; see lease.py.
    """

    def __init__(self, settings: Settings, token: int) -> None:
        self._keys, self._token = Keys(settings.name), token
        self._redis: Any = connect(settings)
        self._close = self._redis.register_script(_CLOSE)
        self._refused = False

    def after(self, last: str) -> list[Request]:
        """Requests that came after that one, in order; `0-0` gives all that are open."""
        with mending(self._redis, self._keys):
            found = self._redis.xrange(self._keys.deletions, f"({last}", "+", count=1000)
        return [_request(entry_id, fields) for entry_id, fields in found]

    def forgotten(self, requests: Sequence[Request], replayed: Set[str]) -> None:
        """Write into the receipts that the worker's memory has none of them any more."""
        for name, mine in _by_receipt(requests).items():
            found = any(r.sample_id in replayed for r in mine)
            self._note(name, mine, forgotten_s=time.time(), replayed=found)

    def erased(self, requests: Sequence[Request]) -> None:
        """Close requests: no checkpoint has them. Redis is asked to rewrite its own log."""
        if not requests:
            return
        for name, mine in _by_receipt(requests).items():
            self._note(name, mine, erased_s=time.time())
        closed = [r.id for r in requests]
        with mending(self._redis, self._keys):
            self._close([self._keys.deletions, self._keys.lease], [*closed, self._token])
            try:
                self._redis.bgrewriteaof()
            except redis.exceptions.NoPermissionError as exc:
                self._tell_refused(exc)
            except redis.ResponseError:
                pass  # one runs already, or there is no such log

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _tell_refused(self, error: Exception) -> None:
        if not self._refused:
            log.warning(
                "deleted samples stay in the log files of Redis until it rewrites them by itself:"
                " this user may not ask for that (+bgrewriteaof): %s",
                error,
            )
        self._refused = True

    def _note(self, name: str, requests: Sequence[Request], **told: Any) -> None:
        """Fill in what a receipt does not say yet; that it was replayed is never taken back.

        A request that is older than the last thing found does not speak for that.
        """
        key, asked_s = self._keys.receipt(name), max(r.asked_s for r in requests)

        def fill_in(pipe: Any) -> None:
            leads = pipe.hget(self._keys.lease, "token")
            if leads != b"%d" % self._token:  # as scripts that must not be run say it
                why = f"{FENCED} another leads" if leads else "NOLEASE the lease is gone"
                raise redis.ResponseError(why)
            written = pipe.get(key)
            pipe.multi()
            known = orjson.loads(written) if written else {}
            if not known or asked_s < known["asked_s"] - TIMES_WRITTEN_S:
                return
            news = {field: v for field, v in told.items() if known[field] in (None, False)}
            pipe.set(key, orjson.dumps(known | news), keepttl=True)

        with mending(self._redis, self._keys):
            self._redis.transaction(fill_in, key, self._keys.lease)


def _by_receipt(requests: Sequence[Request]) -> dict[str, list[Request]]:
    found: dict[str, list[Request]] = {}
    for request in requests:
        if request.receipt:
            found.setdefault(request.receipt, []).append(request)
    return found


def _request(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Request:
    return Request(
        entry_id.decode(),
        fields[b"sample"].decode(),
        float(fields[b"at"]),
        fields.get(b"receipt", b"").decode(),
    )
