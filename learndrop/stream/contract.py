"""The stream between service and worker: `publish` here; `claim`, `ack`, `bury` there.

One entry is one sample. `Publisher` and `Consumer` say what each side may do; the Redis ones are in
`publisher.py` and `consumer.py`, those for tests in `memory_stream.py` and `memory_consumer.py`;
all pass tests/test_stream.py.

The account, at every moment: accepted = learned + buried + deleted + pending.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from learndrop.server.durability import Memory
from learndrop.stream.account import Counts, Waiting
from learndrop.stream.fates import Fate
from learndrop.stream.gap import Gap
from learndrop.stream.messages import Sample
from learndrop.stream.taking import Once, Taken

Reason = Literal["unreadable", "wrong_size", "too_many_classes", "killed_worker", "vanished"]
"""Why an entry was buried: a closed set, because it labels a metric."""

Discarded = Literal["waiting", "seen", "gone"]
"""What a deleted sample was: not yet learned; learned or in hand; not on the stream."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the stream as it lies there; what it means is for messages.py."""

    id: str
    fields: Mapping[bytes, bytes]


class Publisher(Protocol):
    """What the service may do."""

    async def publish(self, samples: Sequence[Sample]) -> list[str]:
        """`take` without a key; the ids alone."""
        ...

    async def take(self, samples: Sequence[Sample], once: Once | None = None) -> Taken:
        """Put all samples of one sender on the stream, or none; once, if that says what once means.

        Raises:
            StreamFull: when they would pass `max_pending` or `max_pending_bytes`.
            ShareFull: when their sender's key would pass its share.
            TooLarge: when they alone would.
            OtherContent: when `once.key` was used for other content.
            StreamAway: when Redis does not answer; nothing is known about the samples then.
        """
        ...

    async def counts(self) -> Counts:
        """Read the account.

        Raises:
            StreamAway: when Redis does not answer.
        """
        ...

    async def waiting(self) -> Waiting:
        """Read what waits.

        Raises:
            StreamAway: when Redis does not answer.
        """
        ...

    async def discard(self, ids: Sequence[str]) -> list[Discarded]:
        """Take samples that still wait off the stream, counted as deleted; says what each was.

        One that was `seen` is in the weights, or in those of the step that is being made.

        Raises:
            BadInput: when an id is none.
            StreamAway: when Redis does not answer.
        """
        ...

    async def fate(self, sample_id: str) -> Fate:
        """Tell what became of one sample.

        Raises:
            NotFound: when it is unknown, or not among the newest `fates_kept` that ended.
            StreamAway: when Redis does not answer.
        """
        ...

    async def check(self) -> list[str]:
        """Name every setting of the server by which accepted samples could be lost.

        None where `fsync` is `no`; they are among the warnings then.

        Raises:
            StreamAway: when Redis does not answer.
        """
        ...

    async def warnings(self) -> list[str]:
        """Name what is not well yet loses nothing: memory that runs short, a worker that waits."""
        ...

    async def memory(self) -> Memory:
        """How much memory the server uses, and may use.

        Raises:
            StreamAway: when Redis does not answer.
        """
        ...

    async def close(self) -> None: ...


class Consumer(Protocol):
    """What the worker may do. Every method but `open` and `release` may raise StreamAway, and
    NotLeading once another worker has taken over: nothing is changed then.

    After StreamAway whatever was claimed and not released is claimed again, in the same order.
    """

    @property
    def position(self) -> str:
        """Id up to which everything claimed is finished: what a checkpoint must remember."""
        ...

    @property
    def buried(self) -> Mapping[Reason, int]:
        """How many entries this consumer buried, by reason."""
        ...

    @property
    def gap(self) -> Gap | None:
        """What the stream and the position that it was opened at miss of each other."""
        ...

    def open(self, position: str, *, learned: int = 0, older: bool = False) -> None:
        """Start after `position`: everything up to it is learned, everything after it is not.

        Args:
            position: of the checkpoint.
            learned: samples that it has learned.
            older: whether it is known that a newer one is damaged.
        """
        ...

    def claim(
        self, most: int, wait_s: float, stopping: Callable[[], bool] = lambda: False
    ) -> list[Entry]:
        """Take the next entries in order, waiting up to `wait_s` for the list to fill.

        An entry that is suspected of killing the worker comes alone.
        """
        ...

    def hold(self, ids: Sequence[str]) -> set[str]:
        """Say that these are being learned now; whoever dies now had them in hand.

        Returns those that were deleted since they were claimed: they must not be learned.
        """
        ...

    def release(self) -> None:
        """Say that everything claimed so far is finished (learned or buried)."""
        ...

    def ack(self, through: str) -> int:
        """Take what is learned up to the position off the stream; returns how many that were."""
        ...

    def bury(self, entry: Entry, reason: Reason, why: str) -> None:
        """Put an entry aside as a dead letter."""
        ...

    def published(self, version: int, position: str) -> None:
        """Say that a model version is out that has learned everything up to the position."""
        ...

    def counts(self) -> Counts:
        """Read the account."""
        ...

    def close(self) -> None: ...
