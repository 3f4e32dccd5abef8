"""What a decoder may not do, take or reach, and that it ends with its service."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from learndrop.errors import BadPicture
from service.decoding import syscalls
from service.decoding.wire import ANSWER_BYTES, GREETING, Ask
from tests.decoding import GOOD, IN_PROC, LIMITS, SHAPE, running
from tests.poisoned_decoder import HANG, REACH
from tests.services import encoded


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
