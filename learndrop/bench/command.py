"""`learndrop bench`: the same stream through learndrop and through what one would use instead.

Each run is a process of its own, one after another, so that peak memory is its own and nothing
else computes meanwhile. A run that is there already is not done again: a bench that was stopped
goes on where it was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from learndrop.bench.apart import Apart
from learndrop.bench.jobs import Job
from learndrop.bench.pages.redraw import RUNS, redraw
from learndrop.bench.pages.runs import Run
from learndrop.bench.plans import IN_REAL_TIME, Plan, Played
from learndrop.errors import LearndropError
from learndrop.terminal import progress_bar


class TimeIsUp(Exception):
    """The bench was given so many seconds, and they are over."""


@dataclass
class Bench:
    """Does the runs of a plan.

    Args:
        out: folder for runs, tables and plots.
        say: told what happens.
        advance: told of each run that is there.
        until: on the monotonic clock; no run begins after it.
        apart: does each run in a process of its own.
    """

    out: Path
    say: Callable[[str], None]
    advance: Callable[[int], None]
    until: float
    apart: Apart

    def run(self, job: Job) -> Run:
        """The run of that job, done now unless it is there.

        Raises:
            TimeIsUp: if it is not there and the time is over.
        """
        path = self.out / RUNS / job.file_name
        if not path.exists():
            if time.monotonic() > self.until:
                raise TimeIsUp
            try:
                self.apart.run("stream", job.as_values(), path)
            except LearndropError as exc:
                raise LearndropError(f"bench: {job.strategy}: {exc}") from None
            self.say(self._told(path))
        self.advance(1)
        return Run(json.loads(path.read_text()))

    def _told(self, path: Path) -> str:
        run = Run(json.loads(path.read_text()))
        job = run.job
        played = f"{job['stream']} {job['length']}{', real time' * (job['rate'] > 0)}"
        return (
            f"{played}, seed {run.seed}, {run.label}: {100 * run.accuracy:.1f} %,"
            f" {run.train_s:.1f} s of training, {run.data['seconds']['wall']:.1f} s in all"
        )


def bench(
    plan: Plan,
    *,
    out: Path,
    say: Callable[[str], None] = print,
    limit_s: float = float("inf"),
) -> bool:
    """Do what is missing of the plan's runs, then draw every table and plot in `out`.

    Returns:
        whether all runs are there; else the time was up.

    Raises:
        LearndropError: if a run failed, with what it said.
    """
    (out / RUNS).mkdir(parents=True, exist_ok=True)
    finished = True
    with progress_bar(_count(plan)) as advance, Apart() as apart:
        worker = Bench(out, say, advance, time.monotonic() + limit_s, apart)
        try:
            for _ in _all_runs(plan, worker):
                pass
        except TimeIsUp:
            finished = False
    redraw(out)
    return finished


def _count(plan: Plan) -> int:
    a_seed = len(plan.streams) * len(plan.strategies)
    a_seed += len(IN_REAL_TIME) * (plan.real_time > 0)
    return len(plan.seeds) * a_seed  # noise in each unit comes on top: nobody knows how many yet


def _all_runs(plan: Plan, bench: Bench) -> Iterator[Run]:
    for seed in plan.seeds:
        for played in plan.streams:
            yield from _rivals(plan.job(played, seed), plan.strategies, bench)
        if plan.real_time:
            yield from _in_real_time(plan, seed, bench)
    if plan.depth:
        yield from _each_unit(plan, bench)


def _rivals(job: Job, strategies: tuple[str, ...], bench: Bench) -> Iterator[Run]:
    """One stream by each; who is held to learndrop's budget comes after it."""
    for name in strategies:
        if name in ("held", "share"):
            ours, full = bench.run(job.by("learndrop")), bench.run(job.by("plain"))
            bench.advance(-2)
            name = {
                "held": f"held:seconds={ours.train_s / ours.data['samples']:.6g}",
                "share": f"share:share={ours.train_s / full.train_s:.4g}",
            }[name]
        yield bench.run(job.by(name))


def _in_real_time(plan: Plan, seed: int, bench: Bench) -> Iterator[Run]:
    """The first stream at a rate that full training, as it was just measured, cannot keep."""
    job = plan.job(plan.streams[0], seed)
    full = bench.run(job.by("plain"))
    bench.advance(-1)
    kept = full.data["samples"] / (full.train_s + full.data["seconds"]["test"])
    paced = replace(job, rate=round(plan.real_time * kept, 1), backlog=plan.backlog)
    for name in IN_REAL_TIME:
        yield bench.run(paced.by(name))


def _each_unit(plan: Plan, bench: Bench) -> Iterator[Run]:
    unit, units = 0, 1
    while unit < units:
        noisy = Played("block", plan.depth, ("clean", f"block{unit}"))
        run = bench.run(plan.job(noisy, plan.seeds[0]))
        units = run.data["units"]
        unit += 1
        yield run
