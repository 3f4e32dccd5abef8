"""Samples that could not be learned, put aside with a reason: looked at, put back, thrown away.

A letter's id is that of its entry among the dead letters, not the sample's. What is put back lies
at the end of the stream under a new id, and leaves `buried` for `pending`; it was accepted once.
What is thrown away stays counted as buried.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from learndrop.errors import BadInput, NotFound, StreamFull
from learndrop.server.connections import connect_async
from learndrop.server.ids import is_id, older_than, oldest_id
from learndrop.server.keys import Keys
from learndrop.server.mending import mending_async
from learndrop.settings import Settings
from learndrop.stream.contract import Reason
from learndrop.stream.taking import full
from learndrop.upkeep.letter_scripts import (
    HEADS,
    NUMBERS,
    OWN_FIELDS,
    OWN_NAMES,
    PURGE,
    READ,
    REPLAY,
)

MOST_A_PAGE = 500
MOST_LOOKED_AT = 10_000
"""A page of one reason looks no further at once; it may be short and still have a next one."""
MOST_AT_ONCE = 10_000
"""Letters that one request puts back or throws away; it says how many are left."""
CHUNK = 32  # letters a script moves: Redis serves nobody else meanwhile


@dataclass(frozen=True, slots=True)
class Head:
    """A dead letter without its fields.

    Attributes:
        id: of the letter.
        sample_id: what the sample was called; empty for `vanished`.
        reason: one of `Reason`; empty if another hand wrote the letter, of which nothing is known.
        why: the reason in a sentence.
        time: when it was buried, unix time.
        label: as the sample had it.
        shape: `height x width` of its picture, as written.
        bytes: of its pixels.
        replayable: whether there is something to put back.
    """

    id: str
    sample_id: str
    reason: str
    why: str
    time: float
    label: str
    shape: str
    bytes: int
    replayable: bool


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was put back: old ids with new ones, and how many are left that were asked for."""

    moved: Mapping[str, str]
    left: int
    full: StreamFull | None = None


class DeadLetters:
    """The buried entries that are kept. Every method raises StreamAway when Redis does not answer.

    Args:
        settings: of the model whose letters they are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._redis: Any = connect_async(settings)
        self._keys = keys = Keys(settings.name)
        self._dead = [keys.dead, keys.dead_reasons]
        self._scripts = {
            text: self._redis.register_script(text)
            for text in (HEADS, NUMBERS, READ, REPLAY, PURGE)
        }

    async def numbers(self) -> dict[str, int]:
        """How many are kept, by reason; every reason is there."""
        told = await self._run(NUMBERS, self._dead, [])
        found = {r.decode(): int(n) for r, n in zip(told[::2], told[1::2], strict=True)}
        return dict.fromkeys(get_args(Reason), 0) | found

    async def page(
        self, cursor: str | None, limit: int, reason: str | None = None
    ) -> tuple[list[Head], str | None]:
        """Up to `limit` letters older than `cursor`, newest first, and the next cursor.

        The cursor is None at the end.

        Raises:
            BadInput: if the cursor is none of ours.
        """
        args = ["XREVRANGE", older_than(cursor), "-", reason or "", limit, MOST_LOOKED_AT]
        found, last = await self._run(HEADS, [self._keys.dead], args)
        return [_head(row) for row in found], last.decode() or None

    async def get(self, letter_id: str) -> tuple[Head, dict[bytes, bytes]]:
        """One letter, and the fields of the entry as it lay in the stream.

        Raises:
            NotFound: if there is none of that id, or none any more.
        """
        if is_id(letter_id):
            found = await self._run(READ, [self._keys.dead], [letter_id])
            if found:
                return _letter(letter_id, found[0][1])
        raise NotFound(f"no dead letter {letter_id[:80]!r} is kept")

    async def replay(self, letter_id: str) -> str:
        """Put one letter back on the stream; the sample's new id.

        Raises:
            NotFound: if there is none of that id, or none any more.
            BadInput: if it only tells of entries that vanished.
            StreamFull: if the stream has no room; the letter stays.
        """
        head, _ = await self.get(letter_id)
        if not head.replayable:
            told = f"dead letter {letter_id} holds no sample (vanished, or not ours): it stays here"
            raise BadInput(told, item="id", value=letter_id)
        moved, stopped = await self._replay([letter_id])
        if stopped is not None:
            raise stopped
        if letter_id not in moved:
            raise NotFound(f"no dead letter {letter_id!r} is kept any more")
        return moved[letter_id]

    async def replay_all(self, reason: str | None = None) -> Replayed:
        """Put all back, or all of one reason, the oldest first, as far as the stream has room.

        Letters that are buried meanwhile are not taken along, so that what cannot be learned does
        not go round and round.
        """
        moved: dict[str, str] = {}
        heads = [head async for head in self._oldest(reason) if head.replayable]
        stopped = None
        for start in range(0, min(len(heads), MOST_AT_ONCE), CHUNK):
            some, stopped = await self._replay([h.id for h in heads[start : start + CHUNK]])
            moved |= some
            if stopped is not None:
                break
        return Replayed(moved, len(heads) - len(moved), stopped)

    async def delete(self, letter_id: str) -> None:
        """Throw one away; its sample stays counted as buried.

        Raises:
            NotFound: if there is none of that id, or none any more.
        """
        if not is_id(letter_id) or not await self._run(PURGE, self._dead, [letter_id]):
            raise NotFound(f"no dead letter {letter_id[:80]!r} is kept")

    async def purge(self, reason: str | None = None) -> tuple[int, int]:
        """Throw all away, or all of one reason: how many went, and how many are left."""
        ids = [head.id async for head in self._oldest(reason)]
        gone = 0
        for start in range(0, min(len(ids), MOST_AT_ONCE), CHUNK):
            gone += int(await self._run(PURGE, self._dead, ids[start : start + CHUNK]))
        return gone, max(0, len(ids) - MOST_AT_ONCE)

    async def expire(self) -> int:
        """Throw away what is older than `dead_letters_ttl_s`; how many went."""
        gone, last = 0, oldest_id(self._settings.dead_letters_ttl_s)
        while True:
            args = ["XRANGE", "-", f"({last}-0", "", CHUNK, CHUNK]
            found, _ = await self._run(HEADS, [self._keys.dead], args)
            if not found:
                return gone
            gone += int(await self._run(PURGE, self._dead, [row[0] for row in found]))

    async def of_sample(self, sample_id: str) -> list[str]:
        """Ids of the letters of one sample."""
        return [head.id async for head in self._oldest(None) if head.sample_id == sample_id]

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    async def _oldest(self, reason: str | None) -> AsyncIterator[Head]:
        """Every letter there is now, the oldest first."""
        start = "-"
        while True:
            args = ["XRANGE", start, "+", reason or "", MOST_A_PAGE, MOST_LOOKED_AT]
            found, last = await self._run(HEADS, [self._keys.dead], args)
            for row in found:
                yield _head(row)
            if not last:
                return
            start = f"({last.decode()}"

    async def _replay(self, ids: Sequence[str]) -> tuple[dict[str, str], StreamFull | None]:
        keys, settings = self._keys, self._settings
        args = [settings.max_pending, settings.max_pending_bytes, settings.fates_kept, *ids]
        of_stream = [keys.stream, keys.counters, keys.foreign, *self._dead, keys.moved]
        flat, *stopped = await self._run(REPLAY, of_stream, args)
        moved = {a.decode(): b.decode() for a, b in zip(flat[::2], flat[1::2], strict=True)}
        if not stopped:
            return moved, None
        waiting, held, rate = stopped
        left = len(ids) - len(moved)
        return moved, full(settings, left, int(waiting), int(held), float(rate or 0))

    async def _run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        async with mending_async(self._redis, self._keys):
            return await self._scripts[script](keys, args)


def _head(row: Sequence[Any]) -> Head:
    letter_id, sample_id, reason, why, time, label, shape = (
        (value or b"").decode(errors="replace") for value in row[:7]
    )
    return Head(
        letter_id, sample_id, reason, why, _seconds(time), label, shape, int(row[7]), bool(row[8])
    )


def _letter(letter_id: str, flat: Sequence[bytes]) -> tuple[Head, dict[bytes, bytes]]:
    named = flat[1].decode(errors="replace")
    if tuple(flat[:OWN_FIELDS:2]) != OWN_NAMES or (named and not is_id(named)):
        # Written by another hand.
        foreign = dict(zip(flat[::2], flat[1::2], strict=True))
        return _head([letter_id.encode(), *[b""] * 6, 0, False]), foreign
    values = flat[OWN_FIELDS:]
    fields = dict(zip(values[::2], values[1::2], strict=True))
    own = flat[1:OWN_FIELDS:2]
    label, shape = fields.get(b"label", b"")[:400], fields.get(b"shape", b"")[:40]
    row = [
        letter_id.encode(),
        *own,
        label,
        shape,
        len(fields.get(b"image", b"")),
        bool(fields and named),
    ]
    return _head(row), fields


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # written by another hand
        return 0.0
