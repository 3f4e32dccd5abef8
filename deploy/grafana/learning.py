"""Panels of the learner: is it well, what is out of training, what does that save?"""

from __future__ import annotations

from deploy.grafana.panels import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    rate,
    series,
    stat,
    state_timeline,
    steps,
)

# The codes of learndrop_unit_state.
STATES = {
    0: ("training", SKY),
    1: ("frozen", YELLOW),
    2: ("dropped", GREEN),
    3: ("returned", ORANGE),
    4: ("thawed", BLUE),
}
PARTS = {
    "test": SKY,
    "train": BLUE,
    "build": PURPLE,
    "wait": GREY,
    "checkpoint": ORANGE,
    "publish": YELLOW,
}

NOW = [
    stat(
        "Accuracy now",
        "percentunit",
        "max(learndrop_prequential_accuracy_ratio)",
        "Share of the latest arriving samples that were predicted right before they were "
        "learned (learndrop_prequential_accuracy_ratio). Falls at a drift and must come back.",
        decimals=1,
    ),
    stat(
        "Accepted",
        "cps",
        rate("learndrop_samples_accepted_total"),
        "Samples answered with 202, a second (learndrop_samples_accepted_total of the service).",
        decimals=1,
    ),
    stat(
        "Learned",
        "cps",
        "sum(learndrop_learn_samples_per_second)",
        "Samples that the worker learns, a second (learndrop_learn_samples_per_second). Zero "
        "while samples are pending: see the alert LearningStalled.",
        decimals=1,
    ),
    stat(
        "Sample age, 95 %",
        "s",
        f"(histogram_quantile(0.95, {rate('learndrop_sample_age_seconds_bucket', 'le')}) >= 0)"
        " or vector(0)",
        "Time from accepted to learned that 95 % of samples stay under "
        "(learndrop_sample_age_seconds); 0 while nothing is learned.",
        decimals=1,
    ),
    stat(
        "Units dropped",
        "short",
        "max(learndrop_drop_depth)",
        "Leading units that are out of training (learndrop_drop_depth), of learndrop_units.",
    ),
    stat(
        "Compute saved",
        "percentunit",
        "max(learndrop_flops_saved_ratio)",
        "Share of the FLOPs of full fine-tuning that were not spent, all overhead counted "
        "(learndrop_flops_saved_ratio). Negative: dropping costs more than it saves.",
        decimals=1,
        thresholds=steps((None, RED), (0, BLUE)),
    ),
    stat(
        "Drifts",
        "short",
        'sum(learndrop_events_total{type="drift"})',
        "Drifts noticed since the worker started (learndrop_events_total, type drift).",
    ),
    stat(
        "Targets down",
        "short",
        'count(up{job=~"learndrop-.*"} == 0) or vector(0)',
        "Processes that Prometheus cannot reach (up). See the alert Down.",
        thresholds=steps((None, GREEN), (1, RED)),
    ),
]
"""The first line."""

UNITS = [
    series(
        "Accuracy, with drifts",
        "percentunit",
        [("accuracy", "max(learndrop_prequential_accuracy_ratio)", BLUE)],
        "Prequential accuracy: each sample is predicted before it is learned "
        "(learndrop_prequential_accuracy_ratio). Vertical lines are events: switch them on and "
        "off above.",
        size=(16, 8),
        highest=1,
    ),
    series(
        "Units out of training",
        "short",
        [
            ("dropped", "max(learndrop_drop_depth)", GREEN),
            ("all units", "max(learndrop_units)", GREY),
        ],
        "Depth of the drop (learndrop_drop_depth) against the number of units (learndrop_units).",
    ),
    state_timeline(
        "State of every unit",
        (
            "{{position}} {{unit}}",
            # Two digits, so that the bands are sorted as the network is.
            "max by (unit, position) (label_replace(learndrop_unit_state,"
            ' "position", "0$1", "position", "^(.)$"))',
        ),
        "One band a unit, in the order of the network (learndrop_unit_state). Frozen: on "
        "probation before a drop. Returned: brought back into training by a drift. Thawed: "
        "dropped, and in training for one window.",
        states=STATES,
        size=(24, 10),
    ),
]
"""Accuracy with its events, and the state of every unit."""

COST = [
    series(
        "FLOPs",
        "short",
        [
            ("done", rate("learndrop_flops_done_total"), BLUE),
            ("full fine-tuning", rate("learndrop_flops_full_total"), GREY),
        ],
        "Floating-point operations a second: done, and what full fine-tuning of the same "
        "samples would have done (learndrop_flops_done_total, learndrop_flops_full_total).",
    ),
    series(
        "Compute saved",
        "percentunit",
        [("saved", "max(learndrop_flops_saved_ratio)", GREEN)],
        "Share of full fine-tuning's FLOPs that were not spent since the stream began, all "
        "overhead counted (learndrop_flops_saved_ratio).",
        lowest=None,
        highest=1,
    ),
    series(
        "Where the worker's time goes",
        "percentunit",
        [("{{part}}", rate("learndrop_step_seconds_total", "part"))],
        "Seconds in each second, by part (learndrop_step_seconds_total). Mostly wait: the "
        "worker has nothing to learn.",
        stacked=True,
        colours=PARTS,
    ),
]
"""What learning costs, and what dropping saves."""
