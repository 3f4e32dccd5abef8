"""Fates, remembered requests, names and the audit that an earlier learndrop wrote to Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.errors import OtherContent
from learndrop.settings import Settings
from learndrop.stream.account import Counts
from learndrop.stream.publisher import RedisPublisher
from learndrop.stream.taking import Once
from learndrop.upkeep.audit import AuditTrail
from learndrop.upkeep.repeats import Repeats
from tests.golden import account, make
from tests.servers import client_of, leading, server, settings_on
from tests.streams import learn

__all__ = ["server"]

FORMATS = sorted(p for p in make.HERE.iterdir() if p.name.isdigit())
OLD_S = 1e9
"""Older than what is read here: golden files do not expire."""


@pytest.fixture
def settings(server: EmbeddedRedis, tmp_path: Path) -> Settings:
    return settings_on(server, data_dir=tmp_path, idempotency_ttl_s=OLD_S)


@pytest.fixture(params=FORMATS, ids=lambda p: f"format-{p.name}")
def ids(request: pytest.FixtureRequest, settings: Settings, server: EmbeddedRedis) -> Iterator[Any]:
    """Ids of the six samples, whose account lies in Redis."""
    told = json.loads((request.param / "account.json").read_text())
    with client_of(server) as redis:
        account.laid_all(redis, settings.name, told["keys"])
        yield told["ids"]


async def test_each_sample_still_tells_its_fate_and_the_account_adds_up(
    ids: list[str], settings: Settings
) -> None:
    publisher = RedisPublisher(settings)
    fates = [await publisher.fate(one) for one in ids]
    told = ["learned", "learned", "pending", "buried", "deleted", "pending"]
    assert [fate.status for fate in fates] == told
    assert [fate.model_version for fate in fates] == [3, 3, None, None, None, None]
    assert (fates[3].reason, fates[3].why) == ("wrong_size", "for the golden files")
    assert await publisher.counts() == Counts(6, learned=2, buried=1, pending=2, deleted=1)
    worker = leading(settings)
    worker.open(ids[3], learned=2)
    assert [entry.id for entry in learn(worker)] == [ids[5], fates[2].replayed_as]
    worker.ack(worker.position)
    assert await publisher.counts() == Counts(6, learned=4, buried=1, pending=0, deleted=1)
    worker.close()
    await publisher.close()


async def test_what_was_taken_or_done_once_is_not_taken_or_done_again(
    ids: list[str], settings: Settings
) -> None:
    publisher, repeats, samples = RedisPublisher(settings), Repeats(settings), make.named(6)
    again = await publisher.take(samples, Once.of(account.BATCH, samples))
    assert (again.ids, again.again) == (ids, True)
    with pytest.raises(OtherContent):
        await publisher.take(samples[:1], Once.of(account.BATCH, samples[:1]))
    assert (await publisher.take(samples)).duplicates == [0, 1, 2, 3, 4, 5]

    async def never() -> dict[str, Any]:
        raise AssertionError("it was done before")

    for content in ("DELETE /v1/dead-letters?", "other"):
        once = repeats.once("line", account.BATCH, content, never)
        if content == "other":
            with pytest.raises(OtherContent):
                await once
        else:
            assert await once == account.CHANGE
    await publisher.close()
    await repeats.close()


async def test_what_admins_did_is_still_told(ids: list[str], settings: Settings) -> None:
    trail = AuditTrail(settings)
    entries, _ = await trail.page(None, 10)
    assert [one["what"] for one in entries] == ["keys_changed", "DELETE /v1/dead-letters"]
    assert (entries[0]["created"], entries[1]["key"]) == (["boss"], "boss")
    assert (await trail.keys_told()).prints == {"boss": "1"}
    await trail.close()
