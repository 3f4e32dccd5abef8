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

from learndrop.errors import BadSettings, NotLeading, StreamAway
from learndrop.settings import Settings

RETRY_AFTER_S = 2.0
FENCED = "FENCED"  # how a script refuses a worker that does not lead any more


def connect(settings: Settings) -> redis.Redis:
    """Make a client that connects at its first command.

    Raises:
        BadSettings: if `redis_url` is no URL of a Redis server, or a file of the settings is not
            there.
    """
    # No retries of redis-py's own: a command whose answer was lost may have been carried out, and
    # a second XADD would be a second sample. Whoever calls knows what may be repeated.
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    options = _options(settings)
    with _readable_url():
        return redis.Redis.from_url(_url(settings), retry=retry, **options)


def connect_async(settings: Settings) -> redis.asyncio.Redis:
    """The same for asyncio, with so many connections as the settings say.

    Whoever needs one more waits until one is free, at most as long as for an answer: redis-py's own
    pool refuses him, and of 300 requests that came at once 200 were told that Redis was away.

    Raises:
        BadSettings: if `redis_url` is no URL of a Redis server, or a file of the settings is not
            there.
    """
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
    options = _options(settings)
    with _readable_url():
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            _url(settings),
            retry=retry,
            max_connections=settings.redis_connections,
            timeout=settings.redis_timeout_s,
            **options,
        )
    return redis.asyncio.Redis.from_pool(pool)


def _url(settings: Settings) -> str:
    return settings.redis_url.get_secret_value()


def _options(settings: Settings) -> dict[str, Any]:
    return (
        {
            "socket_timeout": settings.redis_timeout_s,
            "socket_connect_timeout": settings.redis_timeout_s,
            "protocol": 2,  # one shape of answers on every server
        }
        | _who(settings)
        | _trust(settings)
    )


def _who(settings: Settings) -> dict[str, str]:
    """User and password; what the URL says is not touched."""
    password = settings.redis_password.get_secret_value()
    if settings.redis_password_file is not None:
        try:
            password = settings.redis_password_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as exc:
            told = getattr(exc, "strerror", None) or "it is no text"
            raise BadSettings(
                f"LEARNDROP_REDIS_PASSWORD_FILE {settings.redis_password_file}: {told}"
            ) from exc
    given = {"username": settings.redis_user, "password": password}
    return {name: value for name, value in given.items() if value}


def _trust(settings: Settings) -> dict[str, str]:
    if settings.redis_ca is None or not _url(settings).startswith("rediss://"):
        return {}
    return {"ssl_ca_certs": str(settings.redis_ca)}


@contextmanager
def _readable_url() -> Iterator[None]:
    try:
        yield
    except ValueError as exc:
        # redis-py's text may repeat the URL, and with it a password.
        raise BadSettings("LEARNDROP_REDIS_URL is no redis://, rediss:// or unix:// URL") from exc


@contextmanager
def translated() -> Iterator[None]:
    """Turn every error of Redis into StreamAway, and a refusal of our scripts into NotLeading.

    Also those that are no lost connection (out of memory, disk full, a key of a wrong type): until
    somebody mends the server, "not now" is the answer, and the text says what to mend.
    """
    try:
        yield
    except (redis.RedisError, OSError) as exc:
        if isinstance(exc, redis.ResponseError) and str(exc).startswith(FENCED):
            raise NotLeading("another worker leads") from exc
        told = f"Redis: {type(exc).__name__}: {exc}"
        raise StreamAway(told, retry_after_s=RETRY_AFTER_S) from exc
