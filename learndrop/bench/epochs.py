"""The paper's table: training in epochs on a fixed set, learndrop beside full training.

Three trainings for each network, data set and seed, each in a process of its own: full; learndrop;
and full training that is over after learndrop's seconds, its schedule squeezed to that. The last is
the control that freezing methods have failed at. On a CPU seconds are processor seconds, so that
others' load on the machine does not count; they are fair on one thread (OMP_NUM_THREADS=1), since
threads that wait for each other count too.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from learndrop.bench.apart import Apart
from learndrop.bench.pages.epoch_table import FULL, OURS, SHORT, Run
from learndrop.bench.pages.redraw import redraw_page
from learndrop.errors import LearndropError

NETWORKS = ("vgg11", "vgg16", "resnet50", "resnet152")
# random first weights; maps of a whole data set
FOR_EPOCHS: dict[str, Any] = {"rate": 0.02, "batch": 64, "feature_bytes": 2**30}
RUNS = "epochs"  # folder of the runs, beside their page


def bench_epochs(
    *,
    source: str,
    networks: Sequence[str] = NETWORKS,
    epochs: float = 20,
    images: int = 0,
    held_out: int = 1000,
    linear_head: bool = False,
    seeds: Sequence[int] = (0,),
    out: Path = Path("out/epochs"),
    settings: dict[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> list[Run]:
    """Train what is missing, write a JSON a run, and a page of all runs that are there.

    Args:
        source: a data set as `learndrop.images.datasets.load` takes it.
        networks: names as the setting `network` takes them.
        epochs: of full training.
        images: to train on; 0 takes all but those held out.
        held_out: images that are only answered, once at the end.
        linear_head: see `learndrop.bench.one_in_epochs.chain_of`.
        seeds: one set of runs each.
        out: folder for results; runs that are there are not done again.
        settings: settings that differ.
        say: told what happens.

    Returns:
        the runs of this call.

    Raises:
        LearndropError: if a run failed, with what it said.
    """
    (out / RUNS).mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    with Apart() as apart:
        for network, seed in itertools.product(networks, seeds):
            job = {
                "data": source,
                "images": images,
                "held_out": held_out,
                "linear_head": linear_head,
                "seed": seed,
                "settings": FOR_EPOCHS | {"network": network} | (settings or {}),
            }
            runs += _three(job, epochs, out / RUNS, say, apart)
            redraw_page(out, RUNS)
    return runs


def _three(
    job: dict[str, Any], epochs: float, out: Path, say: Callable[[str], None], apart: Apart
) -> list[Run]:
    found: dict[str, Run] = {}
    for strategy in (FULL, OURS, SHORT):
        share = 1.0
        if strategy == SHORT:
            share = min(1.0, found[OURS]["seconds"] / found[FULL]["seconds"])
        run = _run(job | {"strategy": strategy, "epochs": epochs * share}, out, apart)
        found[strategy] = run
        say(
            f"{run['data']} {run['network']} seed {run['seed']}, {strategy}:"
            f" held out {100 * run['accuracy']:.1f} %, {run['seconds']:.1f} s,"
            f" forward FLOPs saved {100 * run['forward_saved']:.1f} %"
        )
    return list(found.values())


def _run(job: dict[str, Any], out: Path, apart: Apart) -> Run:
    """The run of that job, done now unless it is there."""
    name = json.dumps(job | {"data": Path(job["data"]).name}, sort_keys=True)
    network = str(job["settings"]["network"]).replace(":", "-")
    strategy = job["strategy"].replace(", ", "-").replace(" ", "-")
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    path = out / f"{network}-{strategy}-{job['seed']}-{digest}.json"
    if not path.exists():
        try:
            apart.run("epochs", job, path)
        except LearndropError as exc:
            raise LearndropError(f"bench: {network} {strategy}: {exc}") from None
    run: Run = json.loads(path.read_text())
    return run
