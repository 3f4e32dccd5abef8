"""What requests hold is counted until they are answered: bodies, and what is made of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx2
import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.disk.keyring import create
from learndrop.errors import Busy
from service.app import create_app
from tests.published import publish
from tests.servers import client_of, require_server, settings_on
from tests.services import NPZ, as_files, encoded, ingress, is_problem, listening_app, npz, pixels

KB = 1024
BATCH = npz(images=pixels(32), labels=np.arange(32))
"""About 100 KB, and nothing is made of it but views."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    require_server()
    with EmbeddedRedis(tmp_path / "redis") as started:
        yield started


def post(http: httpx2.Client, key: Mapping[str, str] = MappingProxyType({})) -> httpx2.Response:
    return http.post("/v1/samples", content=BATCH, headers={**NPZ, **key})


def test_a_body_counts_while_redis_does_not_answer(own: EmbeddedRedis, tmp_path: Path) -> None:
    app = create_app(settings_on(own, data_dir=tmp_path, max_bodies_bytes=250 * KB))
    bodies = app.state.parts.intake._bodies
    with listening_app(app) as url, ThreadPoolExecutor(2) as others:
        with client_of(own) as redis, httpx2.Client(base_url=url, timeout=30) as http:
            assert post(http).status_code == 202
            redis.client_pause(3000, all=False)
            waiting = [others.submit(post, http) for _ in range(2)]
            until = time.monotonic() + 2.5
            while bodies.held_bytes < 2 * len(BATCH) and time.monotonic() < until:
                time.sleep(0.01)
            is_problem(post(http), 503, "busy", limit=250 * KB)
            assert [one.result().status_code for one in waiting] == [202, 202]
    assert bodies.held_bytes == 0


def test_one_key_does_not_hold_what_there_is_for_bodies(own: EmbeddedRedis, tmp_path: Path) -> None:
    """With a share of a half, two requests of one key that wait leave room for another's."""
    one, other = (
        {"authorization": f"Bearer {create(tmp_path / 'keys.json', name, ['ingest'])}"}
        for name in ("one", "other")
    )
    settings = settings_on(own, data_dir=tmp_path, max_bodies_bytes=450 * KB, key_share=0.5)
    app = create_app(settings)
    bodies = app.state.parts.intake._bodies
    with listening_app(app) as url, ThreadPoolExecutor(3) as waiting:
        with client_of(own) as redis, httpx2.Client(base_url=url, timeout=30) as http:
            assert post(http, one).status_code == 202
            redis.client_pause(3000, all=False)
            asked = [waiting.submit(post, http, one) for _ in range(2)]
            until = time.monotonic() + 2.5
            while bodies.held_bytes < 2 * len(BATCH) and time.monotonic() < until:
                time.sleep(0.01)
            assert "the key 'one'" in is_problem(post(http, one), 503, "busy")["detail"]
            asked.append(waiting.submit(post, http, other))
            assert [answer.result().status_code for answer in asked] == [202] * 3
    assert bodies.held_bytes == 0 and not bodies.of_key


def test_what_a_small_body_becomes_counts(tmp_path: Path) -> None:
    packed = npz(packed=True, images=np.zeros((200, 32, 32, 3), np.uint8), labels=np.arange(200))
    tiny = as_files([encoded(pixels(side=1)[0])] * 200)
    assert len(packed) < 5 * KB
    with ingress(tmp_path, max_bodies_bytes=300 * KB) as door:
        bodies = door.app.state.parts.intake._bodies
        requests: list[dict[str, Any]] = [
            {"content": packed, "headers": NPZ},
            {"files": tiny, "data": {"labels": ["a"] * 200}},
        ]
        for request in requests:
            bodies.held_bytes = 1  # of another request
            is_problem(door.http.post("/v1/samples", **request), 503, "busy", limit=300 * KB)
            assert bodies.held_bytes == 1 and not door.stream.entries
        bodies.held_bytes = 0  # alone it is taken: it would never fit otherwise
        for request in requests:
            assert door.http.post("/v1/samples", **request).status_code == 202
            assert bodies.held_bytes == 0


def test_pictures_that_would_wait_too_long_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    decoded: list[object] = []

    async def never(*given: object) -> None:
        decoded.append(given)

    def full(count: int) -> None:
        raise Busy(f"{count} are too many")

    with ingress(tmp_path) as door:
        monkeypatch.setattr(door.app.state.parts.intake.decoders, "decode", never)
        monkeypatch.setattr(door.app.state.parts.serving._passes, "refuse", full)
        answer = door.http.post("/v1/predictions", files=as_files([encoded(pixels()[0])] * 3))
        assert "3 are too many" in is_problem(answer, 503, "busy")["detail"]
        assert decoded == []
