"""The paper's table: training in epochs on a fixed set, learndrop beside full training.

Three trainings for each network, data set and seed, each in a process of its own: full; learndrop;
and full training that is over after learndrop's seconds, its schedule squeezed to that. The last is
the control that freezing methods have failed at. On a CPU seconds are processor seconds of all
threads, so that others' load on the machine does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from learndrop import datasets
from learndrop.bench.play import machine
from learndrop.epochs import Epoch, Epochs, Pictures
from learndrop.errors import BadInput, LearndropError
from learndrop.files import write_atomic
from learndrop.learner import Learner
from learndrop.settings import Settings

NETWORKS = ("vgg11", "vgg16", "resnet50", "resnet152")
FULL, OURS, SHORT = "full", "learndrop", "full, same seconds"
# random first weights; maps of a whole data set
FOR_EPOCHS: dict[str, Any] = {"rate": 0.02, "batch": 64, "feature_bytes": 2**30}

Run = dict[str, Any]


def bench_epochs(
    *,
    source: str,
    networks: Sequence[str] = NETWORKS,
    epochs: float = 20,
    images: int = 0,
    held_out: int = 1000,
    seeds: Sequence[int] = (0,),
    out: Path = Path("out/epochs"),
    settings: dict[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> list[Run]:
    """Train what is missing, write a JSON a run, and `table.md` of all runs in the folder.

    Args:
        source: a data set as `learndrop.datasets.load` takes it.
        networks: names as the setting `network` takes them.
        epochs: of full training.
        images: to train on; 0 takes all but those held out.
        held_out: images that are only answered.
        seeds: one set of runs each.
        out: folder for results; runs that are there are not done again.
        settings: settings that differ.
        say: told what happens.

    Returns:
        the runs of this call.

    Raises:
        LearndropError: if a run failed, with what it said.
    """
    out.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    for network in networks:
        for seed in seeds:
            job = {
                "data": source,
                "images": images,
                "held_out": held_out,
                "seed": seed,
                "settings": FOR_EPOCHS | {"network": network} | (settings or {}),
            }
            runs += _three(job, epochs, out, say)
    every = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    (out / "table.md").write_text(table(every) + "\n")
    return runs


def _three(job: dict[str, Any], epochs: float, out: Path, say: Callable[[str], None]) -> list[Run]:
    found: dict[str, Run] = {}
    for strategy in (FULL, OURS, SHORT):
        share = 1.0
        if strategy == SHORT:
            share = min(1.0, found[OURS]["seconds"] / found[FULL]["seconds"])
        run = _apart(job | {"strategy": strategy, "epochs": epochs * share}, out)
        found[strategy] = run
        say(
            f"{run['data']} {run['network']} seed {run['seed']}, {strategy}:"
            f" held out {100 * run['accuracy']:.1f} %, {run['seconds']:.1f} s,"
            f" forward FLOPs saved {100 * run['forward_saved']:.1f} %"
        )
    return list(found.values())


def _apart(job: dict[str, Any], out: Path) -> Run:
    """The run of that job, done now in a process of its own unless it is there."""
    told = json.dumps(job, sort_keys=True)
    network = str(job["settings"]["network"]).replace(":", "-")
    strategy = job["strategy"].replace(", ", "-").replace(" ", "-")
    digest = hashlib.sha256(told.encode()).hexdigest()[:8]
    path = out / f"{network}-{strategy}-{job['seed']}-{digest}.json"
    if not path.exists():
        done = subprocess.run(
            [sys.executable, "-m", "learndrop.bench.epochs", str(path)],
            input=told,
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise LearndropError(f"bench: {network} {strategy}: {last}")
    run: Run = json.loads(path.read_text())
    return run


def train(job: dict[str, Any]) -> Run:
    """One training, as the JSON that the table is drawn from."""
    drop = job["strategy"] == OURS
    settings = Settings(**{**job["settings"], "seed": job["seed"], "drop": drop})
    wanted = job["images"] + job["held_out"] if job["images"] else None
    data = datasets.load(job["data"], settings.image_size, wanted, seed=0)
    if len(data) <= job["held_out"]:
        raise BadInput(f"{job['data']} has {len(data)} images, {job['held_out']} are held out")
    learner = Learner(settings.model_copy(update={"classes": tuple(data.classes)}))
    targets = learner.targets_of(data.labels)
    cut = len(data) - job["held_out"]
    training = Epochs(
        learner,
        Pictures(data.images[:cut], targets[:cut]),
        epochs=job["epochs"],
        held_out=Pictures(data.images[cut:], targets[cut:]),
        augment=bool(job.get("augment")),
        clock=time.process_time if learner.device.type == "cpu" else time.perf_counter,
    )
    told: list[Epoch] = training.run()
    last = told[-1]
    return {
        "job": job,
        "data": data.name,
        "network": settings.network,
        "strategy": job["strategy"],
        "seed": job["seed"],
        "images": cut,
        "accuracy": last.held_out,
        "seconds": last.seconds,
        "forward_saved": last.forward_saved,
        "saved": last.saved,
        "depth": last.depth,
        "units": len(learner.chain.units),
        "epochs": [asdict(e) for e in told],
        "events": [e.to_json() for e in training.events],
        "machine": machine(learner),
    }


def table(runs: Sequence[Run]) -> str:
    """A Markdown table: one row for each data set, network and strategy, means over the seeds."""
    head = (
        "data", "network", "strategy", "epochs", "held-out accuracy %", "against full",
        "training s", "of full", "forward FLOPs saved %", "all FLOPs saved %",
        "units out at the end", "seeds",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    groups: dict[tuple[str, str, str], list[Run]] = {}
    order = (FULL, OURS, SHORT)
    for run in sorted(
        runs, key=lambda r: (r["data"], r["network"], order.index(r["strategy"]), r["seed"])
    ):
        groups.setdefault((run["data"], run["network"], run["strategy"]), []).append(run)
    for (data, network, strategy), same in groups.items():
        full = groups[data, network, FULL]
        accuracy, seconds = _mean(same, "accuracy"), _mean(same, "seconds")
        row = (
            data, network, strategy, f"{fmean(r['job']['epochs'] for r in same):.1f}",
            f"{100 * accuracy:.1f}", f"{100 * (accuracy - _mean(full, 'accuracy')):+.1f}",
            f"{seconds:.1f}", f"{seconds / _mean(full, 'seconds'):.2f}",
            f"{100 * _mean(same, 'forward_saved'):.1f}", f"{100 * _mean(same, 'saved'):.1f}",
            f"{_mean(same, 'depth'):.1f} of {same[0]['units']}", str(len(same)),
        )  # fmt: skip
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _mean(runs: Sequence[Run], key: str) -> float:
    return fmean(float(run[key]) for run in runs)


if __name__ == "__main__":
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    result = train(json.loads(sys.stdin.read()))
    write_atomic(Path(sys.argv[1]), json.dumps(result, allow_nan=False).encode())
