"""How both processes reach Redis, and how its errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.retry
import redis.backoff
import redis.retry

from learndrop.errors import BadSettings, StreamAway
from learndrop.settings import Settings

RETRY_AFTER_S = 2.0


def connect(settings: Settings) -> redis.Redis:
    """Make a client that connects at its first command.

    Raises:
        BadSettings: if `redis_url` is no URL of a Redis server.
    """
    # No retries of redis-py's own: a command whose answer was lost may have been carried out, and
    # a second XADD would be a second sample. Whoever calls knows what may be repeated.
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    with _readable_url():
        return redis.Redis.from_url(_url(settings), retry=retry, **_options(settings))


def connect_async(settings: Settings) -> redis.asyncio.Redis:
    """The same for asyncio.

    Raises:
        BadSettings: if `redis_url` is no URL of a Redis server.
    """
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
    with _readable_url():
        client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            _url(settings), retry=retry, **_options(settings)
        )
        return client


def _url(settings: Settings) -> str:
    return settings.redis_url.get_secret_value()


def _options(settings: Settings) -> dict[str, Any]:
    return {
        "socket_timeout": settings.redis_timeout_s,
        "socket_connect_timeout": settings.redis_timeout_s,
        "protocol": 2,  # one shape of answers on every server
    }


@contextmanager
def _readable_url() -> Iterator[None]:
    try:
        yield
    except ValueError as exc:
        # redis-py's text may repeat the URL, and with it a password.
        raise BadSettings("LEARNDROP_REDIS_URL is no redis://, rediss:// or unix:// URL") from exc


@contextmanager
def translated() -> Iterator[None]:
    """Turn every error of Redis into StreamAway.

    Also those that are no lost connection (out of memory, disk full, a key of a wrong type): until
    somebody mends the server, "not now" is the answer, and the text says what to mend.
    """
    try:
        yield
    except (redis.RedisError, OSError) as exc:
        told = f"Redis: {type(exc).__name__}: {exc}"
        raise StreamAway(told, retry_after_s=RETRY_AFTER_S) from exc
