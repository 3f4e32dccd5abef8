"""Somebody who reads the account from outside, again and again, and knows what may never be."""

from __future__ import annotations

import time
from typing import Any

import httpx2
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.local import LocalStack
from learndrop.server.keys import Keys
from tests.background import Background

ENDS = ("learned", "buried", "deleted", "pending")


class Observer(Background):
    """Reads Redis (raw counters and the stream's length, in one transaction) and GET /v1/state.

    Attributes:
        readings: of Redis, that were answered.
        answers: of GET /v1/state with 200.
        violations: what was not as it must be; accepted = the sum of the ends, nothing shrinks.
    """

    def __init__(self, stack: LocalStack, *, every_s: float) -> None:
        self._keys = Keys(stack.settings.name)
        retry = Retry(NoBackoff(), 0)
        self._redis: Any = redis.Redis(
            port=stack.redis.port, retry=retry, socket_timeout=10.0, decode_responses=True
        )
        self._url, self._every_s = stack.service.url, every_s
        self.readings = self.answers = self.unanswered = 0
        self.violations: list[str] = []
        super().__init__(self._read, self._ask)

    def account(self) -> dict[str, int]:
        """What Redis has at this moment."""
        with self._redis.pipeline(transaction=True) as both:
            both.hgetall(self._keys.counters)
            both.xlen(self._keys.stream)
            counters, pending = both.execute()
        told = {name: int(counters.get(name, 0)) for name in ("accepted", *ENDS[:-1])}
        return told | {"pending": int(pending)}

    def _read(self) -> None:
        before: dict[str, int] = {}
        while not self.stop.wait(self._every_s):
            try:
                account = self.account()
            except (redis.RedisError, OSError):
                self.unanswered += 1
                continue
            self.readings += 1
            self._check("Redis", account, before)
            before = account

    def _ask(self) -> None:
        before: dict[str, int] = {}
        with httpx2.Client(base_url=self._url, timeout=10.0) as http:
            while not self.stop.wait(self._every_s):
                try:
                    answer = http.get("/v1/state")
                except httpx2.TransportError:
                    continue
                if answer.status_code != 200:
                    continue
                self.answers += 1
                account = answer.json()["samples"]
                self._check("GET /v1/state", account, before)
                before = account

    def _check(self, where: str, now: dict[str, int], before: dict[str, int]) -> None:
        ends = sum(now.get(name, 0) for name in ENDS)
        if now["accepted"] != ends:
            self.violations.append(f"{where} at {time.time():.3f}: {now} adds up to {ends}")
        for name in ("accepted", *ENDS[:-1]):
            if now.get(name, 0) < before.get(name, 0):
                self.violations.append(f"{where}: {name} fell from {before[name]} to {now[name]}")

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self._redis.close()
