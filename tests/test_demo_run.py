"""The demo for real, but short: the whole service, over HTTP, then what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
import pytest
from PIL import Image

from deploy.embedded import free_port
from tests.servers import require_server

ROOT = Path(__file__).resolve().parent.parent
SHORT = {
    # Everything of the demo, on a network small enough to settle within a few hundred samples.
    "LEARNDROP_NETWORK": "small-resnet10",
    "LEARNDROP_IMAGE_SIZE": "16",
    "LEARNDROP_RATE": "0.05",
    "LEARNDROP_WINDOW": "8",
    "LEARNDROP_WORKER_THREADS": "1",
    "LEARNDROP_CHECKPOINT_S": "1",
}


@dataclass
class Running:
    """A demo in a process of its own, its lines read as they come."""

    arguments: list[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # a test run in the background ignores Ctrl-C, and whoever it starts would inherit that
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        clean = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "deploy.demo", *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=clean | SHORT | {"PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def until(self, true: Callable[[], bool], seconds: float = 200.0) -> None:
        """Wait for a condition; tells what was printed when it does not come true."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None or true(), self.text
            time.sleep(0.05)

    def end(self, seconds: float = 60.0) -> int:
        """Wait for the process; its exit code."""
        code = self.process.wait(seconds)
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture(scope="module")
def stayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    """A short demo that has played and keeps its service up."""
    require_server()
    out = tmp_path_factory.mktemp("demo") / "with a space"
    port = free_port()
    running = Running(["--out", str(out), "--port", str(port), "--scale", "0.25", "--stay"])
    try:
        running.until(lambda: "Ctrl-C stops it" in running.text)
        yield running, out
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.end()


def test_it_drops_notices_and_leaves_table_plot_and_record(stayed: tuple[Running, Path]) -> None:
    running, out = stayed
    assert "drop: " in running.text
    assert "drift: " in running.text
    assert f"plot: {out / 'demo.png'}" in running.text
    with Image.open(out / "demo.png") as picture:
        assert picture.width > 1000
    table = (out / "table.txt").read_text()
    assert "input: noise90" in table
    assert "labels: permuted" in table
    record = json.loads((out / "record.json").read_text())
    assert len({reading["phase"] for reading in record["readings"]}) == 6
    assert record["failed_answers"] == 0
    assert sum(answer["asked"] for answer in record["answers"]) >= 32
    assert max(reading["depth"] for reading in record["readings"]) > 0


def test_the_curl_lines_that_it_prints_work(stayed: tuple[Running, Path]) -> None:
    running, _ = stayed
    lines = [line.strip() for line in running.lines if line.strip().startswith("curl ")]
    assert len(lines) == 3
    answers = []
    for line in lines:
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        answers.append(json.loads(done.stdout))
    state, predictions, accepted = answers
    assert state["samples"]["accepted"] == sum(
        state["samples"][name] for name in ("learned", "buried", "deleted", "pending")
    )
    assert predictions["predictions"][0]["label"] in {str(n) for n in range(10)}
    assert accepted["accepted"] == 1


def test_ctrl_c_ends_it_and_up_sh_goes_on_with_what_it_learned(
    stayed: tuple[Running, Path],
) -> None:
    running, out = stayed
    running.process.send_signal(signal.SIGINT)
    assert running.end() in (0, 1)  # what such a short run showed, not a traceback
    assert "Traceback" not in running.text
    url = (
        next(line for line in running.lines if "curl " in line).split()[2].removesuffix("/v1/state")
    )
    up = subprocess.Popen(
        [str(out / "up.sh")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert up.stdout is not None
    children: list[psutil.Process] = []
    try:
        assert any("Ctrl-C stops it" in line for line in up.stdout)
        learned = wait_for_state(url)["samples_learned"]
        record = json.loads((out / "record.json").read_text())
        assert learned >= record["readings"][-1]["samples"]
        children = psutil.Process(up.pid).children(recursive=True)
        assert len(children) == 6  # redis, worker, service and its two decoders, guard
    finally:
        up.send_signal(signal.SIGINT)
        _, errors = up.communicate(timeout=60)
    assert (up.returncode, errors) == (0, "")
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


def wait_for_state(url: str) -> dict[str, int]:
    """The state of a service that is starting, once its worker has told something."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state: dict[str, int] = httpx2.get(f"{url}/v1/state").json()
            if state.get("samples_learned"):
                return state
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError("the service did not come up")


def test_ctrl_c_in_the_middle_still_writes_table_and_plot(tmp_path: Path) -> None:
    require_server()
    running = Running(["--out", str(tmp_path), "--port", str(free_port()), "--scale", "5"])
    try:
        running.until(lambda: "accuracy" in running.text)
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 130
    finally:
        running.process.kill()
    assert "Traceback" not in running.text
    assert "interrupted" in running.lines[-1]
    assert (tmp_path / "table.txt").stat().st_size > 100
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width > 1000


def test_a_busy_port_is_one_line(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        running = Running(["--out", str(tmp_path), "--port", str(taken.getsockname()[1])])
        assert running.end() == 1
    assert running.lines[-1].startswith("error: port ")
    assert "Traceback" not in running.text
