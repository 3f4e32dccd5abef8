"""The real loop as a real process on a real server, killed at bad moments: who learned what."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from learndrop.stream.account import Counts
from learndrop.stream.publisher import RedisPublisher
from tests.processes import Processes, processes, wait_until
from tests.servers import client_of, require_server, server, settings_on
from tests.tiny_worker import DIED, SIZE, numbered, saved

__all__ = ["processes", "server"]


class Service:
    """The side that publishes, and watches the account while it does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.publisher = RedisPublisher(settings)
        self.sent = 0

    async def publish(self, number: int, label: str = "fine") -> None:
        samples = [numbered(n, label) for n in range(self.sent, self.sent + number)]
        await self.publisher.publish(samples)
        self.sent += number

    async def counts(self) -> Counts:
        counts = await self.publisher.counts()
        assert counts.missing == 0
        return counts

    async def learned_or_buried(self, number: int) -> bool:
        counts = await self.counts()
        return counts.learned + counts.buried == number


@pytest.fixture
def make_settings(server: EmbeddedRedis, tmp_path: Path) -> Callable[..., Settings]:
    def make(on: EmbeddedRedis = server, **overrides: Any) -> Settings:
        fixed: dict[str, Any] = {
            "data_dir": tmp_path,
            "image_size": SIZE,
            "batch": 8,
            "batch_wait_s": 0.02,
            "checkpoint_s": 0.1,
            "publish_s": 0.1,
        }
        return settings_on(on, **(fixed | overrides))

    return make


@pytest.fixture
async def service(make_settings: Callable[..., Settings]) -> AsyncIterator[Service]:
    service = Service(make_settings())
    yield service
    await service.publisher.close()


def start(service: Service, processes: Processes) -> subprocess.Popen[bytes]:
    return processes.start("tests.tiny_worker", service.settings)


def progress(service: Service) -> list[int]:
    path = service.settings.data_dir / "progress"
    return [int(n) for n in path.read_text().split()] if path.exists() else []


def grown(service: Service, beyond: int) -> Callable[[], bool]:
    return lambda: len(progress(service)) > beyond


def ended(worker: subprocess.Popen[bytes]) -> Callable[[], bool]:
    return lambda: worker.poll() is not None


async def test_killed_again_and_again_it_learns_every_sample_once(
    make_settings: Callable[..., Settings], processes: Processes
) -> None:
    # Kills from outside that hit the same batch three times in a row would be put down to it.
    service = Service(make_settings(max_deliveries=100))
    chance = random.Random(7)
    for _ in range(8):
        worker = start(service, processes)
        seen = len(progress(service))
        await service.publish(chance.randrange(50, 150))
        await wait_until(grown(service, seen + chance.randrange(50)))
        await service.counts()
        worker.kill()
        worker.wait()
    worker = start(service, processes)
    await wait_until(lambda: service.learned_or_buried(service.sent))
    worker.terminate()
    assert worker.wait(20) == 0
    assert await service.counts() == Counts(service.sent, service.sent, 0, 0)
    numbers, _ = saved(service.settings.data_dir)
    assert numbers == list(range(service.sent))  # each once, in order
    assert len(progress(service)) > service.sent  # the kills did cost work
    await service.publisher.close()


async def test_a_sample_that_kills_the_worker_is_buried_and_its_neighbours_learned(
    service: Service, processes: Processes, server: EmbeddedRedis
) -> None:
    await service.publish(13)
    await service.publish(1, label="poison")
    await service.publish(13)
    deaths = 0
    for _ in range(10):
        worker = start(service, processes)
        await wait_until(lambda: service.learned_or_buried(27), or_else=ended(worker))
        if worker.poll() is None:
            break
        assert worker.wait() == DIED
        deaths += 1
    assert deaths == service.settings.max_deliveries == 3
    worker.terminate()
    assert worker.wait(20) == 0
    assert await service.counts() == Counts(27, 26, 1, 0)
    numbers, _ = saved(service.settings.data_dir)
    assert numbers == [n for n in range(27) if n != 13]
    with client_of(server) as client:
        ((_, letter),) = client.xrange(Keys(service.settings.name).dead)
    assert letter[b"dead-reason"] == b"killed_worker"
    assert b"3 times" in letter[b"dead-why"] and letter[b"label"] == b"poison"


async def test_redis_killed_under_a_running_worker_costs_nothing(
    make_settings: Callable[..., Settings],
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    require_server()
    with EmbeddedRedis(tmp_path_factory.mktemp("own")) as own:
        service = Service(make_settings(own))
        worker = start(service, processes)
        for _ in range(3):
            await service.publish(100)
            seen = len(progress(service))
            await wait_until(grown(service, seen))
            own.kill()
            own.start()
            for _ in range(5):  # lets the publisher's pool see that its connection is closed
                await asyncio.sleep(0)
        await wait_until(lambda: service.learned_or_buried(300))
        assert worker.poll() is None
        worker.terminate()
        assert worker.wait(20) == 0
        assert await service.counts() == Counts(300, 300, 0, 0)
        await service.publisher.close()
    assert saved(service.settings.data_dir)[0] == list(range(300))
    assert processes.said(worker).count("redis_away") <= 6  # said, and not again and again


async def test_a_worker_may_start_before_redis_and_stop_without_it(
    make_settings: Callable[..., Settings],
    processes: Processes,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    require_server()
    own = EmbeddedRedis(tmp_path_factory.mktemp("own"))
    own.start()
    service = Service(make_settings(own, checkpoint_s=1000.0))
    await service.publish(5)
    await service.publisher.close()
    own.kill()
    worker = start(service, processes)
    await wait_until(lambda: "redis_away" in processes.said(worker))
    own.start()
    await wait_until(lambda: len(progress(service)) == 5)
    own.kill()
    worker.terminate()
    assert worker.wait(20) == 0
    assert saved(service.settings.data_dir)[0] == [0, 1, 2, 3, 4]
    own.start()
    service = Service(service.settings)
    again = start(service, processes)
    await wait_until(lambda: service.learned_or_buried(5))
    again.terminate()
    assert again.wait(20) == 0
    assert saved(service.settings.data_dir)[0] == [0, 1, 2, 3, 4]
    await service.publisher.close()
    own.stop()


async def test_a_second_signal_does_not_wait(service: Service, processes: Processes) -> None:
    worker = start(service, processes)
    await service.publish(8)
    await wait_until(lambda: len(progress(service)) == 8)
    worker.send_signal(2)
    worker.send_signal(2)
    assert worker.wait(20) in {0, 130}  # 0 where the first one was done with by then
