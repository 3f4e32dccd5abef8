"""`learndrop bench`: the same stream through learndrop and through what one would use instead.

Each run is a process of its own, one after another, so that peak memory is its own and nothing
else computes meanwhile; all of them in one call, so that the machine is the same for all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from learndrop.bench.report import plot, table, training_seconds
from learndrop.errors import LearndropError

QUICK_WORLDS = ("clean", "rotated90", "permuted")
FOR_DIGITS = {"image_size": 16, "rate": 0.05}  # tiny pictures, random first weights
STRATEGIES = ("full fine-tuning", "learndrop", "head only", "held", "thinned")


def bench(
    *,
    data: str = "digits",
    worlds: Sequence[str] = QUICK_WORLDS,
    length: int = 2000,
    out: Path = Path("out/bench"),
    settings: dict[str, Any] | None = None,
    seeds: Sequence[int] = (0,),
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run every strategy on one stream, write a JSON a run, `table.md` and `bench.png`.

    Args:
        data: a source as `learndrop.datasets.load` takes it.
        worlds: names as `learndrop.worlds.world` takes them.
        length: samples in each world.
        out: folder for results.
        settings: settings that differ from the defaults.
        seeds: one set of runs each.
        say: told what happens.

    Returns:
        the runs, learndrop first.
    """
    out.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in seeds:
        base = {
            "data": data,
            "worlds": list(worlds),
            "length": length,
            "seed": seed,
            "settings": (FOR_DIGITS if data == "digits" else {}) | (settings or {}),
        }
        found: dict[str, dict[str, Any]] = {}
        for name in STRATEGIES:
            budget = None
            if name == "held":
                ours = found["learndrop"]
                budget = training_seconds(ours) / ours["samples"]
            if name == "thinned":
                ours, full = found["learndrop"], found["full fine-tuning"]
                budget = training_seconds(ours) / training_seconds(full)
            say(f"seed {seed}: {name} ...")
            path = out / f"{name.replace(' ', '-')}-{seed}.json"
            found[name] = _apart({**base, "strategy": name, "budget": budget}, path)
            run = found[name]
            say(
                f"  accuracy {run['accuracy']:.3f}, {training_seconds(run):.1f} s of training,"
                f" {run['seconds']['wall']:.1f} s in all"
            )
        runs += [found[n] for n in ("learndrop", "full fine-tuning", "head only")]
        runs += [found[n] for n in ("held", "thinned")]
    first = runs[:5]
    plot(first, out / "bench.png")
    (out / "table.md").write_text(table(runs) + "\n")
    return runs


def _apart(job: dict[str, Any], path: Path) -> dict[str, Any]:
    """One run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "learndrop.bench.one", str(path)],
        input=json.dumps(job),
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LearndropError(f"bench: {job['strategy']} ended with {done.returncode}: {last}")
    run: dict[str, Any] = json.loads(path.read_text())
    return run
