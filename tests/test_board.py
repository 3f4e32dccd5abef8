"""What the worker tells reaches the service, through a real server."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.errors import NotLeading, StreamAway
from learndrop.events import Event
from learndrop.server.board import ServiceBoard, WorkerBoard
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from tests.servers import client_of, require_server, server, settings_on, token

__all__ = ["server"]


@pytest.fixture
def settings(server: EmbeddedRedis) -> Settings:
    return settings_on(server, events_kept=10)


@pytest.fixture
def worker(settings: Settings) -> Iterator[WorkerBoard]:
    board = WorkerBoard(settings, token(settings))
    yield board
    board.close()


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[ServiceBoard]:
    board = ServiceBoard(settings)
    yield board
    await board.close()


def event(number: int, **detail: Any) -> Event:
    return Event("drop", 1.5 * number, number, f"cause {number}", 3, detail)


async def test_nothing_told_is_nothing_shown(service: ServiceBoard) -> None:
    assert await service.state() is None
    assert await service.events(5) == []


async def test_the_state_told_last_is_shown(worker: WorkerBoard, service: ServiceBoard) -> None:
    worker.put_state({"drop": {"depth": 1}})
    state = {"drop": {"depth": 2, "units": [{"name": "conv1 ü"}]}, "loss": 0.5}
    worker.put_state(state)
    assert await service.state() == state


async def test_figures_that_json_cannot_say_become_null(
    worker: WorkerBoard, service: ServiceBoard
) -> None:
    state: dict[Any, Any] = {"nan": math.nan, "inf": -math.inf, "numpy": np.float32(0.5), 3: 7}
    worker.put_state(state)
    assert await service.state() == {"nan": None, "inf": None, "numpy": 0.5, "3": 7}


async def test_events_come_newest_first_and_whole(
    worker: WorkerBoard, service: ServiceBoard
) -> None:
    sent = [event(n, onset=n, strengths=[0.5, None]) for n in range(4)]
    worker.add_events(sent[:3])
    worker.add_events([])
    worker.add_events(sent[3:])
    assert await service.events(3) == [sent[3], sent[2], sent[1]]
    assert await service.events(0) == []


async def test_events_are_bounded(
    worker: WorkerBoard, service: ServiceBoard, server: EmbeddedRedis, settings: Settings
) -> None:
    for n in range(60):
        worker.add_events([event(10 * n + m) for m in range(10)])
    assert len(await service.events(1000)) == settings.events_kept
    with client_of(server) as client:  # trimming is by whole nodes of the stream
        assert client.xlen(Keys(settings.name).events) <= settings.events_kept + 100


async def test_what_somebody_else_wrote_does_not_break_the_page(
    worker: WorkerBoard, service: ServiceBoard, server: EmbeddedRedis, settings: Settings
) -> None:
    worker.add_events([event(1)])
    keys = Keys(settings.name)
    with client_of(server) as client:
        for fields in ({"event": "{"}, {"event": '{"type": "drop"}'}, {"other": "1"}):
            client.xadd(keys.events, fields)
        client.set(keys.state, "no json")
    assert await service.events(10) == [event(1)]
    with pytest.raises(StreamAway, match="cannot be read"):
        await service.state()


async def test_a_worker_that_was_deposed_changes_neither_state_nor_events(
    worker: WorkerBoard, service: ServiceBoard, settings: Settings
) -> None:
    worker.put_state({"of": "the first"})
    worker.add_events([event(1)])
    later = WorkerBoard(settings, token(settings))
    later.put_state({"of": "the second"})
    with pytest.raises(NotLeading):
        worker.put_state({"of": "the first"})
    with pytest.raises(NotLeading):
        worker.add_events([event(2)])
    later.add_events([event(3)])
    assert await service.state() == {"of": "the second"}
    assert await service.events(5) == [event(3), event(1)]
    later.close()


async def test_without_a_lease_nothing_is_told_until_it_is_back(
    worker: WorkerBoard, service: ServiceBoard, settings: Settings, server: EmbeddedRedis
) -> None:
    lease = Keys(settings.name).lease
    with client_of(server) as client:
        held = client.hgetall(lease)
        client.delete(lease)
        with pytest.raises(StreamAway):
            worker.add_events([event(1)])
        client.hset(lease, mapping=held)
    worker.add_events([event(2)])
    assert await service.events(5) == [event(2), event(1)]


@pytest.mark.parametrize("name", ["state", "events"])
async def test_a_value_of_another_type_is_set_aside_and_the_next_word_is_heard(
    worker: WorkerBoard,
    service: ServiceBoard,
    settings: Settings,
    server: EmbeddedRedis,
    name: str,
) -> None:
    key = getattr(Keys(settings.name), name)
    with client_of(server) as client:
        client.rpush(key, "mine")
        with pytest.raises(StreamAway):
            await (service.state() if name == "state" else service.events(5))
        assert client.lrange(f"{key}:set-aside", 0, -1) == [b"mine"]
        client.rpush(key, "mine again")
        if name == "events":
            with pytest.raises(StreamAway):
                worker.add_events([event(1)])
    worker.put_state({"a": 1})
    worker.add_events([])
    assert await service.state() == {"a": 1}
    assert await service.events(5) == ([event(1)] if name == "events" else [])


async def test_events_told_while_redis_is_away_are_told_later(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    require_server()
    with EmbeddedRedis(tmp_path_factory.mktemp("own")) as own:
        settings = settings_on(own)
        worker, service = WorkerBoard(settings, token(settings)), ServiceBoard(settings)
        own.kill()
        for n in range(2):
            with pytest.raises(StreamAway):
                worker.add_events([event(n)])
        with pytest.raises(StreamAway):
            worker.put_state({})
        with pytest.raises(StreamAway):
            await service.events(5)
        own.start()
        worker.add_events([])
        assert await service.events(5) == [event(1), event(0)]
        worker.close()
        await service.close()
