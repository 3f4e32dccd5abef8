"""A change under a key of its own is made once and answered alike each time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from deploy.embedded import EmbeddedRedis
from learndrop.answers.kept import Answers
from learndrop.errors import BadInput, OtherContent, StillRunning, StreamAway
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.upkeep import repeats
from learndrop.upkeep.repeats import Repeats
from service.app import create_app
from tests.servers import client_of, leading, server, settings_on
from tests.services import NPZ, ingress, is_problem, npz, pixels

__all__ = ["server"]


class Changes:
    """Something that can be changed, and counts how often it was."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> dict[str, Any]:
        self.made += 1
        return {"made": self.made, "ids": {"a": "b"}}


@pytest.fixture
async def known(server: EmbeddedRedis) -> AsyncIterator[Repeats]:
    made = Repeats(settings_on(server))
    yield made
    await made.close()


async def test_the_same_key_and_content_are_answered_alike(known: Repeats) -> None:
    change = Changes()
    answers = [await known.once("boss", "k", "replay 1", change) for _ in range(3)]
    assert change.made == 1 and answers == [{"made": 1, "ids": {"a": "b"}}] * 3
    assert (await known.once("other", "k", "replay 1", change))["made"] == 2
    assert (await known.once("boss", "k-2", "replay 1", change))["made"] == 3
    with pytest.raises(OtherContent):
        await known.once("boss", "k", "replay 2", change)
    assert [(await known.once("boss", "", "x", change))["made"] for _ in range(2)] == [4, 5]


async def test_the_second_of_two_at_once_is_told_to_wait(known: Repeats) -> None:
    change, may_go, began = Changes(), asyncio.Event(), asyncio.Event()

    async def slow() -> dict[str, Any]:
        began.set()
        await may_go.wait()
        return await change()

    first = asyncio.create_task(known.once("boss", "k", "x", slow))
    await began.wait()
    with pytest.raises(StillRunning) as caught:
        await known.once("boss", "k", "x", slow)
    assert caught.value.retry_after_s > 0
    may_go.set()
    assert await first == await known.once("boss", "k", "x", slow)
    assert change.made == 1


async def test_a_change_that_failed_may_be_asked_for_again(known: Repeats) -> None:
    async def fails() -> dict[str, Any]:
        raise BadInput("no")

    with pytest.raises(BadInput):
        await known.once("boss", "k", "x", fails)
    assert (await known.once("boss", "k", "x", Changes()))["made"] == 1


async def test_a_change_whose_maker_died_may_be_made_after_a_while(
    known: Repeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = asyncio.Event()

    async def never() -> dict[str, Any]:
        began.set()
        await asyncio.sleep(1000)
        return {}

    dying = asyncio.create_task(known.once("boss", "k", "x", never))
    await began.wait()
    with pytest.raises(StillRunning):
        await known.once("boss", "k", "x", Changes())
    monkeypatch.setattr(repeats, "UNDER_WAY_S", 0)
    assert (await known.once("boss", "k", "x", Changes()))["made"] == 1
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)


async def test_what_was_remembered_before_keys_had_lists_goes_first(server: EmbeddedRedis) -> None:
    settings = settings_on(server, idempotency_kept=4)
    keys, known = Keys(settings.name), Repeats(settings)
    with client_of(server) as redis:
        for n in range(4):  # as an older release wrote them
            redis.hset(keys.batches, f"old-{n}", f"{int(time.time()) - 100} c told")
            redis.lpush(keys.batches_order, f"{int(time.time()) - 100} old-{n}")
        assert (await known.window())[0] == 4
        for n in range(2):
            await known.once("boss", f"k-{n}", "x", Changes())
        assert redis.hexists(keys.batches, "old-2") and not redis.hexists(keys.batches, "old-1")
        assert (await known.window())[0] == 4
        assert redis.zrange(keys.batches_held, 0, -1, withscores=True) == [(b"", 2), (b":boss", 2)]
    await known.close()


async def test_what_a_silent_key_left_goes_after_its_time(server: EmbeddedRedis) -> None:
    settings = settings_on(server, idempotency_ttl_s=100)
    keys, known = Keys(settings.name), Repeats(settings)
    await known.once("gone", "k", "x", Changes())
    await known.close()
    with client_of(server) as redis:
        (name,) = redis.hkeys(keys.batches)
        redis.hset(keys.batches, name, b"5 " + redis.hget(keys.batches, name).split(b" ", 1)[1])
        redis.lset(f"{keys.batches_order}:gone", 0, b"5 " + name)
        other = Repeats(settings)
        for n in range(200):
            await other.once("boss", f"k-{n}", "x", Changes())
            if not redis.exists(f"{keys.batches_order}:gone"):
                break
        assert not redis.hexists(keys.batches, name)
        assert redis.zscore(keys.batches_held, ":gone") is None
        await other.close()


async def test_a_refused_change_leaves_nothing_behind(known: Repeats) -> None:
    async def fails() -> dict[str, Any]:
        raise BadInput("no")

    for n in range(3):
        with pytest.raises(BadInput):
            await known.once("boss", f"k-{n}", "x", fails)
    assert await known.window() == (0, 0.0)


async def test_a_list_of_a_key_that_a_stranger_took_is_set_aside(server: EmbeddedRedis) -> None:
    settings = settings_on(server)
    keys, known = Keys(settings.name), Repeats(settings)
    with client_of(server) as redis:
        redis.set(f"{keys.batches_order}:boss", "mine")
        await known.once("boss", "k", "x", Changes())
        assert redis.get(f"{keys.batches_order}:boss:set-aside") == b"mine"
    await known.close()


async def test_without_redis_nothing_is_changed() -> None:
    alone, change = Repeats(load_settings(redis_url="redis://127.0.0.1:1/0")), Changes()
    with pytest.raises(StreamAway):
        await alone.once("boss", "k", "x", change)
    assert change.made == 0
    await alone.close()


@pytest.fixture
def bury(server: EmbeddedRedis, tmp_path: Path) -> Iterator[tuple[Settings, Callable[[], None]]]:
    """Settings, and what puts two more samples among the dead letters."""
    settings = settings_on(server, data_dir=tmp_path)
    consumer = leading(settings)

    async def publish() -> None:
        publisher = RedisPublisher(settings)
        await publisher.publish([Sample(np.zeros((8, 8, 3), np.uint8), "a")] * 2)
        await publisher.close()

    def bury() -> None:
        asyncio.run(publish())
        for entry in consumer.claim(2, 0.2):
            consumer.bury(entry, "unreadable", "a test")

    yield settings, bury
    consumer.close()


@contextmanager
def two_letters(
    settings: Settings, bury: Callable[[], None]
) -> Iterator[tuple[TestClient, str, str]]:
    """A service with two dead letters, and their ids."""
    bury()
    with TestClient(create_app(settings)) as http:
        first, second = (one["id"] for one in http.get("/v1/dead-letters").json()["dead_letters"])
        yield http, first, second


def test_a_dead_letter_is_put_back_once_and_answered_alike(
    bury: tuple[Settings, Callable[[], None]],
) -> None:
    with two_letters(*bury) as (http, first, second):
        key = {"idempotency-key": "k"}
        answers = [http.post(f"/v1/dead-letters/{first}/replay", headers=key) for _ in range(2)]
        assert [a.status_code for a in answers] == [202, 202]
        assert answers[0].json() == answers[1].json() and answers[0].json()["replayed"] == 1
        other = http.post(f"/v1/dead-letters/{second}/replay", headers=key)
        is_problem(other, 422, "other-content")
        is_problem(http.post(f"/v1/dead-letters/{first}/replay"), 404, "not-kept")
        rest = [
            http.post("/v1/dead-letters/replay", headers={"idempotency-key": "all"}).json()
            for _ in range(2)
        ]
        assert rest[0] == rest[1] and rest[0]["replayed"] == 1
        assert http.get("/v1/state").json()["samples"]["pending"] == 2


def test_dead_letters_are_thrown_away_once_and_answered_alike(
    bury: tuple[Settings, Callable[[], None]],
) -> None:
    with two_letters(*bury) as (http, first, second):
        key = {"idempotency-key": "k"}
        answers = [http.delete(f"/v1/dead-letters/{first}", headers=key) for _ in range(2)]
        assert [a.status_code for a in answers] == [200, 200]
        assert answers[0].json() == answers[1].json() == {"purged": 1, "left": 0}
        is_problem(http.delete(f"/v1/dead-letters/{second}", headers=key), 422, "other-content")
        is_problem(http.post(f"/v1/dead-letters/{first}/replay", headers=key), 422, "other-content")
        is_problem(http.delete(f"/v1/dead-letters/{first}"), 404, "not-kept")
        every = {"idempotency-key": "all"}
        assert http.delete("/v1/dead-letters", headers=every).json() == {"purged": 1, "left": 0}
        bury[1]()
        again = http.delete("/v1/dead-letters", headers=every)
        assert again.json() == {"purged": 1, "left": 0}
        assert http.get("/v1/dead-letters").json()["kept"]["unreadable"] == 2  # those stay
        is_problem(
            http.delete("/v1/dead-letters?reason=unreadable", headers=every), 422, "other-content"
        )
        assert http.delete("/v1/dead-letters").json() == {"purged": 2, "left": 0}
        metrics = http.get("/metrics").text.splitlines()
        assert "learndrop_dead_letters_purged_total 4.0" in metrics
        samples = http.get("/v1/state").json()["samples"]
        assert (samples["accepted"], samples["buried"], samples["pending"]) == (4, 4, 0)


async def test_a_prediction_is_taken_away_once_and_answered_alike(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    settings = settings_on(server, data_dir=tmp_path)
    answers = Answers(settings)
    one, other = await answers.put([{"label": "a", "model_version": 1}] * 2)
    await answers.close()
    with TestClient(create_app(settings)) as http:
        key = {"idempotency-key": "k"}
        told = [http.delete(f"/v1/predictions/{one}", headers=key) for _ in range(2)]
        assert [a.status_code for a in told] == [200, 200]
        assert told[0].json() == told[1].json() == {"deleted": one, "sample_id": None}
        is_problem(http.delete(f"/v1/predictions/{other}", headers=key), 422, "other-content")
        is_problem(http.delete(f"/v1/predictions/{one}"), 404, "not-kept")


def test_a_sample_deleted_again_tells_its_receipt_whatever_the_header_says(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    settings = settings_on(server, data_dir=tmp_path)
    with TestClient(create_app(settings)) as http:
        body = npz(images=pixels(2), labels=["a", "b"])
        one, other = http.post("/v1/samples", content=body, headers=NPZ).json()["ids"]
        key = {"idempotency-key": "k"}
        for sample_id in (one, other, one):
            answer = http.delete(f"/v1/samples/{sample_id}", headers=key)
            assert answer.status_code == 202 and answer.json()["sample_id"] == sample_id
            assert answer.json()["learned"] == "no"
        assert http.get("/v1/state").json()["samples"]["deleted"] == 2


def test_every_route_that_changes_something_takes_the_header_or_needs_none(tmp_path: Path) -> None:
    with ingress(tmp_path) as door:
        paths = door.http.get("/openapi.json").json()["paths"]
    without = set()
    for path, methods in paths.items():
        for method in set(methods) - {"get"}:
            named = {one["name"] for one in methods[method].get("parameters", [])}
            if "Idempotency-Key" not in named:
                without.add(f"{method} {path}")
    assert without == {"post /v1/predictions", "delete /v1/samples/{sample_id}"}
