"""Row 15: 60 s of wrong labels from one key at ten times the rate of the others.

Service, worker and Redis as processes, handwritten digits. Two keys send for a while; then one of
them gives every picture the next digit's name; then both are honest again. The answers of the
service to 300 other digits are counted all along.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from deploy.local import LocalStack
from learndrop.client import Client
from learndrop.images import datasets
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from tests.rows import Found, arguments, report
from tests.senders import CLASSES, shifted

SIZE = 16
SETTINGS: dict[str, Any] = {
    "network": "small-resnet10",
    "image_size": SIZE,
    "rate": 0.05,
    "rate_halving": 500,
    "precision": "float32",
    "memory_format": "contiguous",
    "classes": tuple(CLASSES),
    "publish_s": 1.0,
    "checkpoint_s": 5.0,
}
HONEST, LIAR = "line", "mill"


@dataclass
class Scene:
    """The running service, and what was counted.

    Attributes:
        accuracy: (seconds since the beginning, share of right answers), in order.
    """

    stack: LocalStack
    rate: float
    accuracy: list[tuple[float, float]] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    sent: int = 0

    def __post_init__(self) -> None:
        data = datasets.load("digits", SIZE, seed=0)
        self.train = (data.images[:-300], data.labels[:-300])
        self.test = (data.images[-300:], np.array(data.labels[-300:]))
        self.settings = self.stack.settings.model_copy(
            update={"redis_url": type(self.stack.settings.redis_url)(self.stack.redis.url)}
        )

    async def send(self, publisher: RedisPublisher, key: str, rate: float, until: float) -> None:
        """Labelled digits of one key at an even rate, twice a second."""
        chance = np.random.default_rng(len(key))
        lies = key == LIAR and self.lying
        while (now := time.monotonic()) < until:
            places = chance.integers(0, len(self.train[1]), max(1, round(rate / 2)))
            labels = [self.train[1][p] for p in places]
            told = [shifted(label) if lies else label for label in labels]
            pictures = [self.train[0][p] for p in places]
            batch = [Sample(i, t, time.time(), key) for i, t in zip(pictures, told, strict=True)]
            await publisher.publish(batch)
            self.sent += len(batch)
            await asyncio.sleep(max(0.0, now + 0.5 - time.monotonic()))

    lying = False

    async def watch(self, until: float) -> None:
        """The answers of the service, once a second."""
        while time.monotonic() < until:
            self.accuracy.append(
                (time.monotonic() - self.began, await asyncio.to_thread(self.measure))
            )
            await asyncio.sleep(1.0)

    def measure(self) -> float:
        """Share of right answers of the service."""
        with Client(self.stack.service.url, patience_s=60.0) as client:
            answers = client.predict(self.test[0])
        return float(np.mean([a["label"] == t for a, t in zip(answers, self.test[1], strict=True)]))

    async def phase(self, seconds: float, honest: float, other: float) -> None:
        """Both keys send at these rates, and the answers are counted."""
        until = time.monotonic() + seconds
        publisher = RedisPublisher(self.settings)
        tasks = [self.send(publisher, HONEST, honest, until), self.watch(until)]
        if other:
            tasks.append(self.send(publisher, LIAR, other, until))
        try:
            await asyncio.gather(*tasks)
        finally:
            await publisher.close()

    def state(self) -> dict[str, Any]:
        """What the service says of the worker."""
        answer = httpx2.get(f"{self.stack.service.url}/v1/state", timeout=30.0)
        found: dict[str, Any] = answer.json()
        return found

    async def settle(self, seconds: float) -> None:
        """Wait until all that was sent is learned."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            state = await asyncio.to_thread(self.state)
            if state["samples"]["pending"] == 0:
                return
            await asyncio.sleep(1.0)


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Calm, attack, calm."""
    with tempfile.TemporaryDirectory() as folder:
        stack = LocalStack.on_free_ports(
            Path(folder) / "data", logs=Path(folder) / "logs", **SETTINGS
        )
        with stack:
            return {15: asyncio.run(_attacked(Scene(stack, options.rate), options))}


async def _attacked(scene: Scene, options: argparse.Namespace) -> Found:
    rate, seconds = options.rate, options.seconds
    await scene.phase(options.calm_s, 5 * rate, 5 * rate)
    await scene.settle(60.0)
    before = float(np.median([a for _, a in scene.accuracy[-5:]]))
    attack_at, scene.lying = len(scene.accuracy), True
    sent = scene.sent
    await scene.phase(seconds, rate, 10 * rate)
    sent = scene.sent - sent
    scene.lying = False
    end_s = time.monotonic() - scene.began
    await scene.phase(60.0, 5 * rate, 5 * rate)
    lowest = min(a for _, a in scene.accuracy[attack_at:])
    back = [t for t, a in scene.accuracy[attack_at:] if t >= end_s and a >= before - 0.01]
    events = scene.state()["events"]
    named = [e["detail"]["key"] for e in events if e["type"] == "quarantine"]
    others = sorted({e["type"] for e in events} & {"drift", "reset", "rollback"})
    fall = before - lowest
    back_s = back[0] - end_s if back else None
    return Found(
        f"served accuracy {100 * before:.1f} % before, at lowest {100 * lowest:.1f} %"
        f" ({100 * fall:.1f} points); within a point of it"
        f" {'never again' if back_s is None else f'{back_s:.0f} s after the end'};"
        f" named: {', '.join(named) or 'nobody'}",
        f"{sent:,} samples in {seconds:.0f} s, ten of eleven wrong; {len(scene.accuracy)} readings",
        fall <= 0.05 and back_s is not None and back_s <= 60 and set(named) == {LIAR},
        f"other events: {', '.join(others) or 'none'}",
    )


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rate", type=float, default=10.0, help="samples a second, honest key")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the attack")
    parser.add_argument("--calm-s", type=float, default=45.0, help="before it")
    sys.exit(report(find, parser, rows=[15]))
