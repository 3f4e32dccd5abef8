"""The guard: children of a killed parent end in order, those of a living one are left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from deploy.guard import end

# Says its name when it is asked to end; each line in one write, for three share a pipe.
CHILD = """
import os, signal, sys, time
def ask(*_):
    os.write(1, sys.argv[1].encode() + b"\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, ask)
os.write(1, b"ready\\n")
while True:
    time.sleep(60)
"""


def child(name: str, out: int | None = None) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, name],
        stdout=subprocess.PIPE if out is None else out,
        text=True,
    )
    # Its parent is this test, not init: somebody must take its exit code while the guard waits.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


@pytest.fixture
def said() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def guard(reader: int, *pids: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "deploy.guard", str(reader), *map(str, pids)]
    return subprocess.Popen(command, pass_fds=(reader,), start_new_session=True)


def read_lines(fd: int, number: int) -> list[str]:
    text = b""
    while text.count(b"\n") < number:
        text += os.read(fd, 4096)
    return text.decode().split()


def test_children_of_a_killed_parent_end_in_the_order_given(said: tuple[int, int]) -> None:
    children = [child(name, said[1]) for name in ("service", "worker", "redis")]
    assert read_lines(said[0], 3) == ["ready"] * 3
    reader, writer = os.pipe()
    watching = guard(reader, *(c.pid for c in children))
    os.close(reader)
    os.close(writer)  # what the kernel does when the parent is killed
    assert watching.wait(30) == 0
    assert read_lines(said[0], 3) == ["service", "worker", "redis"]
    assert [c.wait(5) for c in children] == [0, 0, 0]


def test_a_guard_that_is_dismissed_ends_nobody() -> None:
    reader, writer = os.pipe()
    with child("left alone") as process:
        watching = guard(reader, process.pid)
        os.close(reader)
        os.write(writer, b".")
        assert watching.wait(30) == 0
        os.close(writer)
        assert process.poll() is None
        process.kill()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_the_guard_does_not_end_by_a_signal_before_its_parent(said: tuple[int, int]) -> None:
    process = child("guarded", said[1])
    assert read_lines(said[0], 1) == ["ready"]
    reader, writer = os.pipe()
    watching = guard(reader, process.pid)
    os.close(reader)
    ignored = 0
    wanted = 1 << (signal.SIGTERM - 1)
    while not ignored & wanted:
        with open(f"/proc/{watching.pid}/status") as status:
            ignored = int(next(s for s in status if s.startswith("SigIgn")).split()[1], 16)
    watching.terminate()
    os.close(writer)
    assert watching.wait(30) == 0
    assert read_lines(said[0], 1) == ["guarded"]


def test_a_process_that_does_not_end_is_killed() -> None:
    stubborn = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "print(1, flush=True); time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )
    assert stubborn.stdout is not None
    stubborn.stdout.readline()
    threading.Thread(target=stubborn.wait, daemon=True).start()
    end(stubborn.pid, wait_s=0.2)
    assert stubborn.wait(10) == -signal.SIGKILL
    stubborn.stdout.close()


def test_a_process_that_is_gone_already_is_no_error() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    end(done.pid)
