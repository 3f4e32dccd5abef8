"""Declares Prometheus series on one registry, a line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Series:
    """Makes series for whoever keeps the process's figures.

    Args:
        registry: where the series are.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, meaning: str, *labels: str, values: Iterable[str] = ()) -> Counter:
        """A counter; `values` of its one label begin at zero, so that a first one is a rise."""
        made = Counter(name, meaning, labels, registry=self._registry)
        for value in values:
            made.labels(value)
        return made

    def gauge(self, name: str, meaning: str, *labels: str, values: Iterable[str] = ()) -> Gauge:
        """A gauge; `values` of its one label are there from the start."""
        made = Gauge(name, meaning, labels, registry=self._registry)
        for value in values:
            made.labels(value)
        return made

    def histogram(
        self, name: str, meaning: str, *labels: str, buckets: Sequence[float]
    ) -> Histogram:
        """A histogram; `buckets` are its upper bounds."""
        return Histogram(name, meaning, labels, buckets=buckets, registry=self._registry)
