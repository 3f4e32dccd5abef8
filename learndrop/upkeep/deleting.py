"""The service's half of a deletion: what lies in Redis goes at once.

What the worker holds (replay buffer, stored maps, checkpoints) it is asked to forget: its half is
forget_requests.py.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import orjson
import redis

from learndrop.answers.kept import Answers
from learndrop.errors import Busy, NotFound
from learndrop.server.connections import connect_async
from learndrop.server.ids import START, is_id
from learndrop.server.keys import Keys
from learndrop.server.mending import mending_async
from learndrop.settings import Settings
from learndrop.stream.contract import Publisher
from learndrop.upkeep.dead_letters import DeadLetters
from learndrop.upkeep.receipts import Learned, Receipt

RECEIPT_KEPT_S = 90 * 24 * 3600
MOST_OPEN = 10_000
"""Requests that may wait for the worker; more are asked to come later."""
MOST_MOVES = 100
CLOCKS_APART_S = 60
"""So far an id may lie ahead of this machine's clock where no stream tells the last one."""


class Deleting:
    """Deletes samples. Every method raises StreamAway when Redis does not answer.

    Args:
        settings: of the model.
        publisher: takes off the stream what waits, and knows fates.
        answers: where pictures of predictions are.
        letters: where buried entries are.
    """

    def __init__(
        self, settings: Settings, publisher: Publisher, answers: Answers, letters: DeadLetters
    ) -> None:
        self._settings, self._keys = settings, Keys(settings.name)
        self._publisher, self._answers, self._letters = publisher, answers, letters
        self._redis: Any = connect_async(settings)

    async def delete(self, sample_id: str) -> Receipt:
        """Delete a sample wherever it is. Asking again adds to the receipt what is found then.

        Raises:
            NotFound: if it is no id that a sample can have had.
            Busy: if too many deletions wait for the worker.
        """
        await self._check(sample_id)
        names = await self._names(sample_id)
        was = await self._publisher.discard([names[-1]])
        learned = await self._learned(names[-1], was[0])
        letters, prediction = [], None
        for name in names:
            letters += await self._letters.of_sample(name)
            prediction = await self._take_prediction(name) or prediction
        for letter_id in letters:
            try:
                await self._letters.delete(letter_id)
            except NotFound:
                pass  # the oldest have just gone by themselves
        found = Receipt(
            sample_id, time.time(), names, was[0], learned, letters, prediction,
            self._settings.erase_within_s,
        )  # fmt: skip
        return await self._written(found)

    async def receipt(self, sample_id: str) -> tuple[Receipt, int | None]:
        """What was done so far, and the first model version that learned from it, if one did.

        Raises:
            NotFound: if its deletion was not asked for, or too long ago.
        """
        async with mending_async(self._redis, self._keys):
            told = await self._redis.get(self._keys.receipt(sample_id)) if sample_id else None
        if told is None:
            raise NotFound(f"no deletion of {sample_id[:80]!r} was asked for")
        receipt = Receipt.from_json(orjson.loads(told))
        return receipt, await self.first_version(receipt)

    async def first_version(self, receipt: Receipt) -> int | None:
        """The first model version that learned from it, if one did and is out."""
        if receipt.learned != "yes":
            return None
        async with mending_async(self._redis, self._keys):
            found = await self._redis.xrange(self._keys.published, receipt.names[-1], "+", count=1)
        return int(found[0][1][b"version"]) if found else None

    async def waiting(self) -> int:
        """How many requests are not carried out in full."""
        async with mending_async(self._redis, self._keys):
            return int(await self._redis.xlen(self._keys.deletions))

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def _written(self, found: Receipt) -> Receipt:
        """Add what was found to the receipt, and ask the worker to forget; both or neither.

        The worker is asked last: what it had in hand when it was taken off the stream is in the
        buffer by the time that the worker reads this.
        """
        key = self._keys.receipt(found.sample_id)
        fields = {"receipt": found.sample_id, "at": f"{found.asked_s:.3f}"}
        async with mending_async(self._redis, self._keys):
            async with self._redis.pipeline(transaction=True) as pipe:
                while True:
                    await pipe.watch(key)
                    told = await pipe.get(key)
                    before = Receipt.from_json(orjson.loads(told)) if told else None
                    receipt = found.added_to(before) if before else found
                    pipe.multi()
                    pipe.set(key, orjson.dumps(asdict(receipt)), ex=RECEIPT_KEPT_S)
                    for name in found.names:
                        pipe.xadd(self._keys.deletions, {"sample": name, **fields})
                    try:
                        await pipe.execute()
                        return receipt
                    except redis.WatchError:
                        continue  # the worker, or another who asks, has just written into it

    async def _check(self, sample_id: str) -> None:
        if not is_id(sample_id) or _pair(sample_id) > await self._newest():
            raise NotFound(f"no sample {sample_id[:80]!r} was ever accepted")
        waiting = await self.waiting()
        if waiting >= MOST_OPEN:
            raise Busy(
                f"{waiting} deletions wait for the worker",
                retry_after_s=30.0,
                limit=MOST_OPEN,
                value=waiting,
            )

    async def _newest(self) -> tuple[int, int]:
        """The greatest id that a sample can have had: clocks go back, ids never do."""
        last = START.encode()
        async with mending_async(self._redis, self._keys):
            if await self._redis.exists(self._keys.stream):
                last = (await self._redis.xinfo_stream(self._keys.stream))["last-generated-id"]
        return max(_pair(last.decode()), (int(1000 * (time.time() + CLOCKS_APART_S)), 0))

    async def _names(self, sample_id: str) -> list[str]:
        """Every id that the sample had: one more for each time that it was put back."""
        names = [sample_id]
        while len(names) < MOST_MOVES:
            ms = names[-1].partition("-")[0]
            async with mending_async(self._redis, self._keys):
                moved = await self._redis.zrangebyscore(self._keys.moved, ms, ms)
            pairs = dict(one.decode().split(" ") for one in moved)
            if names[-1] not in pairs:
                break
            names.append(pairs[names[-1]])
        return names

    async def _learned(self, sample_id: str, was: str) -> Learned:
        if was == "waiting":
            return "no"
        if was == "seen":
            return "yes"
        try:
            fate = await self._publisher.fate(sample_id)
        except NotFound:
            return "unknown"
        # One that was deleted before has told what it was by then.
        if fate.status == "deleted":
            async with mending_async(self._redis, self._keys):
                told = await self._redis.get(self._keys.receipt(sample_id))
            return Receipt.from_json(orjson.loads(told)).learned if told else "unknown"
        return "yes" if fate.status == "learned" else "no"

    async def _take_prediction(self, sample_id: str) -> str | None:
        async with mending_async(self._redis, self._keys):
            told = await self._redis.hget(self._keys.given_samples, sample_id)
        if told is None:
            return None
        prediction_id: str = told.decode()
        try:
            await self._answers.delete(prediction_id)
        except NotFound:
            pass  # it has just gone by its age
        return prediction_id


def _pair(entry_id: str) -> tuple[int, int]:
    """An id as numbers, which have its order."""
    ms, _, number = entry_id.partition("-")
    return int(ms), int(number)
