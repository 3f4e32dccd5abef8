"""A made-up record of a whole demo, for tests that look at what is drawn and judged."""

from __future__ import annotations

from typing import Any

from deploy.demo.phases import Answer, Reading, Record, plan

UNITS = ["conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0", "fc"]
STEP = 50


def played(*, drops: bool = True, drifts: bool = True, comes_back: bool = True) -> Record:
    """All six phases, 1,200 samples each, as a well-behaved (or not) learner would go through."""
    record = Record(plan(), data_name="digits", network="small-resnet10", unit_names=UNITS)
    record.starts = [1200 * i for i in range(6)]
    accuracy, depth, done, came_back_from = 0.1, 0, 0.0, 0
    for samples in range(STEP, 7201, STEP):
        phase = record.phase_of(samples)
        into = samples - record.starts[phase]
        if record.phases[phase].change and into == STEP:
            accuracy = 0.3
        if record.phases[phase].change and into == 4 * STEP:
            came_back_from = 0 if phase == 2 else 3
            depth = came_back_from if drops else 0
            if drifts:
                record.events.append(event("drift", samples, depth, "error rose from 4 % to 70 %"))
                record.events.append(event("return", samples, depth, f"{6 - depth} units are back"))
        if record.phases[phase].waits and into in (400, 800) and drops:
            depth = min(5, depth + 3)
            record.events.append(event("drop", samples, depth, f"{depth} units have settled"))
        best = 0.98 if comes_back or phase < 2 else 0.6
        accuracy += (best - accuracy) * 0.2
        done += STEP * (1 - 0.8 * depth / 6)
        states = tuple(
            "dropped" if i < depth else "returned" if phase > 1 and drifts else "training"
            for i in range(6)
        )
        record.readings.append(
            Reading(
                second=samples / 60,
                phase=phase,
                samples=samples,
                accuracy=accuracy,
                depth=depth,
                states=states,
                flops_done=done,
                flops_full=float(samples),
                version=1 + samples // 500,
            )
        )
        record.answers.append(Answer(phase, samples, 16, round(16 * accuracy)))
    return record


def event(kind: str, samples: int, depth: int, cause: str) -> dict[str, Any]:
    """One event as /v1/state tells it."""
    return {
        "type": kind,
        "time": 1e9 + samples,
        "samples": samples,
        "cause": cause,
        "depth": depth,
        "detail": {},
    }
