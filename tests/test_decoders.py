"""Processes that decode: the same to the byte, and whatever ends one of them harms nobody else."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learndrop.errors import BadInput, BadPicture, Busy, TooLong
from learndrop.keyring import create
from learndrop.pictures import PictureLimits, Pixels
from learndrop.settings import load_settings
from service import decoder_process, decoders, lane, syscalls
from service.allowance import Allowance
from service.decoders import Decoders
from service.inputs import Shape, inputs
from service.wire import ANSWER_BYTES, GREETING, Ask
from tests.fuzz.mutations import mutant
from tests.fuzz.targets import doors
from tests.poisoned_decoder import CRASH, HANG, LIE, RAISE, REACH
from tests.processes import wait_until
from tests.published import publish
from tests.services import encoded, ingress, is_problem, pixels

SHAPE = Shape(32, "crop")
LIMITS = PictureLimits(max_s=10.0)
GOOD = encoded(pixels()[0])
IN_PROC = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads Linux's /proc")


class Scene:
    """Decoders, and what was told of those that ended."""

    def __init__(self, **settings: Any) -> None:
        self.ended: list[str] = []
        own: dict[str, Any] = {"decoders": 1, "max_image_pixels": 16_000_000}
        self.decoders = Decoders(load_settings(**(own | settings)), self.ended.append)

    async def decode(
        self,
        files: Sequence[bytes],
        *,
        most_s: float = 10.0,
        shape: Shape = SHAPE,
        key: str = "",
    ) -> list[Pixels]:
        """All of them, in turns."""
        made: list[Pixels] = []
        allowance = Allowance(most_s)
        while len(made) < len(files):
            made += await self.decoders.decode(files[len(made) :], len(made), shape, allowance, key)
        return made

    async def pid(self) -> int:
        """The process of the first one, as soon as it is there."""
        await wait_until(lambda: self.decoders.ready > 0)
        return self.decoders.pids[0]


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Scene]:
    scene = Scene(**settings)
    await scene.decoders.start()
    try:
        yield scene
    finally:
        await scene.decoders.stop()


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders in which some pictures do harm."""
    monkeypatch.setattr(decoder_process, "MODULE", "tests.poisoned_decoder")


def told(error: BadInput) -> dict[str, object]:
    """Everything that an answer is made of."""
    return vars(error) | {"kind": type(error), "text": str(error)}


def in_process(data: bytes) -> Pixels | dict[str, object]:
    """What this process makes of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return inputs([data], SHAPE, LIMITS, 10.0, first=7)[0]
        except BadInput as exc:
            return told(exc)


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


@IN_PROC
async def test_a_decoder_has_no_secret_no_file_and_no_way_to_write_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("LEARNDROP_REDIS_URL", "LEARNDROP_API_KEY", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hunter2")
    async with running() as scene:
        of = Path(f"/proc/{await scene.pid()}")
        assert b"hunter2" not in (of / "environ").read_bytes()
        assert b"LEARNDROP" not in (of / "environ").read_bytes()
        opened = sorted(os.readlink(one).partition(":")[0] for one in (of / "fd").iterdir())
        assert opened == ["/dev/null", "/dev/null", "pipe", "socket"]
        limits = (of / "limits").read_text()
        assert limits.split("Max file size")[1].split()[:2] == ["0", "0"]
        assert limits.split("Max core file size")[1].split()[:2] == ["0", "0"]
        assert len(list((of / "task").iterdir())) == 1


@pytest.mark.skipif(platform.machine() not in syscalls.MACHINES, reason="knows no such machine")
@IN_PROC
async def test_what_a_picture_brings_into_a_decoder_reaches_nothing(poisoned: None) -> None:
    async with running() as scene:
        status = Path(f"/proc/{await scene.pid()}/status").read_text()
        assert "Seccomp:\t2\n" in status and "NoNewPrivs:\t1\n" in status
        with pytest.raises(BadPicture, match="reached: $"):
            await scene.decode([GOOD + REACH])
        assert len(await scene.decode([GOOD])) == 1
    async with running(decoder_filter=False) as scene:
        with pytest.raises(BadPicture, match="reached: file environment folder removal"):
            await scene.decode([GOOD + REACH])


@IN_PROC
async def test_a_picture_that_takes_more_memory_than_a_decoder_may_is_refused_alone() -> None:
    large = encoded(np.zeros((4000, 4000, 3), np.uint8), compress_level=1)
    async with running(decoder_bytes=96 * 2**20) as scene:
        pid = await scene.pid()
        with pytest.raises(BadPicture) as refused:
            await scene.decode([GOOD, large])
        assert refused.value.index == 1
        assert len(await scene.decode([GOOD])) == 1
        assert scene.decoders.pids == [pid]


@IN_PROC
@pytest.mark.parametrize("mode", ["RGBA", "P"])
async def test_the_default_is_enough_for_the_largest_picture_that_is_taken(mode: str) -> None:
    """WebP with transparency takes most, 21 bytes a pixel; a palette that is turned takes 10."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.new(mode, (2000, 2000))
    largest = encoded(np.asarray(picture), "WEBP" if mode == "RGBA" else "PNG", exif=exif, method=0)
    async with running(max_image_pixels=4_000_000) as scene:
        assert len(await scene.decode([largest])) == 1


async def test_signals_that_are_meant_for_the_service_do_not_end_a_decoder() -> None:
    async with running() as scene:
        pid = await scene.pid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        assert len(await scene.decode([GOOD])) == 1
        assert scene.decoders.pids == [pid]
        assert os.getpgid(pid) == pid  # a terminal's Ctrl-C does not even reach it


@pytest.mark.parametrize("hangs", [False, True])
def test_a_decoder_whose_service_is_gone_ends_even_where_it_hangs(hangs: bool) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.poisoned_decoder",
                str(theirs.fileno()),
                str(2**30),
                "1",
                "0.2",
            ],
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        assert ours.recv(ANSWER_BYTES, socket.MSG_WAITALL) == GREETING
        if hangs:
            ours.sendall(b"".join(Ask([GOOD + HANG], SHAPE, LIMITS, 0.0, 0).parts()))
        ours.close()
        assert process.wait(30) == (-signal.SIGALRM if hangs else 0)


async def test_a_key_that_ends_decoders_takes_none_from_others(poisoned: None) -> None:
    """With one decoder, which after five starts would not be there for five seconds."""
    async with running() as scene:
        for _ in range(lane.AT_ONCE):
            bad = asyncio.gather(
                *(scene.decode([GOOD + CRASH], key="bad") for _ in range(3)), return_exceptions=True
            )
            for _ in range(4):
                assert len(await scene.decode([GOOD] * 3, key="good")) == 3
            assert all(isinstance(one, BadPicture | Busy) for one in await bad)
        assert len(await scene.decode([GOOD])) == 1
        assert len(scene.ended) > lane.AT_ONCE


async def test_a_key_whose_pictures_hang_holds_up_others_once(poisoned: None) -> None:
    async with running() as scene:
        with pytest.raises(TooLong):
            await scene.decode([GOOD + HANG], most_s=0.1, key="bad")
        hanging = [
            asyncio.create_task(scene.decode([GOOD + HANG], most_s=60.0, key="bad"))
            for _ in range(1 + decoders.MOST_WAITING)
        ]
        await wait_until(lambda: scene.decoders.working == 1)
        assert len(await scene.decode([GOOD], key="good")) == 1
        done, _ = await asyncio.wait(hanging, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(Busy, match="the key 'bad'"):  # what they hold is not for others
            await done.pop()
        for one in hanging:
            one.cancel()


async def test_a_key_is_doubted_for_a_while(
    poisoned: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoders, "APART_S", 0.5)
    async with running() as scene:
        with pytest.raises(BadPicture):
            await scene.decode([GOOD + CRASH], key="bad")
        await wait_until(lambda: len(scene.decoders.pids) == 2)
        os.kill(scene.decoders.pids[0], signal.SIGSTOP)
        assert len(await scene.decode([GOOD], key="bad")) == 1
        os.kill(scene.decoders.pids[0], signal.SIGCONT)
        await asyncio.sleep(0.5)
        os.kill(scene.decoders.pids[1], signal.SIGSTOP)
        assert len(await scene.decode([GOOD], key="bad")) == 1


async def test_a_key_whose_decoder_somebody_else_ended_is_not_doubted(poisoned: None) -> None:
    async with running() as scene:
        pid = await scene.pid()
        os.kill(pid, signal.SIGSTOP)
        asked = asyncio.create_task(scene.decode([GOOD] * 3, key="good"))
        await wait_until(lambda: scene.decoders.working == 1)
        os.kill(pid, signal.SIGKILL)
        assert len(await asked) == 3
        await wait_until(lambda: len(scene.decoders.pids) == 2)
        os.kill(scene.decoders.pids[1], signal.SIGSTOP)
        assert len(await scene.decode([GOOD], key="good")) == 1


@pytest.mark.parametrize("path,status", [("/v1/samples", 202), ("/v1/predictions", 200)])
def test_a_request_is_decoded_as_one_of_its_key(
    tmp_path: Path, poisoned: None, path: str, status: int
) -> None:
    publish(tmp_path)
    data = {"labels": "a"} if path == "/v1/samples" else {}
    bad, good = (
        {"authorization": f"Bearer {create(tmp_path / 'keys.json', name, ['ingest', 'predict'])}"}
        for name in ("bad", "good")
    )
    with ingress(tmp_path, decoders=1) as door:
        for _ in range(lane.AT_ONCE):
            files = [("images", GOOD + CRASH)]
            assert door.http.post(path, files=files, data=data, headers=bad).status_code != status
            answer = door.http.post(path, files=[("images", GOOD)], data=data, headers=good)
            assert answer.status_code == status, answer.text
