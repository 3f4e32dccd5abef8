"""A running stack under observation: probes that are waited for, readiness, lines of the logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import redis

from deploy.local import LocalStack
from learndrop.server.keys import Keys
from tests.chaos.ledger import CLASSES, SIDE, Ledger
from tests.chaos.load import body

QUICK: dict[str, Any] = {
    "image_size": SIDE,
    "classes": CLASSES,
    "rate": 0.05,
    "batch": 8,
    "batch_wait_s": 0.1,
    "checkpoint_s": 1.0,
    "publish_s": 1.0,
    "redis_timeout_s": 2.0,
    "precision": "float32",
    "memory_format": "contiguous",
    "worker_threads": 1,
}
"""Settings of a small stack whose every step is soon over."""

LOOK_S = 0.05


class Scene:
    """A running stack and a client of it."""

    def __init__(self, stack: LocalStack, http: httpx2.Client, redis_: Any) -> None:
        self.stack, self.http, self.redis = stack, http, redis_
        self.keys = Keys(stack.settings.name)
        self.ledger = Ledger()

    def post(self, count: int = 8) -> httpx2.Response:
        """Send new samples once."""
        numbers = self.ledger.take(count)
        headers = {"content-type": "application/x-npz"}
        answer = self.http.post("/v1/samples", content=body(numbers), headers=headers)
        if answer.status_code == 202:
            self.ledger.accepted(numbers, answer.json()["ids"])
        return answer

    def taken(self, count: int = 8) -> bool:
        """Whether new samples are answered with 202 now."""
        try:
            return self.post(count).status_code == 202
        except httpx2.TransportError:
            return False

    def ready(self) -> bool:
        """Whether GET /readyz says 200."""
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    def account(self) -> dict[str, int]:
        """The account as Redis has it."""
        with self.redis.pipeline(transaction=True) as both:
            both.hgetall(self.keys.counters)
            both.xlen(self.keys.stream)
            counters, pending = both.execute()
        names = ("accepted", "learned", "buried", "deleted", "vanished")
        told = {name: int(counters.get(name.encode(), 0)) for name in names}
        return told | {"pending": int(pending)}

    def balanced(self) -> bool:
        """Whether the account adds up."""
        told = self.account()
        ends = told["learned"] + told["buried"] + told["deleted"] + told["pending"]
        return told["accepted"] == ends

    def settled(self) -> bool:
        """Whether nothing is pending and the account adds up."""
        try:
            return self.account()["pending"] == 0 and self.balanced()
        except redis.RedisError:
            return False

    def seconds_until(self, so: Callable[[], bool], within_s: float) -> float | None:
        """How long until it is so; None if it takes longer than `within_s`."""
        began = time.monotonic()
        while not so():
            if time.monotonic() - began > within_s:
                return None
            time.sleep(LOOK_S)
        return time.monotonic() - began

    def well_again(self, within_s: float) -> float | None:
        """Seconds until samples are taken and everything taken is learned or buried."""
        began = time.monotonic()
        if self.seconds_until(self.taken, within_s) is None:
            return None
        left_s = within_s - (time.monotonic() - began)
        if self.seconds_until(self.settled, left_s) is None:
            return None
        return time.monotonic() - began

    def metric(self, name: str) -> float:
        """Sum of a series of the worker over its labels."""
        told = httpx2.get(f"{self.stack.worker.url}/metrics", timeout=15.0).text
        rows = [line for line in told.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rpartition(" ")[2]) for line in rows)

    def lines(self) -> int:
        """Lines in the logs of worker and service."""
        logs = [part.log for part in (self.stack.worker, self.stack.service)]
        return sum(log.read_bytes().count(b"\n") for log in logs if log and log.exists())


@contextmanager
def scene(folder: Path, **settings: Any) -> Iterator[Scene]:
    """A quick stack in a folder; the block begins when a first batch was learned and published."""
    stack = LocalStack.on_free_ports(folder / "data", logs=folder / "logs", **QUICK | settings)
    with stack, httpx2.Client(base_url=stack.service.url, timeout=15.0) as http:
        with redis.Redis(port=stack.redis.port, protocol=2) as client:
            here = Scene(stack, http, client)
            assert here.well_again(60.0) is not None, "the first batch was not learned in a minute"
            yield here
