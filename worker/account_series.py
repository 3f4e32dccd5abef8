"""The stream's account as Prometheus reads it: all five numbers of one moment, or none."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric

from learndrop.stream.account import Counts

SERIES = {
    "accepted": ("learndrop_samples_accepted", "Samples the stream was ever given."),
    "learned": ("learndrop_samples_checkpointed", "Samples learned and in a checkpoint."),
    "buried": ("learndrop_samples_dead_lettered", "Entries ever buried."),
    "deleted": ("learndrop_samples_deleted", "Samples ever deleted."),
    "pending": ("learndrop_samples_pending", "Samples in the stream, in no checkpoint."),
}


class AccountSeries:
    """Gauges that change together: a scrape may come in the middle of anything."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.counts = Counts(0, 0, 0, 0)
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The series, from one reading of the account."""
        counts = self.counts
        for part, (name, meaning) in SERIES.items():
            yield GaugeMetricFamily(name, meaning, value=getattr(counts, part))
