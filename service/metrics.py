"""Every series of the service; one registry a process, one process a scrape target."""

from __future__ import annotations

from importlib import metadata
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
)

from learndrop.late_labels import OUTCOMES
from learndrop.stream import Reason

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ServiceMetrics:
    """The service's series, on a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self.requests = Counter(
            "learndrop_http_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "learndrop_http_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.accepted = Counter(
            "learndrop_samples_accepted",
            "Samples answered with 202 by this process.",
            registry=registry,
        )
        self.refusals = Counter(
            "learndrop_refusals",
            "Requests that were answered with a problem of ours, by its kind.",
            ["reason"],
            registry=registry,
        )
        self.known = Counter(
            "learndrop_samples_known",
            "Samples sent again and not taken again: by Idempotency-Key or by their own id.",
            registry=registry,
        )
        self.refused = Counter(
            "learndrop_samples_refused",
            "Batches of samples refused, by kind of problem.",
            ["reason"],
            registry=registry,
        )
        self.predictions = Counter(
            "learndrop_predictions", "Pictures answered with a prediction.", registry=registry
        )
        self.unstored = Counter(
            "learndrop_predictions_unstored",
            "Predictions answered that could not be stored.",
            registry=registry,
        )
        self.queue = Gauge(
            "learndrop_prediction_queue",
            "Pictures that wait for the network or are in it.",
            registry=registry,
        )
        self.decoding = Gauge(
            "learndrop_decoding",
            "Requests whose body is being read into pictures, those waiting for a turn aside.",
            registry=registry,
        )
        self.lost_threads = Gauge(
            "learndrop_decode_threads_lost",
            "Threads still busy with pictures whose time was up.",
            registry=registry,
        )
        self.version = Gauge(
            "learndrop_model_version", "Model version that answers; 0 is none.", registry=registry
        )
        self.swaps = Counter(
            "learndrop_model_swaps", "Model versions taken into service.", registry=registry
        )
        self.swap_failures = Counter(
            "learndrop_model_swap_failures",
            "Model versions that could not be loaded; the one before answers on.",
            registry=registry,
        )
        self.swap_seconds = Histogram(
            "learndrop_swap_seconds",
            "From noticing a version to answering with it.",
            buckets=(*SECONDS, 60),
            registry=registry,
        )
        self.pending = Gauge(
            "learndrop_stream_pending",
            "Samples in the stream; NaN while Redis does not answer.",
            registry=registry,
        )
        self.redis_memory = Gauge(
            "learndrop_redis_memory_bytes",
            "Memory that Redis uses; NaN while it does not answer.",
            registry=registry,
        )
        self.redis_memory_limit = Gauge(
            "learndrop_redis_memory_limit_bytes", "Its maxmemory; 0 is none.", registry=registry
        )
        self.labels = Counter(
            "learndrop_labels",
            "Labels that came after the prediction, by outcome.",
            ["outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self.labels.labels(outcome)
        self.label_accuracy = Gauge(
            "learndrop_labelled_accuracy_ratio",
            "Share of answers that later labels found right, of the newest versions with one.",
            ["version"],
            registry=registry,
        )
        self.deletions = Counter(
            "learndrop_deletions", "Samples deleted on request.", registry=registry
        )
        self.expired = Counter(
            "learndrop_expired", "Taken away because of its age.", ["what"], registry=registry
        )
        for what in ("prediction", "dead_letter"):
            self.expired.labels(what)
        self.dead_letters = Gauge(
            "learndrop_dead_letters",
            "Buried entries that are kept, by reason; NaN while Redis does not answer.",
            ["reason"],
            registry=registry,
        )
        for reason in get_args(Reason):
            self.dead_letters.labels(reason)
        self.letters_replayed = Counter(
            "learndrop_dead_letters_replayed", "Put back on the stream.", registry=registry
        )
        self.letters_purged = Counter(
            "learndrop_dead_letters_purged", "Thrown away on request.", registry=registry
        )
        Info("learndrop_build", "What is running.", registry=registry).info(
            {"version": metadata.version("learndrop"), "process": "service"}
        )
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
