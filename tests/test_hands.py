"""Other hands in Redis, while a real worker works: it comes back, and what is gone is counted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.server.keys import GROUP, Keys
from learndrop.settings import Settings
from learndrop.stream.account import Counts
from tests.processes import Processes, processes, wait_until
from tests.servers import client_of, server, settings_on
from tests.test_worker_kills import Service
from tests.tiny_worker import EAGER

__all__ = ["processes", "server"]

MOST_LINES = 10
Hand = Callable[[Any, Keys], object]


def delete_oldest(redis: Any, keys: Keys) -> None:
    oldest = [entry_id for entry_id, _ in redis.xrange(keys.stream, count=5)]
    assert redis.xdel(keys.stream, *oldest) == 5


def stranger(key: Callable[[Keys], str]) -> Hand:
    def overwrite(redis: Any, keys: Keys) -> None:
        redis.set(key(keys), "mine")

    return overwrite


# What each hand does, and the account after 30 samples were learned, 20 waited and 10 came later.
HANDS: dict[str, tuple[Hand, Counts]] = {
    "the group is destroyed": (
        lambda redis, keys: redis.xgroup_destroy(keys.stream, GROUP),
        Counts(60, 60, 0, 0),
    ),
    "the consumer is deleted": (
        lambda redis, keys: redis.xgroup_delconsumer(keys.stream, GROUP, "worker-1"),
        Counts(60, 60, 0, 0),
    ),
    "waiting entries are deleted": (delete_oldest, Counts(60, 55, 5, 0)),
    "the stream is trimmed": (
        lambda redis, keys: redis.xtrim(keys.stream, maxlen=3, approximate=False),
        Counts(60, 43, 17, 0),
    ),
    "the stream is deleted": (
        lambda redis, keys: redis.delete(keys.stream),
        Counts(60, 40, 20, 0),
    ),
    "an entry of somebody else": (
        lambda redis, keys: redis.xadd(keys.stream, {"hello": "world"}),
        Counts(61, 60, 1, 0),
    ),
    "an entry of another version": (
        lambda redis, keys: redis.xadd(keys.stream, {"v": "0", "image": "x", "by": "learndrop"}),
        Counts(61, 60, 1, 0),
    ),
    "an entry from the future": (
        lambda redis, keys: redis.xadd(keys.stream, {"v": "0"}, id="99999999999999-1"),
        Counts(61, 60, 1, 0),
    ),
    "the stream is overwritten": (stranger(lambda keys: keys.stream), Counts(60, 40, 20, 0)),
    "the lease is overwritten": (stranger(lambda keys: keys.lease), Counts(60, 60, 0, 0)),
    "the lease is deleted": (lambda redis, keys: redis.delete(keys.lease), Counts(60, 60, 0, 0)),
    "fates are overwritten": (stranger(lambda keys: keys.fates), Counts(60, 60, 0, 0)),
    "the mark is overwritten": (
        lambda redis, keys: (redis.delete(keys.in_hand), redis.lpush(keys.in_hand, "mine")),
        Counts(60, 60, 0, 0),
    ),
}


@pytest.fixture
def settings(server: EmbeddedRedis, tmp_path: Path) -> Settings:
    return settings_on(
        server,
        data_dir=tmp_path,
        **EAGER,
        lease_s=1.0,
    )


@pytest.mark.parametrize("name", HANDS)
async def test_it_comes_back_from_what_a_hand_did_and_the_account_adds_up(
    settings: Settings, server: EmbeddedRedis, processes: Processes, name: str
) -> None:
    hand, expected = HANDS[name]
    service, keys = Service(settings), Keys(settings.name)
    worker = processes.start("tests.tiny_worker", settings)
    await service.publish(30)
    await processes.works_until(worker, lambda: service.learned_or_buried(30))
    worker.send_signal(signal.SIGSTOP)
    await service.publish(20)
    said_before = len(processes.said(worker).splitlines())
    with client_of(server) as redis:
        hand(redis, keys)
        worker.send_signal(signal.SIGCONT)

        async def publishes() -> bool:
            try:
                await service.publish(10)
            except Exception:
                return False
            return True

        await wait_until(publishes)  # the service is refused until the worker has mended a key
        await processes.works_until(worker, lambda: as_counted(service, expected))
        assert redis.xpending(keys.stream, GROUP)["pending"] == 0
    lines = processes.said(worker).splitlines()[said_before:]
    told = [line for line in lines if '"published"' not in line]
    assert len(told) <= MOST_LINES, "\n".join(told)
    await service.publisher.close()


async def as_counted(service: Service, expected: Counts) -> bool:
    return await service.publisher.counts() == expected


async def test_after_everything_was_deleted_it_goes_on_with_the_account_it_knew(
    settings: Settings, server: EmbeddedRedis, processes: Processes
) -> None:
    service, keys = Service(settings), Keys(settings.name)
    worker = processes.start("tests.tiny_worker", settings)
    await service.publish(30)
    await processes.works_until(worker, lambda: service.learned_or_buried(30))
    with client_of(server) as redis:
        redis.delete(*redis.keys(f"{keys.stream.removesuffix('stream')}*"))
    await service.publish(10)
    known = Counts(40, 40, 0, 0)
    await processes.works_until(worker, lambda: as_counted(service, known))
    await service.publisher.close()


async def test_an_account_of_a_wrong_type_is_set_aside_and_restored(
    settings: Settings, server: EmbeddedRedis, processes: Processes
) -> None:
    service, keys = Service(settings), Keys(settings.name)
    worker = processes.start("tests.tiny_worker", settings)
    await service.publish(30)
    await processes.works_until(worker, lambda: service.learned_or_buried(30))
    with client_of(server) as redis:
        redis.set(keys.counters, "mine")
        known = Counts(30, 30, 0, 0)

        async def restored() -> bool:
            return redis.type(keys.counters) == b"hash" and await as_counted(service, known)

        await processes.works_until(worker, restored)
        assert redis.get(f"{keys.counters}:set-aside") == b"mine"
    await service.publisher.close()
