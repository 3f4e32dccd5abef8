"""What PUBLISH remembers of batches and names, for the stream in memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from learndrop.settings import Settings
from learndrop.stream.messages import Sample
from learndrop.stream.taking import (
    Once,
    Taken,
    fields_of,
    full,
    other_content,
    owned,
    room,
    share_factor,
    share_full,
    size_of,
)

Fields = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Batch:
    time_s: float
    content: str
    taken: Taken
    who: str


class MemoryTaking:
    """Takes batches once; `write` puts one entry on the stream and gives its id."""

    def __init__(self, settings: Settings, write: Callable[[Fields], str]) -> None:
        self._settings, self._write = settings, write
        self._names: dict[bytes, tuple[str, str]] = {}  # whose, id
        self._batches: dict[bytes, _Batch] = {}

    def take(
        self, samples: Sequence[Sample], once: Once | None, waiting: Sequence[Fields]
    ) -> Taken:
        """See Publisher.take; `waiting` is what lies in the stream."""
        settings, who = self._settings, samples[0].key
        entries = fields_of(samples, settings)
        batch = owned(who, once.key) if once else b""
        if once and (before := self._remembered(batch)):
            if before.content != once.content:
                raise other_content()
            return replace(before.taken, again=True)
        self._check_room(list(self._fresh(samples, entries)), who, waiting)
        taken = Taken([])
        for place, (sample, fields) in enumerate(zip(samples, entries, strict=True)):
            name = owned(who, sample.name) if sample.name else None
            if name is not None and name in self._names:
                taken.duplicates.append(place)
                taken.ids.append(self._names[name][1])
                continue
            taken.ids.append(self._write(fields))
            if name is not None:
                self._names[name] = who, taken.ids[-1]
        if once:
            self._batches[batch] = _Batch(time.time(), once.content, taken, who)
        _shorten(self._names, settings.sample_ids_kept, lambda told: told[0])
        _shorten(self._batches, settings.idempotency_kept, lambda told: told.who)
        return taken

    def _remembered(self, batch: bytes) -> _Batch | None:
        before = self._batches.get(batch)
        if before and time.time() - before.time_s < self._settings.idempotency_ttl_s:
            return before
        self._batches.pop(batch, None)
        return None

    def _fresh(self, samples: Sequence[Sample], entries: Sequence[Fields]) -> Iterator[Fields]:
        seen = set(self._names)
        for sample, fields in zip(samples, entries, strict=True):
            name = owned(sample.key, sample.name)
            if not sample.name or name not in seen:
                yield fields
            seen.add(name)

    def _check_room(self, fresh: Sequence[Fields], who: str, waiting: Sequence[Fields]) -> None:
        settings, number = self._settings, len(waiting)
        held, adding = sum(map(size_of, waiting)), sum(map(size_of, fresh))
        if fresh and (
            number + len(fresh) > settings.max_pending or held + adding > settings.max_pending_bytes
        ):
            raise full(settings, len(fresh), number, held, rate=0.0)
        factor = share_factor(settings)
        if not fresh or not who or factor is None:
            return
        mine = sum(fields.get(b"key") == who.encode() for fields in waiting)
        allowed = max(
            0, int(factor * (room(max(map(size_of, fresh)), settings) - number - len(fresh)))
        )
        if mine + len(fresh) > allowed:
            raise share_full(who, len(fresh), number, mine, allowed, rate=0.0)


def _shorten(kept: dict[bytes, Any], most: int, whose: Callable[[Any], str]) -> None:
    """The oldest of whoever has most go."""
    while len(kept) > most:
        numbers = Counter(whose(told) for told in kept.values())
        largest = max(numbers, key=lambda who: (numbers[who], who))
        del kept[next(key for key, told in kept.items() if whose(told) == largest)]
