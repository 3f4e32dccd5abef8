"""How often one key may ask: a sliding window for each, counted in this process.

Not in Redis: each count there would be a write to its disk, several times the cost of the request
that it guards. Several services behind one address allow that many times the rate.
"""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from learndrop.errors import RateLimited
from learndrop.settings import Settings
from service.auth import Caller


class KeyRates:
    """Counts the requests of each key against `key_rate`, or the rate of its own."""

    def __init__(self, settings: Settings) -> None:
        self._rate = settings.key_rate
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._items: dict[str, RateLimitItem] = {}

    def hit(self, caller: Caller) -> tuple[dict[str, str], RateLimited | None]:
        """Count one request: headers for the answer, and the refusal if it is one too many."""
        rate = caller.rate or self._rate
        if not rate:
            return {}, None
        item = self._item(rate)
        allowed = self._limiter.hit(item, caller.name)
        window = self._limiter.get_window_stats(item, caller.name)
        reset_s = max(0.0, window.reset_time - time.time())
        headers = {
            "ratelimit-limit": str(item.amount),
            "ratelimit-remaining": str(window.remaining if allowed else 0),
            "ratelimit-reset": str(math.ceil(reset_s)),
        }
        if allowed:
            return headers, None
        refusal = RateLimited(
            f"the key {caller.name!r} may ask {rate} and has",
            retry_after_s=max(reset_s, 0.1),
            limit=rate,
        )
        return headers, refusal

    def _item(self, rate: str) -> RateLimitItem:
        if rate not in self._items:
            self._items[rate] = parse(rate)
        return self._items[rate]
