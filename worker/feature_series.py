"""The series of the feature store, in one class that takes a registry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from learndrop.settings.features import CODEC_NAMES


class FeatureSeries:
    """What is stored of feature maps, how, and how often it was there when it was asked for.

    Args:
        registry: where the series are.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        r = registry
        self._held = Gauge("learndrop_feature_bytes", "Stored feature maps.", registry=r)
        self._budget = Gauge(
            "learndrop_feature_budget_bytes", "Most bytes of feature maps.", registry=r
        )
        self._tier = Gauge(
            "learndrop_feature_tier_bytes", "Memory or disk taken for them.", ["tier"], registry=r
        )
        self._codec = Gauge(
            "learndrop_feature_codec", "1 for how they are packed now.", ["codec"], registry=r
        )
        self._fall = Gauge(
            "learndrop_feature_accuracy_fall_ratio", "Expected cost of packing.", registry=r
        )
        self._reads = Counter(
            "learndrop_feature_reads", "Replayed maps: stored, or not.", ["found"], registry=r
        )
        self._reads_seen = {"hits": 0, "misses": 0}

    def show(self, features: Mapping[str, Any]) -> None:
        """Show the store as the learner's state tells it."""
        self._held.set(features["bytes"])
        self._budget.set(features["budget_bytes"])
        for tier, held in features.get("tiers", {}).items():
            self._tier.labels(tier).set(held["bytes"])
        for codec in CODEC_NAMES:
            self._codec.labels(codec).set(codec == features.get("codec"))
        self._fall.set(or_nan(features.get("gate", {}).get("accuracy_fall")))
        for found, seen in self._reads_seen.items():
            now = features.get(found, 0)
            self._reads.labels(found).inc(max(0, now - seen))
            self._reads_seen[found] = now


def or_nan(value: float | None) -> float:
    """The value; NaN where there is none, as Prometheus knows it."""
    return math.nan if value is None else float(value)
