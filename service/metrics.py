"""Every series of the service; one registry a process, one process a scrape target."""

from __future__ import annotations

from importlib import metadata
from typing import get_args

from prometheus_client import CollectorRegistry, GCCollector, Info, ProcessCollector

from learndrop.answers.late_labels import OUTCOMES
from learndrop.stream.contract import Reason
from service.decoding.decoder_process import WHY_ENDED
from service.protocol import WHY_CLOSED
from service.series import Series

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class ServiceMetrics:
    """The service's series, on a registry of its own."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        series = Series(self.registry)
        self._name_requests(series)
        self._name_samples(series)
        self._name_answers(series)
        self._name_letters(series)
        self._name_remembered(series)
        Info("learndrop_build", "What is running.", registry=self.registry).info(
            {"version": metadata.version("learndrop"), "process": "service"}
        )
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def closed_because(self, why: str) -> None:
        """A connection was closed, for one of protocol.WHY_CLOSED."""
        self._closed.labels(why).inc()

    def decoder_ended(self, why: str) -> None:
        """A decoder's process ended, for one of decoder_process.WHY_ENDED."""
        self._decoders_ended.labels(why).inc()

    def _name_requests(self, series: Series) -> None:
        self.requests = series.counter(
            "learndrop_http_requests", "Requests answered.", "route", "method", "status"
        )
        self.seconds = series.histogram(
            "learndrop_http_request_seconds",
            "From the first byte of a request to the last of its answer.",
            "route",
            buckets=SECONDS,
        )
        self.refusals = series.counter(
            "learndrop_refusals",
            "Requests that were answered with a problem of ours, by its kind.",
            "reason",
        )
        self._closed = series.counter(
            "learndrop_connections_closed",
            "Closed from this side: a head that did not come, an answer not taken, too many.",
            "why",
            values=WHY_CLOSED,
        )
        self.decoding = series.gauge(
            "learndrop_decoding",
            "Requests whose body is being read into pictures, those waiting for a turn aside.",
        )
        self.decoders = series.gauge(
            "learndrop_decoders", "Processes that are there to decode picture files."
        )
        self._decoders_ended = series.counter(
            "learndrop_decoders_ended",
            "Processes that decode picture files and ended: time was up, a crash, no start.",
            "why",
            values=WHY_ENDED,
        )

    def _name_samples(self, series: Series) -> None:
        self.accepted = series.counter(
            "learndrop_samples_accepted", "Samples answered with 202 by this process."
        )
        self.known = series.counter(
            "learndrop_samples_known",
            "Samples sent again and not taken again: by Idempotency-Key or by their own id.",
        )
        self.refused = series.counter(
            "learndrop_samples_refused", "Batches of samples refused, by kind of problem.", "reason"
        )
        self.deletions = series.counter("learndrop_deletions", "Samples deleted on request.")
        self.pending = series.gauge(
            "learndrop_stream_pending", "Samples in the stream; NaN while Redis does not answer."
        )
        self.redis_memory = series.gauge(
            "learndrop_redis_memory_bytes", "Memory that Redis uses; NaN while it does not answer."
        )
        self.redis_memory_limit = series.gauge(
            "learndrop_redis_memory_limit_bytes", "Its maxmemory; 0 is none."
        )

    def _name_answers(self, series: Series) -> None:
        self.predictions = series.counter(
            "learndrop_predictions", "Pictures answered with a prediction."
        )
        self.unstored = series.counter(
            "learndrop_predictions_unstored", "Predictions answered that could not be stored."
        )
        self.queue = series.gauge(
            "learndrop_prediction_queue", "Pictures that wait for the network or are in it."
        )
        self.version = series.gauge(
            "learndrop_model_version", "Model version that answers; 0 is none."
        )
        self.swaps = series.counter("learndrop_model_swaps", "Model versions taken into service.")
        self.swap_failures = series.counter(
            "learndrop_model_swap_failures",
            "Model versions that could not be loaded; the one before answers on.",
        )
        self.unsure = series.gauge(
            "learndrop_predictions_uncertainty",
            "1 - highest probability, mean of the newest answers; NaN while they are under 64.",
        )
        self.unsure_learned = series.gauge(
            "learndrop_predictions_uncertainty_learned",
            "The same of what the version has learned, before that; NaN if it does not tell.",
        )
        self.shifted = series.gauge(
            "learndrop_predictions_shifted",
            "1 while answers are plainly less sure than on what was learned.",
        )
        self.swap_seconds = series.histogram(
            "learndrop_swap_seconds",
            "From noticing a version to answering with it.",
            buckets=(*SECONDS, 60),
        )
        self.labels = series.counter(
            "learndrop_labels",
            "Labels that came after the prediction, by outcome.",
            "outcome",
            values=OUTCOMES,
        )
        self.label_accuracy = series.gauge(
            "learndrop_labelled_accuracy_ratio",
            "Share of answers that later labels found right, of the newest versions with one.",
            "version",
        )
        self.expired = series.counter(
            "learndrop_expired",
            "Taken away because of its age.",
            "what",
            values=("prediction", "dead_letter"),
        )

    def _name_remembered(self, series: Series) -> None:
        self.remembered = series.gauge(
            "learndrop_batches_remembered",
            "Batches known by their Idempotency-Key; NaN while Redis does not answer.",
        )
        self.remembered_age = series.gauge(
            "learndrop_batch_memory_seconds",
            "Age of the batch that is forgotten next: the oldest of the sender that has most.",
        )

    def _name_letters(self, series: Series) -> None:
        self.dead_letters = series.gauge(
            "learndrop_dead_letters",
            "Buried entries that are kept, by reason; NaN while Redis does not answer.",
            "reason",
            values=get_args(Reason),
        )
        self.letters_replayed = series.counter(
            "learndrop_dead_letters_replayed", "Put back on the stream."
        )
        self.letters_purged = series.counter(
            "learndrop_dead_letters_purged", "Thrown away on request."
        )
