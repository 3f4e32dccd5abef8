"""What is handed to the stream and what it answers: a batch that is taken once, or refused.

A batch may carry a key of its own (the header Idempotency-Key): sent again within
`idempotency_ttl_s`, it is answered as before and not taken again. A sample may carry a name that
its sender gave it (the field `ids`): a name that was taken before is answered with the id it got.
Both are remembered in the script that puts the samples on the stream, so no crash comes between.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from learndrop.errors import OtherContent, ShareFull, StreamFull, TooLarge
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from learndrop.stream.messages import Sample, columns
from learndrop.stream.packing import column, packed

MARK = b"by", b"learndrop"
"""Field of every entry that `take` wrote; one without it was written by hand."""
DIGEST_BYTES = 16

RETRY_UNKNOWN_S = 5.0
RETRY_LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Once:
    """What makes a batch the same one: the key that it came with, and what it holds.

    Attributes:
        key: the Idempotency-Key as it was sent; it is the sender's own, other senders' are others.
        content: digest of the samples, whatever format they came in.
    """

    key: str
    content: str

    @classmethod
    def of(cls, key: str, samples: Sequence[Sample]) -> Once:
        """Digest the samples: pixels, labels and names, not when they came nor from whom."""
        parts = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for sample in samples:
            told = f"{sample.image.shape} {len(sample.label)} {sample.label} {sample.name}\n"
            parts.update(told.encode())
            parts.update(np.ascontiguousarray(sample.image).data)
        return cls(key, parts.hexdigest())


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch.

    Attributes:
        ids: of each sample in order.
        duplicates: places in the batch, from 0, of those that were taken earlier under their name.
        again: whether the whole batch had been taken before.
    """

    ids: list[str]
    duplicates: list[int] = field(default_factory=list)
    again: bool = False

    @property
    def fresh(self) -> int:
        """How many samples this call added to the stream."""
        return 0 if self.again else len(self.ids) - len(self.duplicates)


def size_of(fields: Mapping[bytes, bytes]) -> int:
    """Bytes of pixels in one entry."""
    return len(fields.get(b"image", b""))


def fields_of(samples: Sequence[Sample], settings: Settings) -> list[dict[bytes, bytes]]:
    """Encode samples as entries, refusing what could never fit.

    Raises:
        TooLarge: as `check_size`.
    """
    check_size(samples, settings)
    return [{**sample.to_fields(), MARK[0]: MARK[1]} for sample in samples]


def check_size(samples: Sequence[Sample], settings: Settings) -> None:
    """Refuse what could never fit.

    Raises:
        TooLarge: when the samples alone are more than the stream, or a key's share of it, may hold.
    """
    most = settings.max_pending
    if samples and samples[0].key:
        most = min(most, room(max(sample.image.nbytes for sample in samples), settings))
        most = max(1, math.floor(most * settings.key_share))
    if len(samples) > most:
        told = f"{len(samples)} samples at once, the stream holds {most}"
        raise TooLarge(told, item="samples", limit=most, value=len(samples))
    total = sum(sample.image.nbytes for sample in samples)
    if total > (limit := settings.max_pending_bytes):
        told = f"{total} bytes of pixels at once, the stream holds {limit}"
        raise TooLarge(told, item="samples", limit=limit, value=total)


def room(largest: int, settings: Settings) -> int:
    """Entries of that many bytes that the stream holds, by whichever limit is the tighter.

    >>> from learndrop.settings import load_settings
    >>> room(2048, load_settings(max_pending=10, max_pending_bytes=4096))
    2
    """
    by_bytes = settings.max_pending_bytes // largest if largest else settings.max_pending
    return min(settings.max_pending, by_bytes)


def share_factor(settings: Settings) -> float | None:
    """How many times the room that is left one key may hold; None where there is no bound.

    Alone it then holds up to `key_share` of the stream; n keys hold equal parts of what they
    together may, and there is always room for one more.

    >>> from learndrop.settings import load_settings
    >>> round(share_factor(load_settings(key_share=0.9)), 6)
    9.0
    """
    share = settings.key_share
    return share / (1 - share) if share < 1 else None


def owned(key: str, name: str) -> bytes:
    """What is remembered of a key or name that a sender gave; those of others are others.

    >>> owned("camera", "1") == owned("camera1", ""), len(owned("camera", "1"))
    (False, 16)
    """
    return hashlib.blake2b(f"{key}\0{name}".encode(), digest_size=DIGEST_BYTES).digest()


def script_keys(keys: Keys) -> list[str]:
    """The keys of PUBLISH, in its order."""
    return [keys.stream, keys.counters, keys.batches, keys.batches_order, keys.names,
            keys.names_order, keys.batches_held, keys.names_held]  # fmt: skip


def script_arguments(
    samples: Sequence[Sample], once: Once | None, settings: Settings
) -> list[str | bytes | int]:
    """The arguments of PUBLISH.

    Raises:
        TooLarge: as `check_size`.
    """
    check_size(samples, settings)
    who = samples[0].key
    factor = share_factor(settings) if who else None
    named = any(sample.name for sample in samples)
    names = [owned(who, s.name) if s.name else b"" for s in samples] if named else []
    return [
        settings.max_pending,
        settings.max_pending_bytes,
        "" if factor is None else f"{factor:.6f}",
        room(max(sample.image.nbytes for sample in samples), settings),
        who,
        owned(who, once.key) if once else b"",
        once.content if once else "",
        math.ceil(settings.idempotency_ttl_s),
        settings.idempotency_kept,
        settings.sample_ids_kept,
        len(samples),
        *column(names),
        *packed(columns(samples) | {MARK[0]: [MARK[1]] * len(samples)}),
    ]


def taken_from(answer: Sequence[Any], samples: Sequence[Sample], settings: Settings) -> Taken:
    """Read what PUBLISH returned.

    Raises:
        StreamFull, ShareFull: nothing was taken.
        OtherContent: the batch's key was used for another one.
    """
    what, *rest = answer
    match what:
        case b"taken":
            return replace(recalled(rest[0].decode()), again=False)
        case b"again":
            return recalled(rest[0].decode())
        case b"other":
            raise other_content()
        case b"full":
            waiting, held, rate = rest
            raise full(settings, len(samples), int(waiting), int(held), float(rate or 0))
        case _:
            waiting, mine, rate, allowed, fresh = rest
            raise share_full(
                samples[0].key, int(fresh), int(waiting), int(mine), int(allowed), float(rate or 0)
            )


def recalled(text: str) -> Taken:
    """Read the ids of a batch: a run of them, or each one, duplicates with a star.

    >>> recalled("1764046800000-7+3").ids
    ['1764046800000-7', '1764046800000-8', '1764046800000-9']
    >>> recalled("5-0* 7-0").ids, recalled("5-0* 7-0").duplicates
    (['5-0', '7-0'], [0])
    """
    if "+" in text:
        first, _, count = text.partition("+")
        ms, _, seq = first.partition("-")
        return Taken([f"{ms}-{int(seq) + n}" for n in range(int(count))], again=True)
    told = text.split(" ")
    duplicates = [n for n, one in enumerate(told) if one.endswith("*")]
    return Taken([one.rstrip("*") for one in told], duplicates, again=True)


def other_content() -> OtherContent:
    """Say that a batch's key was used for another batch."""
    return OtherContent(
        "this Idempotency-Key came with another batch before: a new batch needs a new one",
        item="Idempotency-Key",
    )


def full(settings: Settings, adding: int, waiting: int, held: int, rate: float) -> StreamFull:
    """Say that the stream is full, and when there will be room at the present rate of learning.

    >>> from learndrop.settings import load_settings
    >>> settings = load_settings(max_pending=100)
    >>> full(settings, 10, 100, 0, rate=0.5).retry_after_s
    20.0
    >>> full(settings, 10, 100, 0, rate=0.0).retry_after_s
    5.0
    """
    told = (
        f"{waiting} samples ({held} bytes of pixels) wait to be learned and {adding} more do not"
        f" fit: limits {settings.max_pending} and {settings.max_pending_bytes} bytes"
    )
    excess = max(waiting + adding - settings.max_pending, adding)
    return StreamFull(
        told, retry_after_s=_wait_s(excess, rate), limit=settings.max_pending,
        value=waiting + adding,
    )  # fmt: skip


def share_full(
    key: str, adding: int, waiting: int, mine: int, allowed: int, rate: float
) -> ShareFull:
    """Say that a key holds its share, and when it will have room.

    A sample of its own leaves the stream as often as its part of what waits.

    >>> share_full("camera", 10, waiting=80, mine=40, allowed=45, rate=1.0).retry_after_s
    10.0
    """
    told = (
        f"{mine} samples of the key {key!r} wait to be learned and {adding} more are over its"
        f" share: {allowed} of the {waiting} that wait by now"
    )
    own_rate = rate * mine / waiting if waiting else rate
    return ShareFull(
        told, retry_after_s=_wait_s(mine + adding - allowed, own_rate), limit=allowed,
        value=mine + adding,
    )  # fmt: skip


def _wait_s(samples: int, rate: float) -> float:
    wait_s = math.ceil(samples / rate) if rate > 0 else RETRY_UNKNOWN_S
    return float(min(max(wait_s, 1.0), RETRY_LONGEST_S))
