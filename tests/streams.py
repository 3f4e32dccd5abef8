"""A stream with both its sides, in memory or on a real server, and what is done with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.server.ids import START
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.account import Counts
from learndrop.stream.consumer import RedisConsumer
from learndrop.stream.contract import Consumer, Entry, Publisher
from learndrop.stream.memory_consumer import MemoryConsumer
from learndrop.stream.memory_stream import MemoryStream
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from tests.servers import client_of, leading, require_server, server, settings_on

__all__ = ["server"]

BY_HAND = {b"image": b"1234", b"label": b"cat"}


class Place:
    """A stream with both its sides, and the hands of an operator."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self.settings, self.publisher = settings, publisher

    def consumer(self) -> Consumer:
        raise NotImplementedError

    def write_by_hand(self, fields: Mapping[bytes, bytes]) -> str:
        raise NotImplementedError

    def delete(self, *ids: str) -> None:
        raise NotImplementedError

    def dead(self) -> list[tuple[str, str, bytes | None]]:
        """Id, reason and image of every dead letter."""
        raise NotImplementedError

    async def publish(self, number: int, **fields: Any) -> list[str]:
        return await self.publisher.publish([sample(n, **fields) for n in range(number)])

    async def adds_up(self) -> Counts:
        counts = await self.publisher.counts()
        assert counts.missing == 0
        return counts


class InMemory(Place):
    def __init__(self, settings: Settings) -> None:
        self.stream = MemoryStream(settings)
        super().__init__(settings, self.stream)

    def consumer(self) -> Consumer:
        return MemoryConsumer(self.stream)

    def write_by_hand(self, fields: Mapping[bytes, bytes]) -> str:
        return self.stream.write_by_hand(fields)

    def delete(self, *ids: str) -> None:
        for entry_id in ids:
            del self.stream.entries[entry_id]

    def dead(self) -> list[tuple[str, str, bytes | None]]:
        return [(i, reason, fields.get(b"image")) for i, reason, _, fields in self.stream.dead]


class OnServer(Place):
    def __init__(self, settings: Settings, server: EmbeddedRedis) -> None:
        super().__init__(settings, RedisPublisher(settings))
        self.client = client_of(server)
        self.keys = Keys(settings.name)
        self.consumers: list[RedisConsumer] = []

    def consumer(self, folder: str = "") -> Consumer:
        self.consumers.append(leading(self.settings, folder))
        return self.consumers[-1]

    def write_by_hand(self, fields: Mapping[bytes, bytes]) -> str:
        return str(self.client.xadd(self.keys.stream, dict(fields)).decode())

    def delete(self, *ids: str) -> None:
        assert self.client.xdel(self.keys.stream, *ids) == len(ids)

    def dead(self) -> list[tuple[str, str, bytes | None]]:
        letters = self.client.xrange(self.keys.dead)
        return [
            (f[b"dead-id"].decode(), f[b"dead-reason"].decode(), f.get(b"image"))
            for _, f in letters
        ]


class Places:
    """Makes places and closes them."""

    def __init__(self, kind: str, server: EmbeddedRedis | None) -> None:
        self._kind, self._server = kind, server
        self.made: list[Place] = []

    def __call__(self, **overrides: Any) -> Place:
        place: Place
        if self._server is None:
            place = InMemory(load_settings(**overrides))
        else:
            place = OnServer(settings_on(self._server, **overrides), self._server)
        self.made.append(place)
        return place


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Places]:
    if request.param == "redis":
        require_server()
    started = request.getfixturevalue("server") if request.param == "redis" else None
    places = Places(request.param, started)
    yield places
    for place in places.made:
        await place.publisher.close()
        if isinstance(place, OnServer):
            place.client.close()
            for consumer in place.consumers:
                consumer.close()


@pytest.fixture
def place(make: Places) -> Place:
    return make()


def sample(number: int, *, size: int = 4, label: str = "cat", key: str = "") -> Sample:
    return Sample(np.full((size, size, 3), number % 256, np.uint8), label, 1.0, key)


def ids(entries: list[Entry]) -> list[str]:
    return [e.id for e in entries]


def numbers(entries: list[Entry]) -> list[int]:
    """What was written into the pixels."""
    return [e.fields[b"image"][0] for e in entries]


def learn(consumer: Consumer, most: int = 100) -> list[Entry]:
    """Claim and learn as the loop does, without a checkpoint."""
    entries = consumer.claim(most, 0)
    if entries:
        consumer.hold(ids(entries))
        consumer.release()
    return entries


def die_learning(place: Place, most: int, position: str = START) -> tuple[Consumer, list[Entry]]:
    """A worker that starts, claims, and is killed while it learns."""
    worker = place.consumer()
    worker.open(position)
    entries = worker.claim(most, 0)
    if entries:
        worker.hold(ids(entries))
    return worker, entries
