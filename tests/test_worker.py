"""`python -m worker`, the real one: real network, real server, real kills."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded import EmbeddedRedis, free_port
from learndrop.disk.registry import Registry
from learndrop.learning import checkpoint
from learndrop.server.board import ServiceBoard
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from learndrop.stream.account import Counts
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from tests.processes import Processes, processes, wait_until
from tests.servers import client_of, require_server, server, settings_on

__all__ = ["processes", "server"]

SIZE = 16
SECRET = "s3cret-pass"


def samples(number: int, *, seed: int = 0, size: int = SIZE) -> list[Sample]:
    """Three classes that differ in colour: easy, but to be learned."""
    chance = np.random.default_rng(seed)
    made = []
    for n in range(number):
        image = chance.integers(0, 80, (size, size, 3), dtype=np.uint8)
        image[..., n % 3] += 120
        made.append(Sample(image, ("red", "green", "blue")[n % 3], 1.0))
    return made


class Bench:
    """A running service's eyes and hands: stream, board, the worker's port."""

    def __init__(self, settings: Settings, processes: Processes) -> None:
        self.settings, self.processes = settings, processes
        self.publisher, self.board = RedisPublisher(settings), ServiceBoard(settings)

    def start(self, **overrides: Any) -> subprocess.Popen[bytes]:
        return self.processes.start("worker", self.settings.model_copy(update=overrides))

    async def counts(self) -> Counts:
        counts = await self.publisher.counts()
        assert counts.missing == 0
        return counts

    async def settled(self) -> bool:
        return (await self.counts()).pending == 0

    async def seen(self, at_least: int) -> bool:
        state = await self.board.state()
        return state is not None and state["samples_learned"] >= at_least

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.metrics_port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def well(self) -> bool:
        try:
            return self.get("/healthz")[0] == 200
        except OSError:
            return False

    def metric(self, name: str, **labels: str) -> float:
        text = self.get("/metrics")[1].decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        raise AssertionError(f"no {name} {labels}")

    async def close(self) -> None:
        await self.publisher.close()
        await self.board.close()


@pytest.fixture
async def make_bench(
    server: EmbeddedRedis, processes: Processes, tmp_path: Path
) -> AsyncIterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make(on: EmbeddedRedis = server, **overrides: Any) -> Bench:
        fixed: dict[str, Any] = {
            "data_dir": tmp_path / "data",
            "metrics_port": free_port(),
            "image_size": SIZE,
            "batch": 16,
            "batch_wait_s": 0.05,
            "publish_s": 0.5,
            "precision": "float32",
            "memory_format": "contiguous",
            "worker_threads": 1,
            "feature_bytes": 1024 * 1024,
        }
        made.append(Bench(settings_on(on, **(fixed | overrides)), processes))
        return made[-1]

    yield make
    for bench in made:
        await bench.close()


@pytest.fixture
async def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


async def test_it_learns_publishes_tells_and_goes_on_after_kill_9(
    bench: Bench, server: EmbeddedRedis
) -> None:
    keys = Keys(bench.settings.name)
    await bench.publisher.publish(samples(200))
    first = bench.start()
    await bench.processes.works_until(first, lambda: bench.seen(64))
    first.kill()
    first.wait()
    counts = await bench.counts()
    assert counts.accepted == 200 and counts.pending > 0

    with client_of(server) as client:
        client.xadd(keys.stream, {"image": "by hand", "label": "cat"})
        older = samples(1)[0].to_fields() | {b"v": b"0"}
        client.xadd(keys.stream, older)
    await bench.publisher.publish(samples(1, size=SIZE + 1))
    await bench.publisher.publish(samples(100, seed=1))

    second = bench.start()
    await bench.processes.works_until(second, bench.settled)
    assert await bench.counts() == Counts(303, 300, 3, 0)
    with client_of(server) as client:
        reasons = [f[b"dead-reason"].decode() for _, f in client.xrange(keys.dead)]
    assert reasons == ["unreadable", "unreadable", "wrong_size"]

    assert bench.well()
    await bench.processes.works_until(
        second, lambda: bench.metric("learndrop_samples_pending") == 0
    )
    assert bench.metric("learndrop_samples_accepted") == 303
    assert bench.metric("learndrop_samples_buried_total", reason="unreadable") == 2
    assert bench.metric("learndrop_units") > 1
    assert bench.metric("learndrop_step_seconds_total", part="train") > 0
    assert bench.metric("learndrop_flops_done_total") > 0
    state = await bench.board.state()
    assert state is not None and sorted(state["classes"]) == ["blue", "green", "red"]
    assert {e.type for e in await bench.board.events(100)} >= {"grow", "publish"}

    second.terminate()
    assert second.wait(60) == 0
    assert Registry(bench.settings.models_dir).load().about["samples"] == 300
    found = checkpoint.load_latest(bench.settings.checkpoints_dir, bench.settings)
    assert found is not None and found[0].state()["samples_learned"] == 300  # each sample once


async def test_sigterm_in_the_middle_keeps_what_was_learned(bench: Bench) -> None:
    await bench.publisher.publish(samples(2000))
    worker = bench.start()
    await bench.processes.works_until(worker, lambda: bench.seen(32))
    worker.terminate()
    assert worker.wait(60) == 0
    counts = await bench.counts()
    assert 32 <= counts.learned < 2000
    found = checkpoint.load_latest(bench.settings.checkpoints_dir, bench.settings)
    assert found is not None and found[0].state()["samples_learned"] == counts.learned
    published = Registry(bench.settings.models_dir).load()
    assert published.about["samples"] == counts.learned
    said = bench.processes.said(worker)
    assert "worker_stopped" in said and "Traceback" not in said


async def test_it_goes_on_by_itself_when_redis_comes_back(
    make_bench: Callable[..., Bench], tmp_path_factory: pytest.TempPathFactory
) -> None:
    require_server()
    with EmbeddedRedis(tmp_path_factory.mktemp("own")) as own:
        bench = make_bench(own)
        await bench.publisher.publish(samples(100))
        worker = bench.start()
        await bench.processes.works_until(worker, lambda: bench.seen(16))
        own.kill()
        await bench.processes.works_until(worker, lambda: bench.metric("learndrop_redis_up") == 0)
        assert bench.well()  # waiting for Redis is not being ill
        own.start()
        for _ in range(5):  # lets the pools see that their connections are closed
            await asyncio.sleep(0)
        await bench.publisher.publish(samples(100, seed=1))
        await bench.processes.works_until(worker, bench.settled)
        assert await bench.counts() == Counts(200, 200, 0, 0)
        worker.terminate()
        assert worker.wait(60) == 0
    found = checkpoint.load_latest(bench.settings.checkpoints_dir, bench.settings)
    assert found is not None and found[0].state()["samples_learned"] == 200


@pytest.mark.parametrize(
    ("overrides", "code", "told"),
    [
        ({"batch": -1}, 2, "LEARNDROP_BATCH"),
        ({"network": "small-resnet11"}, 2, "small-resnet1"),
        ({"device": "nowhere"}, 2, "LEARNDROP_DEVICE 'nowhere' cannot be used here"),
    ],
)
async def test_what_cannot_work_ends_with_a_line_that_names_it(
    bench: Bench, overrides: dict[str, Any], code: int, told: str
) -> None:
    worker = bench.start(**overrides)
    assert worker.wait(60) == code, bench.processes.said(worker)
    said = bench.processes.said(worker)
    assert told in said and "Traceback" not in said


async def test_no_line_of_the_log_has_the_password(bench: Bench) -> None:
    url = bench.settings.redis_url.get_secret_value().replace("//", f"//:{SECRET}@")
    worker = bench.start(redis_url=type(bench.settings.redis_url)(url))
    await wait_until(lambda: "redis_away" in bench.processes.said(worker))  # no password is set
    worker.terminate()
    assert worker.wait(60) == 0
    said = bench.processes.said(worker)
    assert SECRET not in said
    assert json.loads(said.splitlines()[0])["process"] == "worker"
