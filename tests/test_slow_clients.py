"""Clients that drip, byte by byte in and byte by byte out: closed, counted, and holding nothing."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
import uvloop
from fastapi import FastAPI

from service import protocol
from tests.services import NPZ, listening_app, memory_app, npz, pixels

BODY_S = 0.6
PATIENCE_S = 30
BODY = npz(images=pixels(4), labels=["a", "b", "c", "d"])


def address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def head(path: str, content_type: str, framing: str, method: str = "POST") -> bytes:
    return (
        f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\n{framing}\r\n\r\n"
    ).encode()


def drip(url: str, first: bytes, drop: bytes) -> bytes:
    """Send `first`, then drop after drop until the other side closes; all that it answered."""
    came = b""
    with socket.create_connection(address(url), timeout=0.05) as raw:
        raw.sendall(first)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                chunk = raw.recv(65536)
                if not chunk:
                    return came
                came += chunk
            except TimeoutError:
                pass
            except ConnectionResetError:
                return came
            try:
                raw.sendall(drop)
            except (BrokenPipeError, ConnectionResetError):
                pass  # what it answered may still lie here
    raise AssertionError("it was never closed")


def series(app: FastAPI, name: str, **labels: str) -> float:
    return app.state.parts.metrics.registry.get_sample_value(name, labels) or 0.0


def held(app: FastAPI) -> int:
    return int(app.state.parts.intake._bodies.held_bytes)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[tuple[str, FastAPI]]:
    app, _, _ = memory_app(tmp_path, body_timeout_s=BODY_S)
    with listening_app(app) as url:
        yield url, app


LENGTH = "content-length: 100000"
CHUNKED = "transfer-encoding: chunked"


@pytest.mark.parametrize(
    ("path", "content_type", "framing", "drop"),
    [
        ("/v1/samples", "application/x-npz", LENGTH, b"x"),
        ("/v1/samples", "application/json", LENGTH, b" "),
        ("/v1/samples", "multipart/form-data; boundary=b", LENGTH, b"-"),
        ("/v1/samples", "application/x-npz", CHUNKED, b"1\r\nx\r\n"),
        ("/v1/labels", "application/json", LENGTH, b" "),
    ],
)
def test_a_body_that_drips_is_refused_closed_counted_and_holds_nothing(
    door: tuple[str, FastAPI], path: str, content_type: str, framing: str, drop: bytes
) -> None:
    url, app = door
    answer = drip(url, head(path, content_type, framing), drop)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"/problems/too-slow" in answer
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert series(app, "learndrop_refusals_total", reason="too-slow") == 1
    counted = {"route": path, "method": "POST", "status": "408"}
    assert series(app, "learndrop_http_requests_total", **counted) == 1
    assert held(app) == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("POST", "/v1/nowhere", 404), ("DELETE", "/v1/limits", 405)],
)
def test_a_body_that_drips_where_none_is_wanted_keeps_no_connection(
    door: tuple[str, FastAPI], method: str, path: str, status: int
) -> None:
    url, app = door
    answer = drip(url, head(path, "text/plain", LENGTH, method), b"x")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert held(app) == 0


def test_bodies_that_drip_hold_only_what_has_come_and_give_it_back(tmp_path: Path) -> None:
    app, stream, _ = memory_app(tmp_path, body_timeout_s=5.0, max_bodies_bytes=200_000)
    with listening_app(app) as url, httpx2.Client(base_url=url) as http:
        dripping = threading.Thread(
            target=drip,
            args=(url, head("/v1/samples", "application/x-npz", LENGTH) + b"x" * 50_000, b"x"),
        )
        dripping.start()
        wait_for(lambda: held(app) >= 50_000)
        # The 100,000 bytes that it declares are not kept free for it.
        assert http.post("/v1/samples", content=BODY, headers=NPZ).status_code == 202
        assert 50_000 <= held(app) < 60_000
        dripping.join(PATIENCE_S)
        assert not dripping.is_alive() and held(app) == 0
    assert len(stream.entries) == 4


# -- answers ---------------------------------------------------------------------------------

ASKED = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n"
SEND_S = 1.0
SMALL = 4096
"""Bytes that the kernel may keep on either side: what is not taken then waits in the service."""


@contextmanager
def taking(url: str, asked: bytes, pause_s: float, most: int) -> Iterator[Callable[[], bool]]:
    """A client that asks and takes `most` bytes after each pause; whether it was closed."""
    over, closed = threading.Event(), threading.Event()

    def take() -> None:
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            raw.settimeout(PATIENCE_S)
            raw.connect(address(url))
            raw.sendall(asked)
            while not over.wait(pause_s):
                try:
                    if not raw.recv(most):
                        break
                except ConnectionResetError:
                    break
            else:
                return
            closed.set()

    thread = threading.Thread(target=take)
    thread.start()
    try:
        yield closed.is_set
    finally:
        over.set()
        thread.join(PATIENCE_S)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


# Of single bytes none seem to be taken: the kernel waits for more room. Of drops too few are.
@pytest.mark.parametrize(("most", "rate"), [(1, 1.0), (2048, 100_000.0)])
def test_an_answer_that_is_taken_drop_by_drop_is_cut_off_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, rate: float
) -> None:
    monkeypatch.setattr(protocol.Protocol, "send_s", SEND_S)
    monkeypatch.setattr(protocol.Protocol, "send_bytes_s", rate)
    app, _, _ = memory_app(tmp_path)
    with listening_app(app, send_buffer=SMALL) as url, taking(url, ASKED, 0.1, most):
        closed = {"why": "answer"}
        wait_for(lambda: series(app, "learndrop_connections_closed_total", **closed) == 1)
        with httpx2.Client(base_url=url) as http:
            assert http.get("/healthz").status_code == 200
            text = http.get("/metrics").text
        assert 'learndrop_connections_closed_total{why="answer"} 1.0' in text.splitlines()
        assert 'learndrop_connections_closed_total{why="head"} 0.0' in text.splitlines()


def test_a_request_behind_answers_that_drip_holds_its_body_no_longer_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol.Protocol, "send_s", SEND_S)
    monkeypatch.setattr(protocol.Protocol, "send_bytes_s", 1.0)  # so little that drops pass
    app, stream, _ = memory_app(tmp_path)
    sent = head("/v1/samples", "application/x-npz", f"content-length: {len(BODY)}") + BODY
    small = listening_app(app, send_buffer=SMALL)
    with small as url, httpx2.Client(base_url=url) as http:
        with taking(url, ASKED + sent, 0.1, 1024):
            wait_for(lambda: held(app) == len(BODY))
            wait_for(lambda: held(app) == 0)
            closed = {"why": "answer"}
            assert series(app, "learndrop_connections_closed_total", **closed) == 1
            assert len(stream.entries) == 4  # taken all the same: it may be asked for again
            assert http.get("/healthz").status_code == 200


def test_with_a_tick_more_no_timer_comes_too_soon() -> None:
    """Begun anywhere in a millisecond; what a client is promised, it gets whole."""

    async def waited(number: int) -> float:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[float] = loop.create_future()
        time.sleep(0.00037 * (number % 17))
        began = time.monotonic()
        wait_s = 0.002 + protocol.TICK_S
        loop.call_later(wait_s, lambda: done.set_result(time.monotonic() - began))
        return await done

    async def all_waited() -> list[float]:
        return [await waited(number) for number in range(250)]

    assert min(uvloop.run(all_waited())) >= 0.002


def test_a_head_that_drips_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol.Protocol, "head_s", 0.3)
    app, _, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        assert drip(url, b"GET /healthz HTTP/1.1\r\nx-slow: ", b"x") == b""
        assert series(app, "learndrop_connections_closed_total", why="head") == 1
