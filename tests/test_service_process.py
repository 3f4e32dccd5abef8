"""`python -m service` as a process: its end, its refusals to start, slow and broken clients."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import psutil
import pytest

from deploy.children import Child
from deploy.embedded import EmbeddedRedis, free_port
from service import protocol
from tests.processes import Processes, processes, wait_until
from tests.servers import server, settings_on
from tests.services import NPZ, listening_app, memory_app, npz, pixels, service_process

__all__ = ["processes", "server"]


@pytest.fixture
def child(server: EmbeddedRedis, tmp_path: Path) -> Iterator[Child]:
    settings = settings_on(server, data_dir=tmp_path, port=free_port())
    with service_process(tmp_path, settings) as child:
        yield child


def children_of(pid: int) -> list[int]:
    """The processes that it has started."""
    return [child.pid for child in psutil.Process(pid).children()]


def runs(pid: int) -> bool:
    """Whether there is such a process, and more than its exit code is left of it."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_after_the_request_in_flight(
    child: Child, number: signal.Signals
) -> None:
    body = npz(images=pixels(2), labels=[1, 2])
    host, port = child.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/samples HTTP/1.1\r\nhost: {host}\r\ncontent-type: {NPZ['content-type']}\r\n"
        f"content-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
    )
    assert child.process is not None
    decoders = children_of(child.process.pid)
    assert len(decoders) == 2
    with socket.create_connection((host, int(port)), timeout=20) as raw:
        raw.sendall(head.encode())
        answers = raw.makefile("rb")
        # It says so when it reads the body: before, the request is not in flight.
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answers.readline() == b"\r\n"
        os.kill(child.process.pid, number)
        with pytest.raises(subprocess.TimeoutExpired):
            child.process.wait(0.5)  # it waits for the request
        raw.sendall(body)
        assert answers.readline() == b"HTTP/1.1 202 Accepted\r\n"
    assert child.process.wait(30) == 0
    assert not any(map(runs, decoders))


async def test_a_service_that_is_killed_leaves_no_decoder(child: Child) -> None:
    assert child.pid is not None
    decoders = children_of(child.pid)
    assert len(decoders) == 2
    child.kill()
    await wait_until(lambda: not any(map(runs, decoders)))


def test_a_busy_port_is_a_clear_error(
    server: EmbeddedRedis, tmp_path: Path, processes: Processes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = processes.start("service", settings_on(server, data_dir=tmp_path, port=port))
        assert process.wait(60) == 1
    assert f"port {port}" in processes.said(process)
    assert "LEARNDROP_PORT" in processes.said(process)
    assert "Traceback" not in processes.said(process)


def test_what_is_no_http_gets_a_problem(tmp_path: Path) -> None:
    app, _, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(b"\x16\x03\x01 what\r\n\r\n")
            answer = raw.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"content-type: application/problem+json\r\n" in answer
        assert b"/problems/bad-request" in answer


def test_a_head_that_does_not_come_closes_the_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol.Protocol, "head_s", 0.2)
    app, _, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        host, port = url.removeprefix("http://").split(":")
        for beginning in (b"", b"GET /healthz HTTP/1.1\r\nx-slow: "):
            with socket.create_connection((host, int(port)), timeout=10) as raw:
                raw.sendall(beginning)
                assert raw.recv(100) == b""
        with httpx2.Client(base_url=url) as http:
            for _ in range(3):  # a connection that is kept alive is another matter
                assert http.get("/healthz").status_code == 200


ASKED = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
TIMES = 150


def read_answers(url: str, wait_s: float, pause_s: float = 0.0) -> int:
    """Ask for some megabytes, wait, read with pauses in the beginning; bytes that came."""
    host, port = url.removeprefix("http://").split(":")
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(20)
        raw.connect((host, int(port)))
        raw.sendall(ASKED * (TIMES - 1) + ASKED.replace(b"host", b"connection: close\r\nhost"))
        time.sleep(wait_s)
        came = 0
        try:
            while chunk := raw.recv(65536):
                came += len(chunk)
                if came < 200_000:
                    time.sleep(pause_s)
        except ConnectionResetError:
            pass
        return came


def test_a_client_that_does_not_read_is_closed_and_a_slow_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol.Protocol, "send_s", 2.0)
    app, _, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        with httpx2.Client(base_url=url) as http:
            size = len(http.get("/openapi.json").content)
        assert read_answers(url, wait_s=6.0) < size * TIMES
        assert read_answers(url, wait_s=0.3, pause_s=0.02) > size * TIMES


def test_connections_are_bounded_and_probes_answered_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol.Protocol, "most", 2)
    monkeypatch.setattr(protocol, "SPARE", 1)
    app, _, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        host, port = url.removeprefix("http://").split(":")
        address = (host, int(port))
        with ExitStack() as opened:
            for _ in range(2):
                raw = opened.enter_context(socket.create_connection(address, timeout=10))
                raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                assert raw.recv(15) == b"HTTP/1.1 200 OK"
            for path in ("/healthz", "/metrics"):
                with httpx2.Client(base_url=url) as http:
                    assert http.get(path).status_code == 200
                time.sleep(0.1)
            with httpx2.Client(base_url=url) as http:
                refused = http.get("/v1/limits")
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/busy")
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["retry-after"] == "1" and refused.json()["limit"] == 2
            time.sleep(0.1)
            opened.enter_context(socket.create_connection(address, timeout=10))
            time.sleep(0.1)
            with socket.create_connection(address, timeout=10) as above:
                with pytest.raises(ConnectionResetError):
                    assert above.recv(1) == b""
                    raise ConnectionResetError  # closed in either way
        time.sleep(0.1)
        with httpx2.Client(base_url=url) as http:
            assert http.get("/v1/limits").status_code == 200
