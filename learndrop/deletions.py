"""Samples that must be forgotten: asked for by the service, carried out by the worker.

What lies in Redis goes at once. What the worker holds (replay buffer, stored maps, checkpoints) is
asked for on a stream of its own, which it reads in every turn and from the start after a restart,
since an older checkpoint has the image still. A request leaves that stream when no checkpoint has.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import redis

from learndrop.answers import Answers
from learndrop.connections import connect, connect_async
from learndrop.dead_letters import DeadLetters
from learndrop.errors import Busy, NotFound
from learndrop.ids import is_id
from learndrop.keys import Keys
from learndrop.mending import mending, mending_async
from learndrop.receipts import Learned, Receipt
from learndrop.settings import Settings
from learndrop.stream import Publisher

RECEIPT_KEPT_S = 90 * 24 * 3600
MOST_OPEN = 10_000
"""Requests that may wait for the worker; more are asked to come later."""
MOST_MOVES = 100


class Deleting:
    """The service's side. Every method raises StreamAway when Redis does not answer.

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
        """Delete a sample wherever it is. Asking again does no harm and gives a fresh receipt.

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
        receipt = Receipt(
            sample_id, time.time(), names, was[0], learned, letters, prediction,
            self._settings.erase_within_s,
        )  # fmt: skip
        # Last: what the worker had in hand when it was taken off is in the buffer by the time that
        # the worker reads this.
        fields = {"receipt": sample_id, "at": f"{receipt.asked_s:.3f}"}
        async with mending_async(self._redis, self._keys):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(
                    self._keys.receipt(sample_id), orjson.dumps(asdict(receipt)), ex=RECEIPT_KEPT_S
                )
                for name in names:
                    pipe.xadd(self._keys.deletions, {"sample": name, **fields})
                await pipe.execute()
        return receipt

    async def receipt(self, sample_id: str) -> tuple[Receipt, int | None]:
        """What was done so far, and the first model version that learned from it, if one did.

        Raises:
            NotFound: if its deletion was not asked for, or too long ago.
        """
        async with mending_async(self._redis, self._keys):
            told = await self._redis.get(self._keys.receipt(sample_id)) if sample_id else None
        if told is None:
            raise NotFound(f"no deletion of {sample_id[:80]!r} was asked for")
        receipt = Receipt(**orjson.loads(told))
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

    async def _check(self, sample_id: str) -> None:
        if not is_id(sample_id) or int(sample_id.partition("-")[0]) > 1000 * (time.time() + 60):
            raise NotFound(f"no sample {sample_id[:80]!r} was ever accepted")
        waiting = await self.waiting()
        if waiting >= MOST_OPEN:
            raise Busy(
                f"{waiting} deletions wait for the worker",
                retry_after_s=30.0,
                limit=MOST_OPEN,
                value=waiting,
            )

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
            return Receipt(**orjson.loads(told)).learned if told else "unknown"
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


@dataclass(frozen=True, slots=True)
class Request:
    """One sample that the worker must forget.

    Attributes:
        id: of the request.
        sample_id: the sample's.
        asked_s: unix time.
        receipt: sample id under which its receipt lies; empty if nobody asked for one.
    """

    id: str
    sample_id: str
    asked_s: float
    receipt: str


class Deletions:
    """The worker's side. Every method raises StreamAway when Redis does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._keys = Keys(settings.name)
        self._redis: Any = connect(settings)

    def after(self, last: str) -> list[Request]:
        """Requests that came after that one, in order; `0-0` gives all that are open."""
        with mending(self._redis, self._keys):
            found = self._redis.xrange(self._keys.deletions, f"({last}", "+", count=1000)
        return [_request(entry_id, fields) for entry_id, fields in found]

    def forgotten(self, requests: Sequence[Request], replayed: Set[str]) -> None:
        """Write into the receipts that the worker's memory has none of them any more."""
        for name in _receipts(requests):
            mine = {r.sample_id for r in requests if r.receipt == name}
            self._note(name, forgotten_s=time.time(), replayed=bool(mine & replayed))

    def erased(self, requests: Sequence[Request]) -> None:
        """Close requests: no checkpoint has them. Redis is asked to rewrite its own log."""
        if not requests:
            return
        for name in _receipts(requests):
            self._note(name, erased_s=time.time())
        with mending(self._redis, self._keys):
            self._redis.xdel(self._keys.deletions, *(r.id for r in requests))
            try:
                self._redis.bgrewriteaof()
            except redis.ResponseError:
                pass  # one runs already, there is no such log, or this user may not

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _note(self, name: str, **told: Any) -> None:
        """Fill in what a receipt does not say yet."""
        key = self._keys.receipt(name)
        with mending(self._redis, self._keys):
            if (written := self._redis.get(key)) is None:
                return
            known = orjson.loads(written)
            news = {field: value for field, value in told.items() if known[field] is None}
            self._redis.set(key, orjson.dumps(known | news), keepttl=True)


def _receipts(requests: Sequence[Request]) -> list[str]:
    return list(dict.fromkeys(r.receipt for r in requests if r.receipt))


def _request(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Request:
    return Request(
        entry_id.decode(),
        fields[b"sample"].decode(),
        float(fields[b"at"]),
        fields.get(b"receipt", b"").decode(),
    )
