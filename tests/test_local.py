"""Everything on one machine, with the real parts: up, down, kept data, every way to go wrong."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest

from deploy import embedded
from deploy.children import ROOT, Child, cores, to_environment
from deploy.embedded import free_port
from deploy.local import LocalStack
from learndrop.errors import DidNotStart
from learndrop.settings import load_settings
from tests.servers import require_server

QUICK: dict[str, Any] = {
    "image_size": 16,
    "batch": 16,
    "batch_wait_s": 0.05,
    "checkpoint_s": 0.2,
    "publish_s": 0.0,
    "precision": "float32",
    "memory_format": "contiguous",
}


def eventually(condition: Callable[[], bool], stack: LocalStack, within_s: float = 90.0) -> None:
    """Ask until it is so; a part that dies meanwhile is a failure at once."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert stack.dead() is None
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        time.sleep(0.02)


def batch(number: int) -> bytes:
    """Bright and dark squares as one .npz body."""
    labels = np.arange(number) % 2
    noise = np.random.default_rng(0).integers(0, 100, (number, 16, 16, 3))
    images = (noise + labels[:, None, None, None] * 150).astype(np.uint8)
    body = io.BytesIO()
    np.savez(body, images=images, labels=labels)
    return body.getvalue()


def send(stack: LocalStack, number: int) -> None:
    answer = httpx2.post(
        f"{stack.service.url}/v1/samples",
        content=batch(number),
        headers={"content-type": "application/x-npz"},
        timeout=30,
    )
    assert answer.status_code == 202, answer.text


def account(stack: LocalStack) -> dict[str, int]:
    state = httpx2.get(f"{stack.service.url}/v1/state", timeout=30).json()
    samples: dict[str, int] = state["samples"]
    assert samples["accepted"] == sum(
        samples[name] for name in ("learned", "buried", "deleted", "pending")
    )
    return samples


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    require_server()
    folder = tmp_path_factory.mktemp("local")
    with LocalStack.on_free_ports(folder / "data", logs=folder / "logs", **QUICK) as started:
        yield started


def test_samples_sent_over_http_are_learned_and_pictures_answered(stack: LocalStack) -> None:
    before = account(stack)["learned"]
    send(stack, 64)
    eventually(lambda: account(stack)["learned"] == before + 64, stack)
    ready = f"{stack.service.url}/readyz"  # samples can be sent before there is a model
    eventually(lambda: httpx2.get(ready).json().get("model") is not None, stack)
    pixels = io.BytesIO()
    np.savez(pixels, images=np.full((1, 16, 16, 3), 200, np.uint8))
    answer = httpx2.post(
        f"{stack.service.url}/v1/predictions",
        content=pixels.getvalue(),
        headers={"content-type": "application/x-npz"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["label"] in {"0", "1"}


def test_data_survives_a_stop_and_a_start_on_the_same_ports(stack: LocalStack) -> None:
    send(stack, 48)
    accepted = account(stack)["accepted"]
    urls = stack.service.url, stack.worker.url, stack.redis.url
    assert stack.stop() == {"service": 0, "worker": 0}
    assert not stack.redis.running
    stack.start()
    assert (stack.service.url, stack.worker.url, stack.redis.url) == urls
    assert account(stack)["accepted"] == accepted
    eventually(lambda: account(stack)["learned"] == accepted, stack)


def test_a_killed_worker_that_is_started_again_loses_nothing(stack: LocalStack) -> None:
    accepted = account(stack)["accepted"] + 256
    send(stack, 256)
    stack.worker.kill()
    account(stack)
    stack.worker.start()
    stack.worker.wait_until_healthy(90)
    eventually(lambda: account(stack)["learned"] == accepted, stack)


def test_the_service_says_that_redis_is_away_and_comes_back_by_itself(stack: LocalStack) -> None:
    stack.redis.kill()
    answer = httpx2.post(
        f"{stack.service.url}/v1/samples",
        content=batch(4),
        headers={"content-type": "application/x-npz"},
        timeout=30,
    )
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    stack.redis.start()
    eventually(lambda: httpx2.get(f"{stack.service.url}/readyz").status_code == 200, stack)
    accepted = account(stack)["accepted"] + 16
    send(stack, 16)
    eventually(lambda: account(stack)["learned"] == accepted, stack)


def test_a_second_stack_on_the_same_folder_is_refused(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOCK_WAIT_S", 0.0)
    second = LocalStack.on_free_ports(stack.data_dir, **QUICK)
    with pytest.raises(DidNotStart, match=f"in use by another .*process {stack.redis.pid}"):
        second.start()
    assert stack.dead() is None


def test_the_children_share_the_cores_and_wait_passively(stack: LocalStack) -> None:
    worker, service = stack.worker.environment, stack.service.environment
    assert service["OMP_WAIT_POLICY"] == "passive"
    assert "OMP_WAIT_POLICY" not in worker
    threads = int(worker["OMP_NUM_THREADS"]) + int(service["OMP_NUM_THREADS"])
    assert threads <= max(2, cores())
    assert worker["LEARNDROP_WORKER_THREADS"] == worker["OMP_NUM_THREADS"]


@pytest.mark.parametrize(
    ("field", "told"),
    [("port", "LEARNDROP_PORT"), ("metrics_port", "LEARNDROP_METRICS_PORT")],
)
def test_a_busy_port_is_named_and_nothing_is_left_running(
    tmp_path: Path, field: str, told: str
) -> None:
    require_server()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stack = LocalStack.on_free_ports(tmp_path, **{field: port})
        with pytest.raises(DidNotStart, match=rf"port {port} .*{told}.* in use"):
            stack.start()
    assert not stack.redis.running
    assert stack.worker.pid is None and stack.service.pid is None


def test_a_part_that_ends_at_start_tells_its_last_words(tmp_path: Path) -> None:
    require_server()
    stack = LocalStack.on_free_ports(tmp_path / "data", logs=tmp_path, network="timm:none")
    with pytest.raises(DidNotStart, match=r"the worker ended with \d+ at start: .*timm"):
        stack.start()
    assert not stack.redis.running
    assert stack.service.pid is None and stack.worker.pid is None


def test_a_part_that_never_answers_is_given_up(tmp_path: Path) -> None:
    child = Child("tests.silent", "127.0.0.1", free_port(), environment={}, log=tmp_path / "log")
    child.start()
    try:
        with pytest.raises(DidNotStart, match=rf"did not answer on port {child.port} within 0.3 s"):
            child.wait_until_healthy(0.3)
    finally:
        child.kill()


def test_only_settings_that_were_given_are_handed_on() -> None:
    settings = load_settings(classes=("a", "b"), drop=False, redis_url="redis://:secret@h:1/0")
    written = to_environment(settings)
    own = {k: v for k, v in written.items() if k not in os.environ}
    assert own == {
        "LEARNDROP_CLASSES": '["a", "b"]',
        "LEARNDROP_DROP": "false",
        "LEARNDROP_REDIS_URL": "redis://:secret@h:1/0",
    }


class Command:
    """`python -m deploy.local` as a process, and what it started."""

    def __init__(self, folder: Path) -> None:
        ports = {"PORT": str(free_port()), "METRICS_PORT": str(free_port())}
        own = ports | {"DATA_DIR": str(folder), "IMAGE_SIZE": "16", "PRECISION": "float32"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "--logs", str(folder / "logs")],
            cwd=ROOT,
            env=os.environ | {f"LEARNDROP_{k}": v for k, v in own.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = [self._line() for _ in range(6)]
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def child(self, module: str) -> psutil.Process:
        (found,) = [c for c in self.children if c.cmdline()[-2:] == ["-m", module]]
        return found

    def ended(self) -> tuple[int, str]:
        """Exit status and what it wrote to stderr, once nothing of it runs any more."""
        _, errors = self.process.communicate(timeout=90)
        _, alive = psutil.wait_procs(self.children, timeout=90)
        assert alive == []
        return self.process.returncode, errors


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    require_server()
    command = Command(tmp_path)
    yield command
    for process in (*command.children, command.process):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            pass
    command.process.communicate()


def test_sigterm_stops_everything_cleanly(command: Command) -> None:
    """As Ctrl-C does: tests/test_demo_run.py, whose up.sh is the same command."""
    assert command.said[0].startswith("starting ") and command.said[1].startswith("learndrop is up")
    assert "http://127.0.0.1:" in command.said[2] + command.said[3]
    assert len(command.children) == 6  # redis, worker, service and its two decoders, guard
    command.process.terminate()
    assert command.ended() == (0, "")


def test_a_part_that_dies_is_named_and_ends_the_rest(command: Command) -> None:
    command.child("worker").kill()
    status, errors = command.ended()
    assert status == 1
    assert errors == "error: the worker ended with -9; stopping the rest\n"


def test_a_parent_that_is_killed_leaves_nothing_running(command: Command) -> None:
    command.process.kill()
    status, _ = command.ended()
    assert status == -signal.SIGKILL
