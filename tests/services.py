"""The real application for tests: in this process, or as `python -m service`; and bodies for it."""

from __future__ import annotations

import base64
import io
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
import numpy as np
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from deploy.children import Child, to_environment
from learndrop.settings import Settings, load_settings
from learndrop.stream.memory_stream import MemoryStream
from learndrop.stream.messages import Sample
from service.__main__ import listening
from service.app import create_app
from service.parts import Parts
from service.protocol import Protocol

Pixels = NDArray[np.uint8]
NPZ = {"content-type": "application/x-npz"}
JSON = {"content-type": "application/json"}


def pixels(count: int = 1, side: int = 32, seed: int = 0) -> Pixels:
    """Random pictures: uint8 [count, side, side, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def encoded(picture: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    """A picture file."""
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind, **options)
    return out.getvalue()


def coded(data: bytes) -> str:
    """Base64 text."""
    return base64.b64encode(data).decode()


def npz(*, packed: bool = False, **arrays: Any) -> bytes:
    """A .npz body."""
    out = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(out, **arrays)
    return out.getvalue()


def as_files(images: Sequence[bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Multipart files, as a client library wants them."""
    return [("images", (f"{index}.png", image)) for index, image in enumerate(images)]


@dataclass
class Ingress:
    """The application in this process, with its stream in memory."""

    http: TestClient
    stream: MemoryStream
    app: FastAPI

    def samples(self) -> list[Sample]:
        """What lies in the stream."""
        return [Sample.from_fields(fields) for fields in self.stream.entries.values()]

    def metric(self, name: str, **labels: str) -> float:
        """A series of the service."""
        return parts_of(self.http).metrics.registry.get_sample_value(name, labels) or 0.0


def parts_of(http: TestClient) -> Parts:
    """What the application behind it was put together from."""
    app = cast(FastAPI, http.app)  # the client takes any ASGI application, and says no more
    return cast(Parts, app.state.parts)  # a state's attributes have no types


@contextmanager
def ingress(data_dir: Path, **overrides: Any) -> Iterator[Ingress]:
    """An application without Redis: samples go to a MemoryStream."""
    nobody = {"redis_url": "redis://127.0.0.1:1/0", "fsync": "no", "decoders": 1}
    settings = load_settings(**(nobody | overrides | {"data_dir": data_dir}))
    stream = MemoryStream(settings)
    app = create_app(settings, publisher=stream)
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Ingress(http, stream, app)


def is_problem(answer: httpx2.Response, status: int, kind: str, **told: Any) -> dict[str, Any]:
    """Check that an answer is this problem and tells at least these things; its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"/problems/{kind}", problem
    assert problem["status"] == status
    assert problem["title"] and problem["detail"]
    assert problem["instance"] == answer.request.url.path
    assert problem["request_id"] == answer.headers["x-request-id"]
    for name, value in told.items():
        assert problem.get(name) == value, problem
    return problem


@contextmanager
def listening_app(app: FastAPI, port: int = 0, *, send_buffer: int = 0) -> Iterator[str]:
    """The application behind a real socket of this process; its URL.

    `send_buffer` is how many bytes the kernel may keep of what a client does not take.
    """
    with listening("127.0.0.1", port) as bound:
        if send_buffer:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        counted = Protocol.within(app.state.parts.metrics.closed_because)
        config = uvicorn.Config(app, http=counted, ws="none", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@contextmanager
def service_process(folder: Path, settings: Settings) -> Iterator[Child]:
    """`python -m service`, healthy, its log in the folder; killed at the end."""
    child = Child(
        "service", settings.host, settings.port,
        environment=to_environment(settings) | {"OMP_NUM_THREADS": "1"},
        log=folder / "service.log",
    )  # fmt: skip
    child.start()
    try:
        child.wait_until_healthy(90)
        yield child
    finally:
        child.kill()


def memory_app(data_dir: Path, **overrides: Any) -> tuple[FastAPI, MemoryStream, Settings]:
    """The application for `listening_app`, without Redis."""
    nobody = {"redis_url": "redis://127.0.0.1:1/0", "fsync": "no", "decoders": 1}
    settings = load_settings(**(nobody | overrides | {"data_dir": data_dir}))
    stream = MemoryStream(settings)
    return create_app(settings, publisher=stream), stream, settings
