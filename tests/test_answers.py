"""Answers are kept for a while, found by id, and paged newest first."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.answers.kept import PAUSE_S, Answers
from learndrop.errors import BadInput, NotFound, StreamAway
from learndrop.server.keys import Keys
from learndrop.settings import load_settings
from tests.servers import client_of, server, settings_on

__all__ = ["server"]


LATER = "9" * 15 + "-0"
"""An id that no age has passed."""


@pytest.fixture
async def answers(server: EmbeddedRedis) -> AsyncIterator[Answers]:
    kept = Answers(settings_on(server, predictions_kept=200))
    yield kept
    await kept.close()


def told(count: int) -> list[dict[str, object]]:
    return [{"label": f"größe {n}", "probabilities": {"a": 0.5}} for n in range(count)]


async def test_an_answer_is_found_by_the_id_it_was_given(answers: Answers) -> None:
    ids = await answers.put(told(3))
    assert len(set(ids)) == 3
    for answer_id, answer in zip(ids, told(3), strict=True):
        kept = await answers.get(answer_id)
        assert (kept.id, kept.answer) == (answer_id, answer)
        assert (kept.label, kept.sample_id, kept.pictured) == (None, None, False)


@pytest.mark.parametrize("answer_id", ["", "0-1", "1-1", "x", "1-1-1", "-", "+", "9" * 30, "1"])
async def test_an_unknown_id_is_not_found(answers: Answers, answer_id: str) -> None:
    await answers.put(told(1))
    with pytest.raises(NotFound):
        await answers.get(answer_id)


async def test_pages_go_from_new_to_old_and_do_not_shift(answers: Answers) -> None:
    ids = await answers.put(told(7))
    first, cursor = await answers.page(None, 3)
    await answers.put(told(2))
    second, cursor = await answers.page(cursor, 3)
    third, end = await answers.page(cursor, 3)
    assert [a.id for page in (first, second, third) for a in page] == ids[::-1]
    assert end is None
    exactly, none_more = await answers.page(None, 9)
    assert len(exactly) == 9 and none_more is None


async def test_no_answers_are_an_empty_page(answers: Answers) -> None:
    assert await answers.page(None, 5) == ([], None)


@pytest.mark.parametrize("cursor", ["", "x", "(1-1", "+", "1"])
async def test_a_cursor_that_is_none_of_ours_is_refused(answers: Answers, cursor: str) -> None:
    with pytest.raises(BadInput) as refused:
        await answers.page(cursor, 5)
    assert refused.value.item == "cursor"


async def test_the_oldest_go_first_and_never_more_than_the_bound_stay(
    server: EmbeddedRedis,
) -> None:
    settings = settings_on(server, predictions_kept=100)
    kept = Answers(settings)
    first = (await kept.put(told(1)))[0]
    last = [(await kept.put(told(100)))[-1] for _ in range(8)][-1]
    with client_of(server) as redis:
        assert redis.xlen(Keys(settings.name).predictions) == 100
    with pytest.raises(NotFound, match="the newest 100"):
        await kept.get(first)
    assert (await kept.get(last)).id == last
    await kept.close()


async def test_without_redis_every_way_says_so_and_storing_is_not_tried_again_at_once() -> None:
    kept = Answers(load_settings(redis_url="redis://127.0.0.1:1/0"))
    for ask in (kept.put(told(1)), kept.get(LATER), kept.page(None, 5)):
        with pytest.raises(StreamAway):
            await ask
    with pytest.raises(StreamAway, match="a moment ago"):
        await kept.put(told(1))
    await kept.close()


async def test_a_server_that_hangs_holds_an_answer_back_for_a_second_at_most(
    tmp_path: Path,
) -> None:
    own = EmbeddedRedis(tmp_path)
    own.start()
    kept = Answers(settings_on(own))
    try:
        await kept.put(told(1))
        assert own.pid is not None
        os.kill(own.pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(StreamAway):
            await kept.put(told(1))
        assert time.monotonic() - began < 3
        os.kill(own.pid, signal.SIGCONT)
        deadline = time.monotonic() + PAUSE_S + 10
        while True:  # and it comes back by itself, with an answer that is its own
            try:
                ids = await kept.put([{"label": "after"}])
                break
            except StreamAway:
                assert time.monotonic() < deadline
        assert (await kept.get(ids[0])).answer["label"] == "after"
    finally:
        await kept.close()
        own.kill()
