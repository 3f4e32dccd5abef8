"""Bombs against `python -m service`: refused at once, and its memory stays flat."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from deploy.children import Child
from deploy.embedded import EmbeddedRedis, free_port
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from tests.bombs import jpeg_claiming, npz_bomb, npz_that_lies, png_claiming
from tests.servers import client_of, server, settings_on
from tests.services import JSON, NPZ, as_files, coded, encoded, pixels, service_process

__all__ = ["server"]
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc"
)

MIB = 1024 * 1024
BODY_LIMIT = 8 * MIB
FLAT = 32 * MIB
"""Growth that is allowed beside the body itself: the figure of the reliability sheet."""
GOOD = encoded(pixels()[0])


@dataclass
class Running:
    """The service as a process of its own."""

    settings: Settings
    child: Child

    @property
    def address(self) -> tuple[str, int]:
        return self.child.host, self.child.port

    @property
    def peak_bytes(self) -> int:
        """Peak of the resident memory since the last `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> int:
        """Begin a new peak; the resident memory now."""
        Path(f"/proc/{self.child.pid}/clear_refs").write_text("5")
        return self._status("VmRSS")

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024

    def send(self, *parts: bytes, most_s: float = 20.0) -> tuple[int, dict[str, object]]:
        """Send raw bytes as far as they are taken; status and problem of the answer."""
        with socket.create_connection(self.address, timeout=most_s) as raw:
            try:
                for part in parts:
                    raw.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the service has answered and closed: the answer is still to be read
            return answer_of(raw)


def answer_of(raw: socket.socket) -> tuple[int, dict[str, object]]:
    """Read one answer: its status and its JSON body."""
    data = b""
    while chunk := raw.recv(65536):
        data += chunk
        head, mark, body = data.partition(b"\r\n\r\n")
        if mark:
            fields = dict(
                line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
            )
            if len(body) >= int(fields[b"content-length"]):
                assert fields[b"content-type"] == b"application/problem+json"
                return int(head.split()[1]), json.loads(body)
    raise AssertionError(f"no whole answer: {data!r}")


@pytest.fixture(scope="module")
def running(server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    settings = settings_on(
        server,
        data_dir=folder,
        port=free_port(),
        max_body_bytes=BODY_LIMIT,
        body_timeout_s=2.0,
        log_level="warning",
    )
    with service_process(folder, settings) as child:
        with httpx2.Client(base_url=child.url) as http:  # what is loaded once is loaded now
            for path in ("/readyz", "/v1/state", "/v1/models", "/metrics", "/openapi.json"):
                http.get(path)
            http.post("/v1/samples", files=as_files([b"no"]), data={"labels": "a"})
        yield Running(settings, child)
        assert child.stop() == 0


@pytest.fixture
def flat(running: Running, server: EmbeddedRedis) -> Iterator[Callable[[int], None]]:
    """Call it with the bytes a body may take; checks memory, stream and health at the end."""
    before = running.forget_peak()
    allowed = [FLAT]
    yield lambda body: allowed.append(body)
    grown = running.peak_bytes - before
    assert grown <= sum(allowed), f"{grown / MIB:.1f} MiB"
    with client_of(server) as redis:
        assert redis.xlen(Keys(running.settings.name).stream) == 0
    assert running.child.healthy()


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", *lines, "", ""]).encode()


@pytest.mark.parametrize("bomb", [png_claiming(30_000), jpeg_claiming(30_000)], ids=["PNG", "JPEG"])
def test_a_header_of_30000_x_30000(
    running: Running, flat: Callable[[int], None], bomb: bytes
) -> None:
    with httpx2.Client(base_url=running.child.url) as http:
        began = time.monotonic()
        for _ in range(5):
            answer = http.post(
                "/v1/samples", files=as_files([GOOD, bomb]), data={"labels": "[1,2]"}
            )
            assert (answer.status_code, answer.json()["index"]) == (422, 1)
            assert answer.json()["limit"] == 16_000_000
            body = {"images": [coded(bomb)], "labels": [1]}
            assert http.post("/v1/samples", json=body).status_code == 422
        assert time.monotonic() - began < 10


def test_an_npz_of_a_gigabyte(running: Running, flat: Callable[[int], None]) -> None:
    bombs = [npz_bomb(900 * MIB), npz_that_lies(300 * MIB, 7 * MIB)]
    flat(2 * BODY_LIMIT)  # the one that lies is unpacked as far as it claims
    with httpx2.Client(base_url=running.child.url) as http:
        for bomb, status in zip(bombs, (413, 400), strict=True):
            assert len(bomb) < BODY_LIMIT
            answer = http.post("/v1/samples", content=bomb, headers=NPZ)
            assert answer.status_code == status, answer.text


def test_json_of_brackets(running: Running, flat: Callable[[int], None]) -> None:
    flat(BODY_LIMIT)
    body = b'{"images": [' + b"[]," * (BODY_LIMIT // 3 - 10) + b"[]]}"
    with httpx2.Client(base_url=running.child.url) as http:
        assert http.post("/v1/samples", content=body, headers=JSON).status_code == 413


@pytest.mark.parametrize("path", ["/v1/samples", "/v1/predictions", "/nothing/here"])
def test_an_endless_chunked_body(running: Running, flat: Callable[[int], None], path: str) -> None:
    """It is answered while it is sent, read a little further and cut."""
    flat(BODY_LIMIT)
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    start = head(path, "content-type: application/x-npz", "transfer-encoding: chunked")
    status, problem = running.send(start, *[chunk] * 200)
    expected = {"/v1/samples": 413, "/v1/predictions": 503, "/nothing/here": 404}
    assert status == expected[path]
    if status == 413:
        assert (problem["item"], problem["limit"]) == ("body", BODY_LIMIT)


def test_a_content_length_that_claims_too_much(
    running: Running, flat: Callable[[int], None]
) -> None:
    """Refused by the claim, before a byte of the body came."""
    start = head("/v1/samples", "content-type: application/json", f"content-length: {10**12}",
                 "expect: 100-continue")  # fmt: skip
    status, problem = running.send(start)
    assert (status, problem["limit"], problem["value"]) == (413, BODY_LIMIT, 10**12)


def test_a_content_length_that_claims_too_little(
    running: Running, flat: Callable[[int], None]
) -> None:
    """What is told is taken for the body, and that is cut short; the rest is no request."""
    request = httpx2.Request(
        "POST", running.child.url, files=as_files([GOOD]), data={"labels": "a"}
    )
    body, kind = request.read(), request.headers["content-type"]
    start = head("/v1/samples", f"content-type: {kind}", f"content-length: {len(body) - 100}")
    status, problem = running.send(start, body)
    # Whichever of the two is seen first is told.
    assert status == 400 and problem["type"] in {"/problems/bad-body", "/problems/bad-request"}


@pytest.mark.parametrize("length", ["-1", "abc", "1, 2", str(2**70)])
def test_a_content_length_that_is_no_number(
    running: Running, flat: Callable[[int], None], length: str
) -> None:
    status, problem = running.send(
        head("/v1/samples", "content-type: application/json", f"content-length: {length}"), b"{}"
    )
    assert (status, problem["type"]) == (400, "/problems/bad-request")


def test_a_body_that_does_not_come_in_time(running: Running, flat: Callable[[int], None]) -> None:
    start = head("/v1/samples", "content-type: application/json", "content-length: 100")
    began = time.monotonic()
    status, problem = running.send(start, b'{"images"')
    assert (status, problem["type"], problem["limit"]) == (408, "/problems/too-slow", 2.0)
    assert problem["value"] == 9
    assert 1.9 < time.monotonic() - began < 10


def test_a_connection_that_ends_before_its_body(
    running: Running, flat: Callable[[int], None]
) -> None:
    for _ in range(50):
        with socket.create_connection(running.address) as raw:
            raw.sendall(head("/v1/samples", "content-type: application/x-npz",
                             f"content-length: {BODY_LIMIT}") + bytes(100_000))  # fmt: skip


def test_an_ordinary_client_reads_the_refusal_of_a_body_that_is_too_large(
    running: Running, flat: Callable[[int], None]
) -> None:
    """It only listens after it has sent everything: the connection must not be reset before."""
    with httpx2.Client(base_url=running.child.url) as http:
        for _ in range(5):
            answer = http.post("/v1/samples", content=bytes(BODY_LIMIT + 5 * MIB), headers=NPZ)
            assert (answer.status_code, answer.json()["limit"]) == (413, BODY_LIMIT)
