"""Golden file of the account: everything that lies in Redis of samples that came and ended."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from learndrop.server.ids import START
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from learndrop.stream.consumer import RedisConsumer
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.stream.taking import Once
from learndrop.upkeep.audit import AuditTrail
from learndrop.upkeep.dead_letters import DeadLetters
from learndrop.upkeep.repeats import Repeats
from tests.golden.coded import fields, plain

BATCH = "batch-1"
"""Idempotency-Key of the samples, and of a change after them."""
CHANGE = {"purged": 1, "left": 0}


def everything(redis: Any, name: str) -> dict[str, Any]:
    """All keys of a model but the lease: what each is, and what lies there, as JSON values."""
    prefix = Keys(name).stream.removesuffix("stream")
    told: dict[str, Any] = {}
    for key in sorted(redis.keys(f"{prefix}*")):
        kind = redis.type(key).decode()
        match kind:
            case "stream":
                value: Any = [[i.decode(), plain(values)] for i, values in redis.xrange(key)]
            case "hash":
                value = [[_text(one), _text(what)] for one, what in redis.hgetall(key).items()]
            case "list":
                value = [_text(one) for one in redis.lrange(key, 0, -1)]
            case "zset":
                found = redis.zrange(key, 0, -1, withscores=True)
                value = [[_text(one), score] for one, score in found]
            case "set":
                value = sorted(_text(one) for one in redis.smembers(key))
            case _:
                value = _text(redis.get(key))
        told[key.decode().removeprefix(prefix)] = {"kind": kind, "value": value}
    del told["lease"]  # of a worker that is gone
    return told


def laid_all(redis: Any, name: str, told: dict[str, Any]) -> None:
    """Lay back what `everything` gave, for a model of another name."""
    prefix = Keys(name).stream.removesuffix("stream")
    for suffix, one in told.items():
        key, value = prefix + suffix, one["value"]
        match one["kind"]:
            case "stream":
                for entry_id, values in value:
                    redis.xadd(key, fields(values), entry_id)
            case "hash":
                pairs = [(base64.b64decode(one), base64.b64decode(what)) for one, what in value]
                redis.hset(key, mapping=dict(pairs))
            case "list":
                redis.rpush(key, *map(base64.b64decode, value))
            case "zset":
                redis.zadd(key, {base64.b64decode(member): score for member, score in value})
            case "set":
                redis.sadd(key, *map(base64.b64decode, value))
            case _:
                redis.set(key, base64.b64decode(value))


async def write_account(
    settings: Settings, token: int, redis: Any, samples: Sequence[Sample]
) -> dict[str, Any]:
    """Six samples of one batch, each with a name: two learned, by version 3; one buried and put
    back, one buried, one deleted, one that waits. A change under a key, and what an admin did.
    """
    publisher, letters = RedisPublisher(settings), DeadLetters(settings)
    repeats, audit = Repeats(settings), AuditTrail(settings)
    ids = (await publisher.take(samples, Once.of(BATCH, samples))).ids
    worker = RedisConsumer(settings, token)
    worker.open(START)
    claimed = worker.claim(4, 0.0)
    worker.bury(claimed[2], "unreadable", "for the golden files")
    worker.bury(claimed[3], "wrong_size", "for the golden files")
    worker.hold(ids[:2])
    worker.release()
    worker.ack(worker.position)
    worker.published(3, worker.position)
    await letters.replay_all("unreadable")
    await publisher.discard([ids[4]])

    async def change() -> dict[str, int]:
        return CHANGE

    await repeats.once("line", BATCH, "DELETE /v1/dead-letters?", change)
    await audit.add("DELETE /v1/dead-letters", key="boss", query="", request_id="1")
    await audit.tell_keys(await audit.keys_told(), {"boss": "1"}, 1.7e9)
    worker.close()
    for part in (publisher, letters, repeats, audit):
        await part.close()
    return {"ids": ids, "keys": everything(redis, settings.name)}


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
