"""While the stream is full, what does not fit is refused from memory; what would fit is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from learndrop.errors import StreamAway, StreamFull
from learndrop.settings import load_settings
from learndrop.stream.account import Waiting
from learndrop.stream.memory_consumer import MemoryConsumer
from learndrop.stream.memory_stream import MemoryStream
from learndrop.stream.messages import Sample
from learndrop.stream.taking import Once, Taken
from service.app import create_app
from service.backlog import Backlog
from tests.services import NPZ, as_files, encoded, is_problem, listening_app, npz, pixels

PIXEL_BYTES = 8 * 8 * 3


class Counting(MemoryStream):
    """Counts how often it is asked to take something."""

    asked = 0
    away = False

    async def take(self, samples: Sequence[Sample], once: Once | None = None) -> Taken:
        self.asked += 1
        return await super().take(samples, once)

    async def waiting(self) -> Waiting:
        if self.away:
            raise StreamAway("gone")
        return await super().waiting()


def samples(count: int) -> list[Sample]:
    return [Sample(np.zeros((8, 8, 3), np.uint8), "a") for _ in range(count)]


async def seen(backlog: Backlog) -> None:
    """Let the looking take its first look."""
    for _ in range(3):
        await asyncio.sleep(0)


def full_of_8(
    story: Callable[[Backlog, Counting], Awaitable[None]], *, full_memory_s: float = 10.0
) -> None:
    """A stream of at most 10 that holds 8 and has refused 3 more."""

    async def play() -> None:
        settings = load_settings(max_pending=10, full_memory_s=full_memory_s)
        stream = Counting(settings)
        backlog = Backlog(settings, stream)
        await backlog.take(samples(8), None)
        backlog.refuse(3, 3 * PIXEL_BYTES)  # nothing is known before the stream has refused
        with pytest.raises(StreamFull):
            await backlog.take(samples(3), None)
        await seen(backlog)
        await story(backlog, stream)
        await backlog.stop()

    asyncio.run(play())


def test_what_does_not_fit_is_refused_and_what_fits_is_not() -> None:
    async def story(backlog: Backlog, stream: Counting) -> None:
        asked = stream.asked
        with pytest.raises(StreamFull, match="8 samples") as told:
            backlog.refuse(3, 3 * PIXEL_BYTES)
        assert told.value.retry_after_s >= 1 and told.value.value == 11
        assert stream.asked == asked
        backlog.refuse(2, 2 * PIXEL_BYTES)
        assert (await backlog.take(samples(2), None)).fresh == 2

    full_of_8(story)


def test_bytes_count_too() -> None:
    async def story(backlog: Backlog, stream: Counting) -> None:
        with pytest.raises(StreamFull):
            backlog.refuse(1, 10**12)

    full_of_8(story)


def test_room_is_noticed_within_the_time_that_the_setting_says() -> None:
    async def story(backlog: Backlog, stream: Counting) -> None:
        worker = MemoryConsumer(stream)
        worker.claim(8, 0.0)
        worker.release()
        worker.ack(worker.position)
        await asyncio.sleep(0.1)
        backlog.refuse(3, 3 * PIXEL_BYTES)
        assert (await backlog.take(samples(3), None)).fresh == 3

    full_of_8(story, full_memory_s=0.1)


def test_without_a_memory_the_stream_is_always_asked() -> None:
    async def story(backlog: Backlog, stream: Counting) -> None:
        backlog.refuse(3, 3 * PIXEL_BYTES)

    full_of_8(story, full_memory_s=0.0)


def test_a_stream_that_is_away_is_not_remembered() -> None:
    async def story(backlog: Backlog, stream: Counting) -> None:
        stream.away = True
        await asyncio.sleep(0.1)
        backlog.refuse(3, 3 * PIXEL_BYTES)

    full_of_8(story, full_memory_s=0.1)


def test_a_stream_that_is_not_asked_for_any_more_is_forgotten() -> None:
    async def play() -> None:
        now_s = 0.0
        settings = load_settings(max_pending=10, full_memory_s=0.01)
        backlog = Backlog(settings, Counting(settings), clock=lambda: now_s)
        await backlog.take(samples(10), None)
        with pytest.raises(StreamFull):
            await backlog.take(samples(1), None)
        await seen(backlog)
        with pytest.raises(StreamFull):
            backlog.refuse(1, PIXEL_BYTES)
        now_s = 3.0
        backlog.refuse(1, PIXEL_BYTES)
        await asyncio.sleep(0.05)
        now_s = 0.0
        backlog.refuse(1, PIXEL_BYTES)  # nobody looks: nothing is known, however young it was
        await backlog.stop()

    asyncio.run(play())


def test_over_http_nothing_is_decoded_and_repeats_are_answered(tmp_path: Path) -> None:
    nobody = {"redis_url": "redis://127.0.0.1:1/0", "fsync": "no"}
    settings = load_settings(data_dir=tmp_path, max_pending=4, full_memory_s=10, **nobody)
    stream = Counting(settings)
    with listening_app(create_app(settings, publisher=stream)) as url:
        with httpx2.Client(base_url=url) as http:

            def post(key: str = "", **more: Any) -> httpx2.Response:
                body = npz(images=pixels(4), labels=list("abcd"), **more)
                once = {"idempotency-key": key} if key else {}
                return http.post("/v1/samples", content=body, headers=NPZ | once)

            first = post("one", ids=list("wxyz"))
            assert first.status_code == 202
            is_problem(post(), 429, "stream-full", limit=4, value=8)
            while True:  # until the first look
                asked = stream.asked
                is_problem(post(), 429, "stream-full", limit=4, value=8)
                if stream.asked == asked:
                    break
            damaged = as_files([encoded(pixels()[0])[:60]])
            answer = http.post("/v1/samples", files=damaged, data={"labels": "a"})
            is_problem(answer, 429, "stream-full")
            assert stream.asked == asked
            assert post("one", ids=list("wxyz")).json() == first.json()
            assert post("two", ids=list("wxyz")).json()["duplicates"] == [0, 1, 2, 3]
            assert stream.asked == asked + 2
