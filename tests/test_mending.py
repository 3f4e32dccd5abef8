"""A value of another type at any key of ours: whoever meets it sets it aside, and work goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.answers.kept import PAUSE_S, Answers
from learndrop.answers.late_labels import LateLabels
from learndrop.errors import StreamAway
from learndrop.server.board import ServiceBoard
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.stream.taking import Once
from learndrop.upkeep.audit import AuditTrail
from learndrop.upkeep.dead_letters import DeadLetters
from learndrop.upkeep.deleting import Deleting
from learndrop.upkeep.repeats import Repeats
from tests.servers import client_of, leading, server, settings_on
from tests.services import pixels

__all__ = ["server"]

OF_THE_WORKER = {"in_hand", "lease", "state", "foreign"}
"""Which the service does not use, or overwrites, or meets in entries of others only."""
NO_KEY = {"types", "settled", "held_answers", "remembered", "probe"}
"""Several keys at once, or one where nothing ever lies."""
TRIES = 4
NAMES = [
    name for name in vars(Keys) if isinstance(vars(Keys)[name], property) and name not in NO_KEY
]


class Parts:
    """All that the service does with Redis."""

    def __init__(self, settings: Settings) -> None:
        self.publisher, self.board = RedisPublisher(settings), ServiceBoard(settings)
        self.answers, self.labels = Answers(settings), LateLabels(settings)
        self.letters, self.audit = DeadLetters(settings), AuditTrail(settings)
        self.repeats = Repeats(settings)
        self.deleting = Deleting(settings, self.publisher, self.answers, self.letters)
        self.worker = leading(settings)

    async def work(self, number: int) -> None:
        """Each of them once."""
        image = np.zeros((4, 4, 3), np.uint8)
        named = [Sample(image, "a", 1.0, "camera", f"{number} {n}") for n in range(3)]
        ids = (await self.publisher.take(named, Once(f"key {number}", "c"))).ids
        *others, entry = self.worker.claim(100, 0.0)
        self.worker.hold([e.id for e in others])
        self.worker.bury(entry, "unreadable", "a test")
        self.worker.release()
        self.worker.ack(self.worker.position)
        self.worker.published(1, self.worker.position)
        letter = (await self.letters.page(None, 1, "unreadable"))[0][0]
        await self.letters.replay(letter.id)
        await self.letters.numbers()
        await self.publisher.counts()
        assert (await self.publisher.fate(ids[0])).status == "learned"
        said = [{"label": "a", "model_version": 1}] * 2
        one, other = await self.answers.put(said, pixels(2, side=4), [0.5, 0.5])
        await self.answers.page(None, 5)
        given = await self.labels.give(one, "a", key="camera")
        await self.labels.scores()
        await self.answers.delete(other)
        assert given.sample_id
        await self.deleting.delete(given.sample_id)
        await self.repeats.once("who", f"key {number}", "content", self._answer)
        await self.audit.add("test")
        await self.audit.add("test", allowed=False)
        await self.audit.tell_keys(await self.audit.keys_told(), {"key": str(number)}, 1.0)
        await self.audit.page(None, 5)
        await self.board.events(5)

    async def _answer(self) -> dict[str, int]:
        return {"a": 1}

    async def close(self) -> None:
        for part in (self.publisher, self.board, self.answers, self.labels, self.letters):
            await part.close()
        for other in (self.audit, self.repeats, self.deleting):
            await other.close()
        self.worker.close()


@pytest.fixture
async def parts(server: EmbeddedRedis) -> AsyncIterator[tuple[Parts, Settings]]:
    settings = settings_on(server, on_gap="go_on")
    parts = Parts(settings)
    yield parts, settings
    await parts.close()


async def test_a_batch_that_met_a_wrong_type_was_not_taken_in_part(
    parts: tuple[Parts, Settings], server: EmbeddedRedis
) -> None:
    part, settings = parts
    keys = Keys(settings.name)
    samples = [Sample(np.zeros((4, 4, 3), np.uint8), "a", name=f"{n}") for n in range(3)]
    with client_of(server) as redis:
        said = (keys.batches, keys.batches_order, keys.names, keys.names_order)
        for key in (*said, keys.batches_held, keys.names_held):
            redis.set(key, "mine")
            with pytest.raises(StreamAway, match="WRONGTYPE"):
                await part.publisher.take(samples, Once("key", "c"))
            assert redis.xlen(keys.stream) == 0 and not redis.exists(keys.counters)
    assert len((await part.publisher.take(samples, Once("key", "c"))).ids) == 3


def test_every_key_has_its_type() -> None:
    keys = Keys("a")
    assert {getattr(keys, name) for name in NAMES} == set(keys.types)


@pytest.mark.parametrize("name", sorted(set(NAMES) - OF_THE_WORKER))
async def test_the_service_goes_on_and_the_value_is_kept_aside(
    parts: tuple[Parts, Settings], server: EmbeddedRedis, name: str
) -> None:
    part, settings = parts
    await part.work(0)
    key = getattr(Keys(settings.name), name)
    with client_of(server) as redis:
        redis.delete(key)
        if Keys(settings.name).types[key] == "string":
            redis.rpush(key, "mine")
        else:
            redis.set(key, "mine")
        for number in range(1, TRIES + 1):
            try:
                await part.work(number)
                break
            except StreamAway:
                await asyncio.sleep(PAUSE_S if "predictions" in name else 0)
        else:
            pytest.fail(f"not well after {TRIES} tries")
        assert redis.exists(f"{key}:set-aside") == 1
        await part.work(TRIES + 1)
