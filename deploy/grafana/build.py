"""Writes dashboards/learndrop.json: `python -m deploy.grafana.build`; a test holds both equal."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.panels import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    Json,
    laid_out,
    mark,
    series,
    stat,
    state_timeline,
    steps,
    target,
)

WRITTEN = Path(__file__).parent / "dashboards" / "learndrop.json"

RATE = "[$__rate_interval]"
GAP = "learndrop:accounting_gap"

# The codes of learndrop_unit_state.
STATES = {
    0: ("training", SKY),
    1: ("frozen", YELLOW),
    2: ("dropped", GREEN),
    3: ("returned", ORANGE),
}
PARTS = {
    "test": SKY,
    "train": BLUE,
    "build": PURPLE,
    "wait": GREY,
    "checkpoint": ORANGE,
    "publish": YELLOW,
}


def now() -> list[Json]:
    """The first line: is it well, is it learning, what does it save?"""
    return [
        stat(
            "Accuracy now",
            "Share of the latest arriving samples that were predicted right before they were "
            "learned (learndrop_prequential_accuracy_ratio). Falls at a drift and must come back.",
            "percentunit",
            "max(learndrop_prequential_accuracy_ratio)",
            decimals=1,
        ),
        stat(
            "Accepted",
            "Samples answered with 202, a second (learndrop_samples_accepted_total of the "
            "service).",
            "cps",
            f"sum(rate(learndrop_samples_accepted_total{RATE}))",
            decimals=1,
        ),
        stat(
            "Learned",
            "Samples that the worker learns, a second (learndrop_learn_samples_per_second). Zero "
            "while samples are pending: see the alert LearningStalled.",
            "cps",
            "sum(learndrop_learn_samples_per_second)",
            decimals=1,
        ),
        stat(
            "Sample age, 95 %",
            "Time from accepted to learned that 95 % of samples stay under "
            "(learndrop_sample_age_seconds); 0 while nothing is learned.",
            "s",
            "(histogram_quantile(0.95, sum by (le) "
            f"(rate(learndrop_sample_age_seconds_bucket{RATE}))) >= 0) or vector(0)",
            decimals=1,
        ),
        stat(
            "Units dropped",
            "Leading units that are out of training (learndrop_drop_depth), of learndrop_units.",
            "short",
            "max(learndrop_drop_depth)",
            decimals=0,
        ),
        stat(
            "Compute saved",
            "Share of the FLOPs of full fine-tuning that were not spent, all overhead counted "
            "(learndrop_flops_saved_ratio). Negative: dropping costs more than it saves.",
            "percentunit",
            "max(learndrop_flops_saved_ratio)",
            thresholds=steps((None, RED), (0, BLUE)),
            decimals=1,
        ),
        stat(
            "Drifts",
            "Drifts noticed since the worker started (learndrop_events_total, type drift).",
            "short",
            'sum(learndrop_events_total{type="drift"})',
            decimals=0,
        ),
        stat(
            "Targets down",
            "Processes that Prometheus cannot reach (up). See the alert Down.",
            "short",
            'count(up{job=~"learndrop-.*"} == 0) or vector(0)',
            thresholds=steps((None, GREEN), (1, RED)),
            decimals=0,
        ),
    ]


def learning() -> list[Json]:
    """Accuracy with its events, and the state of every unit."""
    return [
        series(
            "Accuracy, with drifts",
            "Prequential accuracy: each sample is predicted before it is learned "
            "(learndrop_prequential_accuracy_ratio). Vertical lines are events: switch them on and "
            "off above.",
            "percentunit",
            [target("max(learndrop_prequential_accuracy_ratio)", "accuracy")],
            size=(16, 8),
            highest=1,
            colours={"accuracy": BLUE},
        ),
        series(
            "Units out of training",
            "Depth of the drop (learndrop_drop_depth) against the number of units "
            "(learndrop_units).",
            "short",
            [
                target("max(learndrop_drop_depth)", "dropped"),
                target("max(learndrop_units)", "all units"),
            ],
            size=(8, 8),
            colours={"dropped": GREEN, "all units": GREY},
        ),
        state_timeline(
            "State of every unit",
            "One band a unit, in the order of the network (learndrop_unit_state). Frozen: on "
            "probation before a drop. Returned: brought back into training by a drift.",
            [
                target(
                    # Two digits, so that the bands are sorted as the network is.
                    "max by (unit, position) (label_replace(learndrop_unit_state,"
                    ' "position", "0$1", "position", "^(.)$"))',
                    "{{position}} {{unit}}",
                )
            ],
            STATES,
            size=(24, 10),
        ),
    ]


def flow() -> list[Json]:
    """Samples on their way: throughput, what waits, and whether the account adds up."""
    return [
        series(
            "Throughput",
            "Samples a second: accepted by the service, refused with 4xx, learned and buried by "
            "the worker. Learned below accepted for long: the stream fills up.",
            "cps",
            [
                target(f"sum(rate(learndrop_samples_accepted_total{RATE}))", "accepted"),
                target("sum(learndrop_learn_samples_per_second)", "learned"),
                target(f"sum(rate(learndrop_samples_buried_total{RATE})) or vector(0)", "buried"),
                target(f"sum(rate(learndrop_samples_refused_total{RATE})) or vector(0)", "refused"),
            ],
            size=(8, 8),
            colours={"accepted": SKY, "learned": GREEN, "buried": RED, "refused": ORANGE},
        ),
        series(
            "Waiting",
            "Samples on the stream that are not in a checkpoint yet (learndrop_samples_pending), "
            "and predictions waiting for the network (learndrop_prediction_queue).",
            "short",
            [
                target("max(learndrop_samples_pending)", "samples pending"),
                target("sum(learndrop_prediction_queue)", "predictions waiting"),
            ],
            size=(8, 8),
            colours={"samples pending": BLUE, "predictions waiting": ORANGE},
        ),
        series(
            "Accounting",
            "accepted = learned + buried + deleted + pending. The gap must be 0: see the alert "
            "AccountingGap.",
            "short",
            [
                target("max(learndrop_samples_accepted)", "accepted"),
                target("max(learndrop_samples_checkpointed)", "learned"),
                target("max(learndrop_samples_dead_lettered)", "buried"),
                target("max(learndrop_samples_deleted)", "deleted"),
                target("max(learndrop_samples_pending)", "pending"),
                target(GAP, "gap"),
            ],
            size=(8, 8),
            lowest=None,
            colours={
                "accepted": SKY,
                "learned": GREEN,
                "buried": ORANGE,
                "pending": BLUE,
                "gap": RED,
            },
        ),
        series(
            "Workers",
            "Workers that lead (learndrop_worker_leading, exactly one) and that stand by.",
            "short",
            [
                target("sum(learndrop_worker_leading)", "leading"),
                target("count(learndrop_worker_leading == 0) or vector(0)", "standing by"),
            ],
            size=(12, 6),
            colours={"leading": GREEN, "standing by": SKY},
        ),
        series(
            "Redis memory",
            "Used (learndrop_redis_memory_bytes) and the limit at which samples are refused "
            "(learndrop_redis_memory_limit_bytes; 0 is none).",
            "bytes",
            [
                target("max(learndrop_redis_memory_bytes)", "used"),
                target("max(learndrop_redis_memory_limit_bytes)", "limit"),
            ],
            size=(12, 6),
            colours={"used": BLUE, "limit": RED},
        ),
        series(
            "Refusals",
            "Requests a second that were answered with a problem, by its kind "
            "(learndrop_refusals_total): wrong keys, rates, shares, a full stream, bad bodies. "
            "And samples that came again and were known (learndrop_samples_known_total).",
            "cps",
            [
                target(
                    f"sum by (reason) (rate(learndrop_refusals_total{RATE}))"
                    ' or label_replace(vector(0), "reason", "none", "", "")',
                    "{{reason}}",
                ),
                target(f"sum(rate(learndrop_samples_known_total{RATE}))", "known samples"),
            ],
            size=(24, 6),
            colours={"known samples": GREY},
        ),
    ]


def cost() -> list[Json]:
    """What learning costs, and what dropping saves."""
    return [
        series(
            "FLOPs",
            "Floating-point operations a second: done, and what full fine-tuning of the same "
            "samples would have done (learndrop_flops_done_total, learndrop_flops_full_total).",
            "short",
            [
                target(f"sum(rate(learndrop_flops_done_total{RATE}))", "done"),
                target(f"sum(rate(learndrop_flops_full_total{RATE}))", "full fine-tuning"),
            ],
            size=(8, 8),
            colours={"done": BLUE, "full fine-tuning": GREY},
        ),
        series(
            "Compute saved",
            "Share of full fine-tuning's FLOPs that were not spent since the stream began, all "
            "overhead counted (learndrop_flops_saved_ratio).",
            "percentunit",
            [target("max(learndrop_flops_saved_ratio)", "saved")],
            size=(8, 8),
            lowest=None,
            highest=1,
            colours={"saved": GREEN},
        ),
        series(
            "Where the worker's time goes",
            "Seconds in each second, by part (learndrop_step_seconds_total). Mostly wait: the "
            "worker has nothing to learn.",
            "percentunit",
            [target(f"sum by (part) (rate(learndrop_step_seconds_total{RATE}))", "{{part}}")],
            size=(8, 8),
            stacked=True,
            colours=PARTS,
        ),
    ]


def answers() -> list[Json]:
    """Predictions and model versions."""
    return [
        series(
            "Requests",
            "Requests a second by status (learndrop_http_requests_total). 429 and 503 ask the "
            "client to wait, other 5xx are ours to repair.",
            "reqps",
            [target(f"sum by (status) (rate(learndrop_http_requests_total{RATE}))", "{{status}}")],
            size=(8, 8),
            stacked=True,
        ),
        series(
            "Latency, 95 %",
            "Seconds that 95 % of requests stay under, by route (learndrop_http_request_seconds).",
            "s",
            [
                target(
                    "histogram_quantile(0.95, sum by (le, route) "
                    f"(rate(learndrop_http_request_seconds_bucket{RATE}))) >= 0",
                    "{{route}}",
                )
            ],
            size=(8, 8),
        ),
        series(
            "Model version",
            "Newest version that the worker published and the one that the service answers with "
            "(learndrop_model_version). Apart for long: the service cannot load it.",
            "short",
            [
                target('max(learndrop_model_version{job="learndrop-worker"})', "published"),
                target('max(learndrop_model_version{job="learndrop-service"})', "served"),
            ],
            size=(8, 8),
            colours={"published": GREY, "served": BLUE},
        ),
    ]


def aside() -> list[Json]:
    """Labels that came later, and what could not be learned."""
    return [
        series(
            "Accuracy by later labels",
            "Share of answers that a label found right that came afterwards, by the version that "
            "gave them (learndrop_labelled_accuracy_ratio).",
            "percentunit",
            [target("max by (version) (learndrop_labelled_accuracy_ratio)", "version {{version}}")],
            size=(8, 8),
            highest=1,
        ),
        series(
            "Labels that came later",
            "Labels for predictions, by outcome (learndrop_labels_total). Many expired: they come "
            "later than predictions are kept.",
            "cps",
            [target(f"sum by (outcome) (rate(learndrop_labels_total{RATE}))", "{{outcome}}")],
            size=(8, 8),
            stacked=True,
        ),
        series(
            "Dead letters",
            "Samples that could not be learned and are kept, by reason (learndrop_dead_letters). "
            "learndrop dead-letters list shows them, replay puts them back.",
            "short",
            [target("max by (reason) (learndrop_dead_letters)", "{{reason}}")],
            size=(8, 8),
            stacked=True,
        ),
    ]


def dashboard() -> Json:
    """The whole dashboard, as Grafana provisions it: no inputs to fill in."""
    return {
        "uid": "learndrop-overview",
        "title": "learndrop",
        "description": "Is it well, is it learning, and what does it save?",
        "tags": ["learndrop"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "templating": {"list": []},
        "links": [],
        "annotations": {
            "list": [
                mark("drift", RED),
                mark("drop", GREEN),
                mark("reset", ORANGE),
                mark("publish", GREY, shown=False),
            ]
        },
        "panels": laid_out([*now(), *learning(), *flow(), *cost(), *answers(), *aside()]),
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(text(), encoding="utf-8")
