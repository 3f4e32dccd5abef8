"""What is not body is bounded: heads, what follows a chunked body, the words of a Content-Type."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tests.services import as_files, ingress, is_problem, listening_app, memory_app, npz, pixels

FAR_TOO_MUCH = b"x" * 2**22
POST = (
    b"POST /v1/samples HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    b"content-type: application/x-npz\r\n"
)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    app, _, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        host, port = url.removeprefix("http://").split(":")
        yield host, int(port)


def answer(address: tuple[str, int], *sent: bytes) -> bytes:
    """What comes back, if anything does before the connection is gone."""
    came = b""
    with socket.create_connection(address, timeout=20) as raw, suppress(OSError):
        for piece in sent:
            raw.sendall(piece)
        while piece := raw.recv(65536):
            came += piece
    return came


@pytest.mark.parametrize(
    "beginning", [b"GET /", b"GET /healthz HTTP/1.1\r\nx-long: ", POST + b"cookie: "]
)
def test_a_head_that_does_not_end_is_not_kept(address: tuple[str, int], beginning: bytes) -> None:
    came = answer(address, beginning, FAR_TOO_MUCH, b"\r\n\r\n")
    assert came == b"" or came.startswith(b"HTTP/1.1 400 ")
    assert answer(address, b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("after", [b"0\r\nx-long: ", b"1;x="])
def test_what_surrounds_the_chunks_of_a_body_is_not_kept(
    address: tuple[str, int], after: bytes
) -> None:
    body = npz(images=pixels(2), labels=np.array(["a", "b"]))
    start = POST + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n"
    assert answer(address, start, after, FAR_TOO_MUCH, b"\r\n\r\n") == b""
    assert answer(address, start, b"0\r\nx-short: x\r\n\r\n").startswith(b"HTTP/1.1 202 ")


def test_the_sizes_of_many_small_chunks_are_no_head(address: tuple[str, int]) -> None:
    body = npz(images=pixels(8), labels=np.array(["a"] * 8))
    chunks = [b"1\r\n%c\r\n" % byte for byte in body]
    assert sum(map(len, chunks)) > 2 * 65536
    start = POST + b"transfer-encoding: chunked\r\n\r\n"
    assert answer(address, start, b"".join(chunks), b"0\r\n\r\n").startswith(b"HTTP/1.1 202 ")


def test_a_content_type_of_many_words_is_none(tmp_path: Path) -> None:
    with ingress(tmp_path) as door:
        kind = {"content-type": "multipart/form-data; boundary=b" + ";" * 1000}
        is_problem(
            door.http.post("/v1/samples", content=b"--b--", headers=kind), 415, "unknown-format"
        )
        assert door.http.post("/v1/predictions", files=as_files([b"x"])).status_code != 415
