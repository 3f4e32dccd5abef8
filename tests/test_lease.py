"""One worker leads, and whoever led before it can change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.errors import NotLeading
from learndrop.server.keys import Keys
from learndrop.server.lease import Lease
from learndrop.settings import Settings
from learndrop.stream.consumer import RedisConsumer
from learndrop.stream.contract import Consumer, Entry
from learndrop.stream.memory_consumer import MemoryConsumer
from learndrop.stream.memory_stream import MemoryStream
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from tests.processes import wait_until
from tests.servers import client_of, server, settings_on

__all__ = ["server"]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Workers:
    """Leases of several workers on one model."""

    def __init__(self, server: EmbeddedRedis, settings: Settings) -> None:
        self.settings, self.clock = settings, Clock()
        self.key = Keys(settings.name).lease
        self.client = client_of(server)
        self.leases: list[Lease] = []

    def __call__(self, **options: Any) -> Lease:
        self.leases.append(Lease(self.settings, **({"clock": self.clock} | options)))
        return self.leases[-1]


@pytest.fixture
def workers(server: EmbeddedRedis) -> Iterator[Workers]:
    workers = Workers(server, settings_on(server, lease_s=3.0))
    yield workers
    for lease in workers.leases:
        lease.close()
    workers.client.close()


def test_the_second_waits_and_takes_over_when_the_first_is_silent(workers: Workers) -> None:
    first, second = workers(), workers()
    assert first.look() is None and first.token == 1
    assert second.look() == first.owner
    workers.clock.now += 2.9
    assert second.look() == first.owner
    workers.clock.now += 0.2
    assert second.look() is None and second.token == 2
    with pytest.raises(NotLeading):
        first.renew()
    assert first.look() == second.owner


def test_a_holder_that_is_known_to_be_dead_is_not_waited_for(workers: Workers) -> None:
    first, second, third = workers(), workers(), workers()
    first.look(), second.look(), third.look()
    assert second.look(dead=True) is None
    assert third.look(dead=True) == second.owner  # that is another holder than the dead one
    assert second.token == 2


def test_a_beat_keeps_the_lease_however_long(workers: Workers) -> None:
    first, second = workers(), workers()
    first.look()
    for _ in range(20):
        workers.clock.now += 2.0
        first.renew()
        assert second.look() == first.owner
    # The one who waits was itself paused: the beat has moved on meanwhile.
    first.renew()
    workers.clock.now += 100.0
    assert second.look() == first.owner


def test_of_two_that_wait_one_takes_over(workers: Workers) -> None:
    first, second, third = workers(), workers(), workers()
    first.look(), second.look(), third.look()
    workers.clock.now += 3.1
    assert second.look() is None
    assert third.look() == second.owner


def test_a_released_lease_is_taken_at_once(workers: Workers) -> None:
    first, second = workers(), workers()
    first.look(), second.look()
    first.release()
    assert second.look() is None
    first.release()  # once more: not its own any longer
    second.renew()
    assert second.token == 2


def test_no_clock_of_the_server_can_end_a_lease(workers: Workers) -> None:
    workers().look()
    assert workers.client.ttl(workers.key) == -1


def test_a_lease_that_was_deleted_is_made_again_by_its_holder_only(workers: Workers) -> None:
    first, second = workers(), workers()
    first.look()
    workers.client.delete(workers.key)
    first.renew()
    assert second.look() == first.owner
    workers.client.delete(workers.key)
    workers.clock.now += 3.1  # paused longer than a lease: who knows what happened since
    with pytest.raises(NotLeading):
        first.renew()
    assert workers.client.exists(workers.key) == 0


def test_tokens_grow_beyond_those_that_the_folder_knows(workers: Workers) -> None:
    lease = workers()
    lease.look(least=41)
    assert lease.token == 42


def test_a_strangers_value_in_place_of_the_lease_is_set_aside(workers: Workers) -> None:
    workers.client.set(workers.key, "mine")
    lease = workers()
    with suppress(Exception):
        lease.look()
    assert lease.look() is None
    assert workers.client.get(f"{workers.key}:set-aside") == b"mine"


async def test_it_is_renewed_while_a_long_step_runs_unless_the_worker_hangs(
    server: EmbeddedRedis,
) -> None:
    settings = settings_on(server, lease_s=0.3)
    leader, waiting = Lease(settings), Lease(settings)
    leader.look()
    alive = True
    with leader.kept(lambda: alive):
        for _ in range(8):
            await asyncio.sleep(0.1)  # together more than two leases
            assert waiting.look() == leader.owner
        alive = False
        await wait_until(lambda: waiting.look() is None)
    leader.close()
    waiting.close()


# -- fencing: every verb of a consumer, on a server and in memory --------------------------------

VERBS: dict[str, Callable[[Consumer, list[Entry]], object]] = {
    "claim": lambda consumer, entries: consumer.claim(20, 0),  # beyond what was read ahead
    "hold": lambda consumer, entries: consumer.hold([e.id for e in entries]),
    "ack": lambda consumer, entries: consumer.ack(entries[-1].id),
    "bury": lambda consumer, entries: consumer.bury(entries[0], "unreadable", "because"),
    "published": lambda consumer, entries: consumer.published(1, entries[0].id),
}


@pytest.fixture(params=["memory", "redis"])
async def two(
    request: pytest.FixtureRequest,
) -> AsyncIterator[tuple[Consumer, Consumer, list[Entry], Callable[[], object]]]:
    """One that led, one that leads, what the first had claimed, and all that is stored."""
    samples = [Sample(np.full((4, 4, 3), n, np.uint8), "cat", 1.0) for n in range(6)]
    if request.param == "memory":
        memory = MemoryStream()
        await memory.publish(samples)
        old = MemoryConsumer(memory)
        entries = old.claim(4, 0)
        new = MemoryConsumer(memory)
        yield old, new, entries, lambda: (dict(memory.entries), memory.account(), memory.in_hand)
        return
    server = request.getfixturevalue("server")
    settings = settings_on(server)
    publisher, lease, client = RedisPublisher(settings), Lease(settings), client_of(server)
    await publisher.publish(samples)
    consumers = [RedisConsumer(settings, lease.take())]
    entries = consumers[0].claim(4, 0)
    consumers.append(RedisConsumer(settings, lease.take()))

    def stored() -> object:
        names = sorted(client.keys(f"learndrop:{settings.name}:*"))
        return [(name, client.dump(name)) for name in names]

    yield consumers[0], consumers[1], entries, stored
    await publisher.close()
    for closing in (*consumers, lease, client):
        closing.close()


@pytest.mark.parametrize("verb", VERBS)
async def test_a_worker_that_leads_no_more_changes_nothing(
    two: tuple[Consumer, Consumer, list[Entry], Callable[[], object]], verb: str
) -> None:
    old, new, entries, stored = two
    before = stored()
    with pytest.raises(NotLeading):
        VERBS[verb](old, entries)
    assert stored() == before
    taken = new.claim(6, 0)
    assert [e.fields[b"image"][0] for e in taken] == [0, 1, 2, 3, 4, 5]
    before = stored()
    with pytest.raises(NotLeading):
        VERBS[verb](old, entries)
    assert stored() == before
    VERBS[verb](new, taken)  # to the one that leads it is allowed
