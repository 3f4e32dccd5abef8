"""Row 7: requests of which half are cut; nobody may get an answer that belongs to another.

Two ways, half of the count each. Over HTTP: predictions are asked for by id with random time-outs;
an answer must be the one of that id. And at the Redis client itself, whose connections are shared:
tasks that publish, put and get are cancelled at random moments.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from deploy.children import Child, to_environment
from deploy.embedded import EmbeddedRedis
from deploy.ports import free_port
from learndrop.answers.kept import Answers
from learndrop.errors import NotFound, StreamAway
from learndrop.settings import Settings, load_settings
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from tests.rows import Found, arguments, report
from tests.services import pixels

TOGETHER = 16
KEPT = 200


@dataclass
class Tally:
    """What came of the requests."""

    asked: int = 0
    answered: int = 0
    cut: int = 0
    strange: int = 0

    def answer(self, is_own: bool) -> None:
        """One came through."""
        self.answered += 1
        self.strange += not is_own


def answer_of(number: int) -> dict[str, Any]:
    """A stored answer that tells whose it is."""
    return {
        "label": f"label {number}",
        "probabilities": {f"label {number}": 1.0},
        "model_version": number + 1,
        "time": 1.0,
    }


async def over_http(url: str, ids: list[str], count: int, chance: random.Random) -> Tally:
    """Ask by id; two of three requests are given up after up to as long as the last answer took."""
    tally = Tally()
    usual_s = 0.01
    limits = httpx2.Limits(max_connections=TOGETHER, max_keepalive_connections=TOGETHER)
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=limits) as http:

        async def ask() -> None:
            nonlocal usual_s
            number = chance.randrange(len(ids))
            patient = chance.random() < 1 / 3
            most_s = 60.0 if patient else chance.uniform(0, usual_s)
            tally.asked += 1
            began = time.perf_counter()
            try:
                async with asyncio.timeout(most_s):
                    answer = await http.get(f"/v1/predictions/{ids[number]}")
            except TimeoutError:
                tally.cut += 1
                return
            usual_s = time.perf_counter() - began if patient else usual_s
            body = answer.json()
            tally.answer(body.get("id") == ids[number] and body["label"] == f"label {number}")

        await _many(ask, count)
    return tally


async def at_redis(settings: Settings, count: int, chance: random.Random) -> Tally:
    """Put, get and publish on shared clients; most tasks are cancelled somewhere on their way."""
    tally = Tally()
    answers, publisher = Answers(settings), RedisPublisher(settings)
    image = pixels(side=8)[0]
    ids = await answers.put([answer_of(n) for n in range(KEPT)])

    async def get(number: int) -> None:
        try:
            found = await answers.get(ids[number])
        except NotFound:
            tally.answer(False)
            return
        tally.answer(found.id == ids[number] and found.answer["label"] == f"label {number}")

    async def put(number: int) -> None:
        (made,) = await answers.put([answer_of(number)])
        tally.answer((await answers.get(made)).answer["label"] == f"label {number}")

    async def publish(number: int) -> None:
        made = await publisher.publish([Sample(image, f"own {number}", 1.0)] * (1 + number % 3))
        tally.answer(len(made) == 1 + number % 3 and all(id_.count("-") == 1 for id_ in made))

    async def ask() -> None:
        number = chance.randrange(KEPT)
        tally.asked += 1
        task = asyncio.create_task(chance.choice((get, get, put, publish))(number))
        if chance.random() < 0.8:
            for _ in range(chance.randrange(10)):
                await asyncio.sleep(0)
            task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            tally.cut += 1
        except StreamAway:
            tally.cut += 1  # a store that just failed is not asked for a second

    try:
        await _many(ask, count)
    finally:
        await answers.close()
        await publisher.close()
    return tally


async def _many(ask: Any, count: int) -> None:
    left = count

    async def one_after_another() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask()

    await asyncio.gather(*(one_after_another() for _ in range(TOGETHER)))


async def stored(settings: Settings) -> list[str]:
    """Ids of the answers to ask for over HTTP."""
    answers = Answers(settings)
    try:
        return await answers.put([answer_of(n) for n in range(KEPT)])
    finally:
        await answers.close()


def find(options: argparse.Namespace) -> Mapping[int, Found]:
    """Both ways, half of the requests each."""
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name, EmbeddedRedis(Path(name) / "redis") as server:
        settings = load_settings(
            redis_url=server.url, data_dir=Path(name), port=free_port(), log_level="warning",
            max_pending=10**7, max_pending_bytes=10**12, predictions_kept=10**6,
        )  # fmt: skip
        child = Child(
            "service", settings.host, settings.port,
            environment=to_environment(settings), log=Path(name) / "service.log",
        )  # fmt: skip
        child.start()
        try:
            child.wait_until_healthy(90)
            ids = asyncio.run(stored(settings))
            http = asyncio.run(over_http(child.url, ids, options.count // 2, chance))
        finally:
            child.kill()
        own = settings.model_copy(update={"name": "apart"})
        redis = asyncio.run(at_redis(own, options.count - options.count // 2, chance))
    asked, cut = http.asked + redis.asked, http.cut + redis.cut
    strange = http.strange + redis.strange
    cut_enough = min(http.cut / http.asked, redis.cut / redis.asked) > 0.2
    told = f"{strange} answers of others; {cut:,} of {asked:,} cut"
    return {
        7: Found(
            figure=f"{told}, {asked - cut:,} answered",
            count=f"{http.asked:,} over HTTP ({http.cut:,} cut),"
            f" {redis.asked:,} at the Redis client ({redis.cut:,} cut)",
            passed=strange == 0 and cut_enough,
            notes="Fewer than a fifth cut would count as failed: such a run says nothing.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    sys.exit(report(find, parser, rows=[7]))
