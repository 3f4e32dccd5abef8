"""The worker's page: claim, hold, learn, release, publish, checkpoint, acknowledge, tell.

The order is the promise. An entry is acknowledged after the checkpoint that has it; a crash
anywhere above means that it is read again, from a checkpoint that does not have it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import structlog

from learndrop.errors import BadMessage, LearndropError, NotLeading, StreamAway
from learndrop.events import Event
from learndrop.settings import Settings
from learndrop.stream.contract import Consumer, Entry
from learndrop.stream.messages import Sample
from worker.heap import give_back
from worker.parts import Parts
from worker.schedule import Checkpoints, Versions

TELL_S = 0.5  # the state goes to the board no more often
LONGEST_PAUSE_S = 1.0  # between two tries to reach Redis
MOVES = {"freeze", "drop", "return", "thaw", "reset", "rollback"}  # a step is another one after it

log = structlog.get_logger()


def run(
    parts: Parts,
    position: str,
    *,
    stopping: Callable[[], bool],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Learn until `stopping()`; what was learned is then published and in a checkpoint.

    Args:
        parts: what to work with.
        position: of the checkpoint that the learner came from.
        stopping: asked between batches.
        clock: seconds; only differences count.
        pause: waits so many seconds for Redis.

    Raises:
        NotLeading: when another worker took over; nothing was written since.
        whatever the learner raises; the batch in hand is then learned again after a restart.
    """
    learned = int(parts.learner.state()["samples_learned"])
    parts.stream.open(position, learned=learned, older=parts.older)
    loop = Loop(parts, position, stopping, clock)
    loop.went_back(parts.before_checkpoint())  # of a rotten checkpoint
    loop.publish_first_version()
    tries, said = 0, ""
    while not stopping():
        try:
            loop.turn()
            tries, said = 0, ""
        except StreamAway as exc:
            parts.confirm()
            tries += 1
            if str(exc) != said:  # said once, not at every try
                said = str(exc)
                log.warning("redis_away", error=said)
            parts.metrics.alive(redis_up=False)
            pause(min(LONGEST_PAUSE_S, 0.05 * 2 ** min(tries, 10)))
            continue
        parts.metrics.alive(redis_up=True)
    loop.finish()


class Loop:
    """What one turn needs to remember for the next."""

    def __init__(
        self,
        parts: Parts,
        position: str,
        stopping: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.parts, self.stopping, self.clock = parts, stopping, clock
        self.checkpoints = Checkpoints(parts.settings, clock())
        self.versions = Versions(parts.settings, clock())
        self.saved, self.acked = position, position
        self.events: list[Event] = []
        self.unsaid: list[tuple[int, str]] = []  # versions that Redis has not heard of
        self.told_at = float("-inf")
        self.waiting = 0  # samples on the stream that are not learned yet, as last counted
        self.gap_told = False

    def turn(self) -> None:
        """One batch, and whatever is due after it."""
        settings, stream, metrics = self.parts.settings, self.parts.stream, self.parts.metrics
        erasing = self.parts.erasing
        if erasing:
            erasing.forget()  # deleted samples, before any is replayed
        with metrics.timed("wait"):
            entries = stream.claim(settings.batch, settings.batch_wait_s, self.stopping)
        ids, samples = readable(entries, stream, self.parts.learner.classes, settings)
        if samples:
            gone = stream.hold(ids)
            samples = [s for i, s in zip(ids, samples, strict=True) if i not in gone]
            ids = [i for i in ids if i not in gone]
        if samples:
            self.learn(samples)
            self.parts.archive.add(ids, samples, self.saved)
        elif entries:
            self.checkpoints.passed()
        stream.release()  # from here on `stream.position` has this batch

        if self.versions.due(self.clock(), idle=not entries):
            self.publish()
        forced = erasing is not None and erasing.wants_checkpoint()
        if self.checkpoints.due(self.clock(), idle=not entries) or forced:
            self.checkpoint()
        self.say_versions()
        self.acknowledge()  # after the checkpoint, and again if Redis was away then
        if erasing:
            erasing.erase()
        self.tell(force=bool(self.events))

    def learn(self, samples: Sequence[Sample]) -> None:
        """Test, then train; drift, reset and drop happen inside, and are in the report."""
        self.waiting = max(0, self.waiting - len(samples))
        report = self.parts.learner.learn(samples, waiting=self.waiting)
        self.events += report.events
        self.versions.learned(report.count, urgent=report.should_publish)
        self.checkpoints.learned(report.count)
        self.parts.metrics.observe(report, [s.accepted_s for s in samples])
        for event in report.events:
            log.info(event.type, cause=event.cause, depth=event.depth, samples=event.samples)
        if any(event.type in MOVES for event in report.events):
            give_back()  # the next steps' maps are of other sizes

    def publish_first_version(self) -> None:
        """Publish before anything arrives, if none is out and the network already knows classes."""
        learner, settings = self.parts.learner, self.parts.settings
        knows = learner.state()["samples_learned"] > 0 or (settings.weights and settings.classes)
        if knows and self.parts.registry.current() is None:
            self.publish()

    def publish(self) -> None:
        """Put out a version; a disk that is full is tried again and stops nothing."""
        began = self.clock()
        try:
            with self.parts.metrics.timed("publish"):
                if self.went_back(self.parts.before_publish()):
                    # readers have the version it went back to
                    self.versions.done(self.clock(), self.clock() - began)
                    return
                parts, about = self.parts.learner.export()
                position = self.parts.stream.position
                version = self.parts.registry.publish(parts, {**about, "position": position})
        except NotLeading:
            raise
        except (OSError, LearndropError) as exc:
            log.error("publish_failed", error=str(exc))
            self.parts.metrics.failed("publish")
            self.versions.failed(self.clock())
            return
        self.versions.done(self.clock(), self.clock() - began)
        self.unsaid.append((version, position))
        self.events.append(self.parts.learner.published(version))
        self.parts.metrics.published(version)
        log.info("published", version=version)

    def went_back(self, event: Event | None) -> bool:
        """Tell of a return to earlier weights; whether they are those of a published version."""
        if event is None:
            return False
        self.events.append(event)
        self.parts.metrics.happened(event)
        log.warning(event.type, cause=event.cause, samples=event.samples)
        return "version" in event.detail

    def checkpoint(self) -> None:
        """Save the learner with its position; what cannot be saved stays unacknowledged."""
        began = self.clock()
        try:
            with self.parts.metrics.timed("checkpoint"):
                self.save()
        except OSError as exc:
            log.error("checkpoint_failed", error=str(exc))
            self.parts.metrics.failed("checkpoint")
            self.checkpoints.failed(self.clock())
            return
        give_back()
        self.checkpoints.done(self.clock(), self.clock() - began)

    def save(self) -> None:
        """Write the checkpoint."""
        self.went_back(self.parts.before_checkpoint())
        try:
            self.parts.archive.write()  # before the checkpoint: after it they are never seen again
        except OSError as exc:
            log.error("archive_failed", error=str(exc))
            self.parts.metrics.failed("archive")
        position = self.parts.stream.position
        folder = self.parts.save(position)
        self.saved = position
        self.parts.metrics.saved(folder)

    def say_versions(self) -> None:
        """Say what is published, in order, so that each sample's first version can be told."""
        while self.unsaid:
            self.parts.stream.published(*self.unsaid[0])
            del self.unsaid[0]

    def acknowledge(self) -> None:
        """Take off the stream what the last checkpoint has."""
        if self.saved != self.acked:
            self.parts.stream.ack(self.saved)
            self.acked = self.saved

    def tell(self, *, force: bool) -> None:
        """Tell the board and the metrics how things are."""
        if not force and self.clock() - self.told_at < TELL_S:
            return
        gap = self.parts.stream.gap
        if gap and not self.gap_told:
            self.gap_told = True
            log.error(
                "stream_gap", kind=gap.kind, samples=gap.samples, waiting=gap.waiting, why=gap.why
            )
        state = self.parts.learner.state()
        state["stream"] = {"gap": gap and asdict(gap)}
        self.parts.metrics.show(state)
        self.parts.metrics.gap(gap)
        events, self.events = self.events, []  # the board keeps what it could not tell
        self.parts.board.add_events(events)
        self.parts.board.put_state(state)
        counts = self.parts.stream.counts()
        if counts.missing > 0:
            self.parts.stream.ack(self.saved)  # counts what another hand deleted
            counts = self.parts.stream.counts()
        self.waiting = max(0, counts.pending - self.checkpoints.unsaved)
        self.parts.metrics.account(counts, self.parts.stream.buried)
        self.told_at = self.clock()

    def finish(self) -> None:
        """Leave nothing learned unwritten. Redis may be away: the checkpoint says what to ack.

        Raises:
            OSError: if the checkpoint cannot be written; its entries are then learned again.
        """
        if self.versions.unpublished:
            self.publish()
        if self.checkpoints.unsaved:
            self.save()
        try:
            self.say_versions()
            self.acknowledge()
            self.tell(force=True)
        except StreamAway as exc:
            log.warning("redis_away_at_the_end", error=str(exc))


def readable(
    entries: Sequence[Entry], stream: Consumer, classes: Sequence[str], settings: Settings
) -> tuple[list[str], list[Sample]]:
    """Ids and samples of the entries that can be learned; the others are buried, not raised."""
    size, known = settings.image_size, set(classes)
    ids, samples = [], []
    for entry in entries:
        try:
            sample = replace(Sample.from_fields(entry.fields), id=entry.id)
        except BadMessage as exc:
            stream.bury(entry, "unreadable", str(exc))
            continue
        if sample.image.shape != (size, size, 3):
            height, width, _ = sample.image.shape
            stream.bury(entry, "wrong_size", f"{height} x {width}, not {size} x {size}")
        elif sample.label not in known and len(known) >= settings.max_classes:
            why = f"label {sample.label!r} would be number {len(known) + 1} of at most"
            stream.bury(entry, "too_many_classes", f"{why} {settings.max_classes}")
        else:
            known.add(sample.label)
            ids.append(entry.id)
            samples.append(sample)
    return ids, samples
