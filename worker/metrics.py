"""Every series of the worker, in one class that takes a registry."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.process_collector import ProcessCollector

from learndrop.events import Event, EventType
from learndrop.stream.account import Counts
from learndrop.stream.contract import Reason
from learndrop.stream.gap import Gap, GapKind
from worker.account_series import AccountSeries
from worker.feature_series import FeatureSeries, or_nan
from worker.report import Report

AGES_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
RATE_OVER_S = 10.0
STATES = {"training": 0, "frozen": 1, "dropped": 2, "returned": 3, "thawed": 4}
PARTS = ("test", "train", "build", "wait", "checkpoint", "publish")


class WorkerMetrics:
    """The worker's figures.

    Args:
        registry: where the series are.
        clock: seconds, for rates and for the age of the last progress.
        wall: unix time.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        version: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.registry, self._clock, self._wall = registry, clock, wall
        self._recent: deque[tuple[float, int]] = deque()
        self._alive_at: float | None = None
        self._buried_seen: dict[Reason, int] = {}
        self.redis_up = self.leading = False
        self._name_stream()
        self._name_learner()
        self._name_work()
        ProcessCollector(registry=registry)
        Info("learndrop_build", "What runs.", registry=registry).info({"version": version})

    def _name_stream(self) -> None:
        r = self.registry
        self._learned = Counter("learndrop_samples_learned", "Samples learned.", registry=r)
        self._buried = Counter(
            "learndrop_samples_buried", "Dead-lettered entries.", ["reason"], registry=r
        )
        # The counters begin at zero with each process; the account goes on.
        self._account = AccountSeries(r)
        self._age = Histogram(
            "learndrop_sample_age_seconds", "From accepted to learned.", buckets=AGES_S, registry=r
        )
        self._leading = Gauge(
            "learndrop_worker_leading",
            "1 while this worker leads, 0 while it stands by.",
            registry=r,
        )
        self._gap = Gauge(
            "learndrop_stream_gap", "1 where stream and checkpoint differ.", ["kind"], registry=r
        )
        self._gap_samples = Gauge(
            "learndrop_stream_gap_samples", "By how many samples.", ["kind"], registry=r
        )
        self._redis = Gauge("learndrop_redis_up", "1 while Redis answers.", registry=r)

    def _name_learner(self) -> None:
        r = self.registry
        self._accuracy = Gauge(
            "learndrop_prequential_accuracy_ratio", "Answers right before learning.", registry=r
        )
        self._loss = Gauge("learndrop_loss", "Cross-entropy of the last step.", registry=r)
        self._depth = Gauge("learndrop_drop_depth", "Leading units out of training.", registry=r)
        self._units = Gauge("learndrop_units", "Units of the network.", registry=r)
        self._unit_state = Gauge(
            "learndrop_unit_state",
            "0 training, 1 frozen, 2 dropped, 3 returned.",
            ["unit", "position"],
            registry=r,
        )
        self._unit_score = Gauge(
            "learndrop_unit_score", "How much a unit still moves.", ["unit", "score"], registry=r
        )
        self._events = Counter("learndrop_events", "What happened.", ["type"], registry=r)
        for kind in get_args(EventType):
            self._events.labels(kind)  # from zero, so that the first one is seen as a rise
        self._flops = {
            "done": Counter("learndrop_flops_done", "Floating-point work done.", registry=r),
            "full": Counter("learndrop_flops_full", "Work of full fine-tuning.", registry=r),
        }
        self._flops_seen = {"done": 0.0, "full": 0.0}
        self._saved_ratio = Gauge(
            "learndrop_flops_saved_ratio", "Share of full fine-tuning not spent.", registry=r
        )
        self._rate = Gauge("learndrop_learning_rate", "Rate of the next step.", registry=r)
        self._features = FeatureSeries(r)
        self._reserve = Gauge(
            "learndrop_reserve_accuracy_ratio",
            "Confirmed older samples that published weights answer right, at best.",
            registry=r,
        )
        self._doubted = Gauge("learndrop_doubted_keys", "Keys not believed now.", registry=r)
        self._replay = Gauge("learndrop_replay_samples", "Raw samples kept.", registry=r)
        self._version = Gauge("learndrop_model_version", "Version published last.", registry=r)

    def _name_work(self) -> None:
        r = self.registry
        self._seconds = Counter(
            "learndrop_step_seconds", "Where the time goes.", ["part"], registry=r
        )
        for part in PARTS:
            self._seconds.labels(part)
        self._speed = Gauge(
            "learndrop_learn_samples_per_second", "Learned, over ten seconds.", registry=r
        )
        self._speed.set_function(self.samples_per_second)
        self._saved_at = Gauge(
            "learndrop_checkpoint_timestamp_seconds", "Last checkpoint.", registry=r
        )
        self._published_at = Gauge(
            "learndrop_publish_timestamp_seconds", "Last published version.", registry=r
        )
        self._failed = Counter(
            "learndrop_write_failures", "Writes to disk that failed.", ["what"], registry=r
        )
        for what in ("checkpoint", "publish", "archive", "erase"):
            self._failed.labels(what)
        self._erased = Counter(
            "learndrop_samples_erased", "Taken out of the replay buffer.", ["why"], registry=r
        )
        for why in ("request", "age"):
            self._erased.labels(why)
        self._erasing = Gauge(
            "learndrop_deletions_open", "Deleted samples that a checkpoint may hold.", registry=r
        )

    # -- what the loop tells ------------------------------------------------------------------

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the seconds of the block, also when it fails."""
        began = self._clock()
        try:
            yield
        finally:
            self._seconds.labels(part).inc(max(0.0, self._clock() - began))

    def observe(self, report: Report, accepted_s: Sequence[float]) -> None:
        """Count what was learned, and how old each sample was by then."""
        self._learned.inc(report.count)
        self._recent.append((self._clock(), report.count))
        while len(self._recent) > 1 and self._recent[0][0] < self._clock() - 2 * RATE_OVER_S:
            self._recent.popleft()
        if math.isfinite(report.loss):
            self._loss.set(report.loss)
        for part, seconds in report.seconds.items():
            self._seconds.labels(part if part in PARTS else "other").inc(max(0.0, seconds))
        self._count_events(report.events)
        now = self._wall()
        for accepted in accepted_s:
            if 0 < accepted <= now:  # no age for what was written by hand or by a wrong clock
                self._age.observe(now - accepted)

    def published(self, version: int) -> None:
        """A version is out."""
        self._version.set(version)
        self._published_at.set(self._wall())
        self._events.labels("publish").inc()

    def happened(self, event: Event) -> None:
        """Something happened outside of a batch."""
        self._events.labels(event.type).inc()

    def saved(self, folder: Path | None) -> None:
        """A checkpoint is on disk, since its folder was written: a process that is stopped just
        after that has written nothing when it is woken."""
        self._saved_at.set(folder.stat().st_mtime if folder else self._wall())

    def failed(self, what: str) -> None:
        """A checkpoint or a version could not be written."""
        self._failed.labels(what).inc()

    def erased(self, why: str, count: int) -> None:
        """Samples were taken out of the replay buffer, by `request` or by `age`."""
        self._erased.labels(why).inc(count)

    def erasing(self, count: int) -> None:
        """So many deleted samples may still be in a checkpoint."""
        self._erasing.set(count)

    def account(self, counts: Counts, buried: Mapping[Reason, int]) -> None:
        """Show the stream's account."""
        self._account.counts = counts
        for reason, number in buried.items():
            series = self._buried.labels(reason)
            series.inc(number - self._buried_seen.get(reason, 0))
            self._buried_seen[reason] = number

    def show(self, state: Mapping[str, Any]) -> None:
        """Show the learner's state."""
        drop, flops, features = state["drop"], state["flops"], state["features"]
        self._accuracy.set(or_nan(state["prequential"]["accuracy"]))
        self._depth.set(drop["depth"])
        self._units.set(drop["total"])
        for unit in drop["units"]:
            self._unit_state.labels(unit["name"], unit["position"]).set(STATES[unit["state"]])
            for score, value in unit["scores"].items():
                self._unit_score.labels(unit["name"], score).set(or_nan(value))
        for kind, series in self._flops.items():
            series.inc(max(0.0, flops[kind] - self._flops_seen[kind]))
            self._flops_seen[kind] = flops[kind]
        self._saved_ratio.set(or_nan(flops["saved_ratio"]))
        self._rate.set(state["rate"])
        self._features.show(features)
        self._replay.set(state["replay"]["samples"])
        self._reserve.set(or_nan(state.get("reserve", {}).get("best_accuracy")))
        self._doubted.set(sum(row["doubt"] is not None for row in state.get("keys", ())))
        if version := state["model"]["version"]:
            self._version.set(version)

    def leads(self, leading: bool) -> None:
        """This worker leads, or stands by."""
        self.leading = leading
        self._leading.set(leading)
        if not leading:  # what it knew of the account is for another to tell
            self.account(Counts(0, 0, 0, 0), {})
            self.gap(None)
            self._doubted.set(0)

    def gap(self, gap: Gap | None) -> None:
        """Show what stream and checkpoint miss of each other."""
        for kind in get_args(GapKind):
            there = gap is not None and gap.kind == kind
            self._gap.labels(kind).set(there)
            self._gap_samples.labels(kind).set(gap.samples if gap and there else 0)

    def alive(self, *, redis_up: bool) -> None:
        """The loop came round once more."""
        self._alive_at, self.redis_up = self._clock(), redis_up
        self._redis.set(redis_up)

    # -- what is asked ------------------------------------------------------------------------

    def samples_per_second(self) -> float:
        """Samples learned over the last ten seconds, a second."""
        since = self._clock() - RATE_OVER_S
        return sum(count for at, count in list(self._recent) if at >= since) / RATE_OVER_S

    def idle_s(self) -> float | None:
        """Seconds since the loop last came round; None before it did for the first time."""
        return None if self._alive_at is None else self._clock() - self._alive_at

    def _count_events(self, events: Sequence[Event]) -> None:
        for event in events:
            self._events.labels(event.type).inc()
