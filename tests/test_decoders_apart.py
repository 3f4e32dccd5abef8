"""A key whose pictures end decoders has one apart: it takes none from others."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from learndrop.disk.keyring import create
from learndrop.errors import BadPicture, Busy, TooLong
from service.decoding import decoders, lane
from tests.decoding import GOOD, running
from tests.poisoned_decoder import CRASH, HANG
from tests.processes import wait_until
from tests.published import publish
from tests.services import ingress


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
