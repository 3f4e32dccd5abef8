"""Panels of what comes and goes: samples on their way, answers, later labels, dead letters."""

from __future__ import annotations

from deploy.grafana.panels import BLUE, GREEN, GREY, ORANGE, RED, SKY, rate, series

FLOW = [
    series(
        "Throughput",
        "cps",
        [
            ("accepted", rate("learndrop_samples_accepted_total"), SKY),
            ("learned", "sum(learndrop_learn_samples_per_second)", GREEN),
            ("buried", f"{rate('learndrop_samples_buried_total')} or vector(0)", RED),
            ("refused", f"{rate('learndrop_samples_refused_total')} or vector(0)", ORANGE),
        ],
        "Samples a second: accepted by the service, refused with 4xx, learned and buried by "
        "the worker. Learned below accepted for long: the stream fills up.",
    ),
    series(
        "Waiting",
        "short",
        [
            ("samples pending", "max(learndrop_samples_pending)", BLUE),
            ("predictions waiting", "sum(learndrop_prediction_queue)", ORANGE),
        ],
        "Samples on the stream that are not in a checkpoint yet (learndrop_samples_pending), "
        "and predictions waiting for the network (learndrop_prediction_queue).",
    ),
    series(
        "Accounting",
        "short",
        [
            ("accepted", "max(learndrop_samples_accepted)", SKY),
            ("learned", "max(learndrop_samples_checkpointed)", GREEN),
            ("buried", "max(learndrop_samples_dead_lettered)", ORANGE),
            ("deleted", "max(learndrop_samples_deleted)"),
            ("pending", "max(learndrop_samples_pending)", BLUE),
            ("gap", "learndrop:accounting_gap", RED),
        ],
        "accepted = learned + buried + deleted + pending. The gap must be 0: see the alert "
        "AccountingGap.",
        lowest=None,
    ),
    series(
        "Workers",
        "short",
        [
            ("leading", "sum(learndrop_worker_leading)", GREEN),
            ("standing by", "count(learndrop_worker_leading == 0) or vector(0)", SKY),
        ],
        "Workers that lead (learndrop_worker_leading, exactly one) and that stand by.",
        size=(12, 6),
    ),
    series(
        "Redis memory",
        "bytes",
        [
            ("used", "max(learndrop_redis_memory_bytes)", BLUE),
            ("limit", "max(learndrop_redis_memory_limit_bytes)", RED),
        ],
        "Used (learndrop_redis_memory_bytes) and the limit at which samples are refused "
        "(learndrop_redis_memory_limit_bytes; 0 is none).",
        size=(12, 6),
    ),
    series(
        "Refusals",
        "cps",
        [
            (
                "{{reason}}",
                f"{rate('learndrop_refusals_total', 'reason')}"
                ' or label_replace(vector(0), "reason", "none", "", "")',
            ),
            ("known samples", rate("learndrop_samples_known_total"), GREY),
        ],
        "Requests a second that were answered with a problem, by its kind "
        "(learndrop_refusals_total): wrong keys, rates, shares, a full stream, bad bodies. "
        "And samples that came again and were known (learndrop_samples_known_total).",
        size=(24, 6),
    ),
]
"""Samples on their way: throughput, what waits, and whether the account adds up."""

ANSWERS = [
    series(
        "Requests",
        "reqps",
        [("{{status}}", rate("learndrop_http_requests_total", "status"))],
        "Requests a second by status (learndrop_http_requests_total). 429 and 503 ask the "
        "client to wait, other 5xx are ours to repair.",
        stacked=True,
    ),
    series(
        "Latency, 95 %",
        "s",
        [
            (
                "{{route}}",
                "histogram_quantile(0.95, "
                f"{rate('learndrop_http_request_seconds_bucket', 'le, route')}) >= 0",
            )
        ],
        "Seconds that 95 % of requests stay under, by route (learndrop_http_request_seconds).",
    ),
    series(
        "Model version",
        "short",
        [
            ("published", 'max(learndrop_model_version{job="learndrop-worker"})', GREY),
            ("served", 'max(learndrop_model_version{job="learndrop-service"})', BLUE),
        ],
        "Newest version that the worker published and the one that the service answers with "
        "(learndrop_model_version). Apart for long: the service cannot load it.",
    ),
    series(
        "How unsure the answers are",
        "percentunit",
        [
            ("asked", "max(learndrop_predictions_uncertainty)", BLUE),
            ("learned", "max(learndrop_predictions_uncertainty_learned)", GREY),
            ("shifted", "max(learndrop_predictions_shifted)", RED),
        ],
        "1 - highest probability: mean of the newest answers of the service that is least sure "
        "(learndrop_predictions_uncertainty), and of samples before they were learned "
        "(learndrop_predictions_uncertainty_learned). Shifted is 1 while they are plainly apart: "
        "see the alert PredictionsShifted.",
        size=(24, 6),
        highest=1,
    ),
]
"""Predictions and model versions."""

ASIDE = [
    series(
        "Accuracy by later labels",
        "percentunit",
        [("version {{version}}", "max by (version) (learndrop_labelled_accuracy_ratio)")],
        "Share of answers that a label found right that came afterwards, by the version that "
        "gave them (learndrop_labelled_accuracy_ratio).",
        highest=1,
    ),
    series(
        "Labels that came later",
        "cps",
        [("{{outcome}}", rate("learndrop_labels_total", "outcome"))],
        "Labels for predictions, by outcome (learndrop_labels_total). Many expired: they come "
        "later than predictions are kept.",
        stacked=True,
    ),
    series(
        "Dead letters",
        "short",
        [("{{reason}}", "max by (reason) (learndrop_dead_letters)")],
        "Samples that could not be learned and are kept, by reason (learndrop_dead_letters). "
        "learndrop dead-letters list shows them, replay puts them back.",
        stacked=True,
    ),
]
"""Labels that came later, and what could not be learned."""
