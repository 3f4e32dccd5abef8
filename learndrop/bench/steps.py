"""How long one batch takes on this machine: answering it, a step at each cut, and all of `learn`.

`python -m learndrop.bench.steps` prints a table. On a GPU each row is measured with and without
CUDA graphs, in turn; elsewhere there are none. The pictures are noise and the weights random: none
of that is looked at by a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
import typer

from learndrop.bench.given import assignment
from learndrop.learning.learner import Learner
from learndrop.networks.transfer import wait_for
from learndrop.settings import Settings
from learndrop.stream.messages import Sample

ROUNDS = 5  # in turn, so that a machine that slows down slows all alike; the best counts
REPEATS = 20
WARM = 12  # batches before: kernels are chosen, the store is filled, graphs are recorded


@dataclass(frozen=True)
class Row:
    """Milliseconds at one cut: answering, a step, and all of `learn`."""

    cut: int
    recorded: bool
    test_ms: float
    step_ms: float
    learn_ms: float


def measured(settings: Settings, cuts: Sequence[int]) -> list[Row]:
    """The rows of each cut, without graphs first."""
    kinds = [False, True] if _learner(settings).device.type == "cuda" else [False]
    best: dict[tuple[int, bool], list[float]] = {}
    for _ in range(ROUNDS):
        for cut in cuts:
            for recorded in kinds:
                now = _once(settings.model_copy(update={"cuda_graphs": recorded}), cut)
                before = best.setdefault((cut, recorded), now)
                best[cut, recorded] = [min(a, b) for a, b in zip(before, now, strict=True)]
    return [Row(cut, recorded, *ms) for (cut, recorded), ms in best.items()]


def _learner(settings: Settings) -> Learner:
    return Learner(settings.model_copy(update={"drop": False}))


def _once(settings: Settings, cut: int) -> list[float]:
    learner = _learner(settings)
    if cut:
        learner.drop_to(cut, "to be measured")
    batches = _batches(settings)
    for i in range(WARM):
        learner.learn(batches[i % len(batches)])
    x = learner.floats(np.stack([s.image for s in batches[0]]))
    targets = torch.zeros(len(x), dtype=torch.int64, device=learner.device)
    maps, _, _ = learner.trainer.test(x, watch=True)
    maps = maps.clone()
    return [
        _ms(learner.device, lambda i: learner.trainer.test(x, watch=True)),
        _ms(learner.device, lambda i: learner.trainer.step(maps, targets, 1e-6)),
        _ms(learner.device, lambda i: learner.learn(batches[i % len(batches)])),
    ]


def _batches(settings: Settings) -> list[list[Sample]]:
    draws = np.random.default_rng(0)
    shape = (settings.image_size, settings.image_size, 3)
    names = settings.classes

    def sample(i: int) -> Sample:
        image = draws.integers(0, 256, shape, np.uint8)
        return Sample(image, names[i % len(names)], accepted_s=0.0)

    return [[sample(i) for i in range(settings.batch)] for _ in range(WARM)]


def _ms(device: torch.device, work: Callable[[int], object]) -> float:
    for i in range(WARM):
        work(i)
    wait_for(device)
    began = time.perf_counter()
    for i in range(REPEATS):
        work(i)
    wait_for(device)
    return 1000 * (time.perf_counter() - began) / REPEATS


def table(rows: Sequence[Row], units: int) -> str:
    """The rows as Markdown."""
    lines = [
        "| units out | CUDA graphs | answers ms | step ms | learn ms |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.cut} of {units} | {'yes' if r.recorded else 'no'} |"
        f" {r.test_ms:.2f} | {r.step_ms:.2f} | {r.learn_ms:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def main(
    given: Annotated[
        list[str] | None, typer.Option("--set", help="A setting: --set network=resnet50")
    ] = None,
) -> None:
    """Print how long one batch takes at no cut, the middle one and the deepest."""
    own = {"classes": [str(i) for i in range(10)], "network": "small-resnet18"}
    settings = Settings(**(own | dict(assignment(t) for t in given or ())))
    units = len(_learner(settings).chain)
    typer.echo(table(measured(settings, [0, units // 2, units - 1]), units))


if __name__ == "__main__":
    typer.run(main)
