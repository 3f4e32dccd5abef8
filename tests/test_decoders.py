"""Processes that decode: the same to the byte, and whatever ends one of them harms nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from learndrop.errors import BadInput, BadPicture, Busy, TooLong
from learndrop.images.pictures import Pixels
from service.decoding import decoder_process, lane
from service.decoding.allowance import Allowance
from service.decoding.inputs import Shape, inputs
from tests.decoding import GOOD, LIMITS, SHAPE, Scene, in_process, running, told
from tests.fuzz.mutations import mutant
from tests.fuzz.targets import doors
from tests.poisoned_decoder import CRASH, HANG, LIE, RAISE
from tests.processes import wait_until
from tests.services import encoded, ingress, is_problem, pixels


async def test_a_decoder_gives_and_refuses_the_same_to_the_byte() -> None:
    (pictures,) = (door for door in doors() if door.name == "picture")
    files = [*pictures.seeds, b"", b"cat.jpg", *(mutant(pictures.seeds, n) for n in range(150))]
    refused = 0
    async with running() as scene:
        for data in files:
            expected = in_process(data)
            try:
                (made,) = await scene.decoders.decode([data], 7, SHAPE, Allowance(10.0))
            except BadInput as exc:
                assert told(exc) == expected
                refused += 1
            else:
                assert not isinstance(expected, dict)
                assert made.dtype == np.uint8 and np.array_equal(made, expected)
        assert scene.ended == []
    assert 20 < refused < len(files) - 20


@pytest.mark.parametrize("shape", [Shape(32, "pad"), Shape(300, "squash"), Shape(7, "crop")])
async def test_batches_of_every_shape_come_back_whole(shape: Shape) -> None:
    files = [encoded(p, kind) for p in pixels(20, 60) for kind in ("JPEG", "PNG", "WEBP")]
    async with running() as scene:
        made = await scene.decode(files, shape=shape)
    expected: list[Pixels] = []
    while len(expected) < len(files):
        expected += inputs(files[len(expected) :], shape, LIMITS, 10.0)
    assert np.array_equal(np.stack(made), np.stack(expected))


async def test_one_that_does_not_come_back_is_ended_and_another_one_started() -> None:
    async with running() as scene:
        pid = await scene.pid()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TooLong) as refused:
            await scene.decode([GOOD] * 3, most_s=0.1)
        assert (refused.value.limit, refused.value.item) == (0.1, "images")
        assert len(await scene.decode([GOOD] * 3)) == 3
        await wait_until(lambda: scene.ended == ["time"])
        assert pid not in scene.decoders.pids
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)  # and it is not left as a zombie


async def test_one_that_is_killed_at_work_costs_nobody_an_answer() -> None:
    async with running() as scene:
        pid = await scene.pid()
        os.kill(pid, signal.SIGSTOP)
        asked = asyncio.create_task(scene.decode([GOOD] * 3))
        await wait_until(lambda: scene.decoders.working == 1)
        os.kill(pid, signal.SIGKILL)
        assert len(await asked) == 3
        await wait_until(lambda: scene.ended == ["crash"])


async def test_a_picture_that_ends_its_decoder_is_named_and_the_others_are_answered(
    poisoned: None,
) -> None:
    bad = [GOOD] * 3 + [GOOD + CRASH] + [GOOD] * 3
    async with running() as scene:
        refused, *others = await asyncio.gather(
            scene.decode(bad), *(scene.decode([GOOD] * 5) for _ in range(4)), return_exceptions=True
        )
        assert isinstance(refused, BadPicture)
        assert (refused.index, refused.item) == (3, "images[3]")
        assert "ends the process" in str(refused)
        assert [isinstance(one, list) and len(one) for one in others] == [5] * 4
        await wait_until(lambda: scene.ended == ["crash"] * 2)


@pytest.mark.parametrize("bug", [LIE, RAISE])
async def test_a_decoder_that_answers_nonsense_or_fails_is_ended(
    poisoned: None, bug: bytes
) -> None:
    async with running() as scene:
        with pytest.raises(BadPicture):
            await scene.decode([GOOD + bug])
        assert len(await scene.decode([GOOD])) == 1
        await wait_until(lambda: scene.ended == ["crash"] * 2)


async def test_a_hanging_picture_holds_up_nobody_for_longer_than_its_time(poisoned: None) -> None:
    async with running() as scene:
        await scene.pid()
        refused, answered = await asyncio.gather(
            scene.decode([GOOD, GOOD + HANG], most_s=0.2), scene.decode([GOOD]),
            return_exceptions=True,
        )  # fmt: skip
        assert isinstance(refused, TooLong) and isinstance(answered, list)
        await wait_until(lambda: scene.ended == ["time"])


async def test_under_kills_each_request_gets_its_own_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane, "AT_ONCE", 100)
    done = 0

    async def ask(scene: Scene, shade: int) -> None:
        nonlocal done
        flat = np.full((40, 40, 3), shade, np.uint8)
        for made in await scene.decode([encoded(flat)] * 5):
            assert (made == shade).all()
        done += 1

    async with running(decoders=2) as scene:
        asked = asyncio.gather(*(ask(scene, shade) for shade in range(200)))
        for kills in range(1, 6):
            await wait_until(lambda kills=kills: done >= 30 * kills)  # type: ignore[misc]
            os.kill(await scene.pid(), signal.SIGKILL)
        await asked
        await wait_until(lambda: scene.ended == ["crash"] * 5)


async def test_a_request_that_is_cancelled_leaves_its_decoder_to_the_next(poisoned: None) -> None:
    async with running() as scene:
        pid = await scene.pid()
        os.kill(pid, signal.SIGSTOP)
        asked = asyncio.create_task(scene.decode([GOOD]))
        await wait_until(lambda: scene.decoders.working == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        following = asyncio.create_task(scene.decode([GOOD] * 2))
        os.kill(pid, signal.SIGCONT)
        assert len(await following) == 2
        assert scene.decoders.pids == [pid]


async def test_where_none_can_be_started_files_are_refused_and_tries_are_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoder_process, "MODULE", "tests.no_such_module")
    async with running() as scene:
        await wait_until(lambda: len(scene.ended) == lane.AT_ONCE)
        with pytest.raises(Busy, match="see the log") as refused:
            await scene.decode([GOOD])
        assert 0 < refused.value.retry_after_s <= lane.PAUSE_S
        assert scene.ended == ["start"] * lane.AT_ONCE
        assert scene.decoders.trouble


async def test_one_that_starts_at_last_ends_the_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "MODULE", "tests.no_such_module")
    monkeypatch.setattr(lane, "PAUSE_S", 0.2)
    async with running() as scene:
        await wait_until(lambda: bool(scene.decoders.trouble))
        monkeypatch.undo()
        await scene.pid()
        assert scene.decoders.trouble == ""
        assert len(await scene.decode([GOOD])) == 1


async def test_a_system_that_has_no_process_to_give_is_no_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    async with running() as scene:
        with pytest.raises(Busy):
            await scene.decode([GOOD])
        assert set(scene.ended) == {"start"}


def test_it_is_told_by_readyz_and_in_the_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_process, "MODULE", "tests.no_such_module")
    with ingress(tmp_path, decoders=1) as door:
        body = {"files": [("images", GOOD)], "data": {"labels": "a"}}
        is_problem(door.http.post("/v1/samples", **body), 503, "busy")  # type: ignore[arg-type]
        ready = is_problem(door.http.get("/readyz"), 503, "not-ready")
        assert "decodes picture files" in ready["reasons"][-1]
        assert door.metric("learndrop_decoders_ended_total", why="start") > 0
        assert door.metric("learndrop_decoders") == 0


async def test_another_one_is_started_where_no_thread_is_to_be_had() -> None:
    none = ThreadPoolExecutor(1)
    none.shutdown()
    asyncio.get_running_loop().set_default_executor(none)
    async with running() as scene:
        os.kill(await scene.pid(), signal.SIGKILL)
        await wait_until(lambda: scene.ended == ["crash"])
        assert len(await scene.decode([GOOD])) == 1


async def test_a_picture_that_is_tried_again_when_the_service_stops_is_not_blamed(
    poisoned: None,
) -> None:
    async with running() as scene:
        asked = asyncio.create_task(scene.decode([GOOD + HANG], most_s=60.0))
        await wait_until(lambda: scene.decoders.working == 1)
        os.kill(await scene.pid(), signal.SIGKILL)
        await wait_until(lambda: scene.ended == ["crash"] and scene.decoders.working == 1)
        await scene.decoders.stop()
        with pytest.raises(Busy):
            await asked


async def test_waiting_for_a_decoder_ends_with_the_service() -> None:
    async with running() as scene:
        os.kill(await scene.pid(), signal.SIGSTOP)
        asked = [asyncio.create_task(scene.decode([GOOD])) for _ in range(3)]
        await wait_until(lambda: scene.decoders.working == 1)
        await scene.decoders.stop()
        for one in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(one, Busy)
        assert scene.ended == []
