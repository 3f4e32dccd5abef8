"""A clock of counted operations: the same on every machine, in real time too."""

from __future__ import annotations

from typing import Any

from learndrop.bench.jobs import Job
from learndrop.bench.one import run
from learndrop.bench.operations import PACE
from tests.learning import QUICK

SETTINGS = {k: v for k, v in QUICK.items() if k != "batch"} | {"worker_threads": 1}


def played(strategy: str, rate: float) -> dict[str, Any]:
    job = Job(
        length=1280, worlds=("clean",), strategy=strategy, settings=SETTINGS, rate=rate,
        backlog=192, clock="operations",
    )  # fmt: skip
    return run(job)


def test_seconds_are_counted_operations_by_what_they_were_spent_on() -> None:
    result = played("plain", 0)
    flops, seconds = result["flops"], result["seconds"]
    assert round(seconds["test"] * PACE) == flops["by_kind"]["test"]
    learned = (flops["done"] - flops["by_kind"]["test"]) / PACE
    assert abs(seconds["learn"] - learned) < 1e-4 * len(result["batches"]["count"])  # rounded each


def test_two_runs_in_real_time_are_alike_and_who_keeps_up_skips_less() -> None:
    full = played("plain", 0)
    kept = full["samples"] / (full["flops"]["done"] / PACE)
    late, again, keeping = (played(s, 2 * kept) for s in ("plain", "plain", "keeping-up"))
    assert late["real_time"] == again["real_time"] and late["accuracy"] == again["accuracy"]
    assert late["real_time"]["skipped"] > 0.3 * late["samples"]
    assert keeping["real_time"]["skipped"] < 0.1 * keeping["samples"]
