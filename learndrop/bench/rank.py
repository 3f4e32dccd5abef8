"""Which score predicts that dropping does no harm: `python -m learndrop.bench.rank`.

A learner trains on a stream without ever dropping. At some windows its whole state is copied (by
its checkpoint, so bit for bit) and goes on for a while on the same samples: once as it is, and once
for each of three cuts with the units before it dropped. What the drop costs is held against what
each score said of these units at that moment. One JSON a stream; one that is there is not made
again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn

from learndrop.bench.given import assignment
from learndrop.bench.pages.redraw import redraw_page
from learndrop.bench.play import machine
from learndrop.bench.streams import Stream, drifting
from learndrop.disk.files import write_atomic
from learndrop.images import datasets
from learndrop.learning import checkpoint
from learndrop.learning.growing import targets_of
from learndrop.learning.learner import Learner
from learndrop.scores.catalogue import KEYS, make_all
from learndrop.settings import Settings

SHARES = (0.25, 0.5, 0.75)  # of the units, where it is cut
ALL = ("motion", *KEYS.values())

Row = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One stream.

    Attributes:
        data: a source as `learndrop.images.datasets.load` takes it.
        worlds: names of worlds, one after the other.
        length: samples in each.
        every: windows from one fork to the next.
        ahead: samples that a fork plays; as many after them are answered only.
        seed: of weights and order.
        settings: settings that differ from the defaults.
    """

    data: str
    worlds: tuple[str, ...] = ("clean", "noise40")
    length: int = 4096
    every: int = 2
    ahead: int = 512
    seed: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The trial as it stands in its run: files by their names, without their folders."""
        weights = Path(str(self.settings.get("weights", ""))).name
        told = asdict(self) | {"data": Path(self.data).name, "worlds": list(self.worlds)}
        return told | {"settings": self.settings | ({"weights": weights} if weights else {})}

    @property
    def file_name(self) -> str:
        """Of its run."""
        told = json.dumps(self.to_json(), sort_keys=True)
        network = str(self.settings.get("network", "default")).replace(":", "-")
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        return f"rank-{Path(self.data).stem}-{network}-{self.seed}-{digest}.json"


def measure(trial: Trial) -> dict[str, Any]:
    """Play one stream with its forks; a row for each fork and cut."""
    settings = Settings(**{**trial.settings, "seed": trial.seed, "drop": False})
    wanted = trial.length * len(trial.worlds)
    data = datasets.load(trial.data, settings.image_size, wanted, seed=trial.seed)
    settings = settings.model_copy(update={"classes": tuple(data.classes)})
    stream = drifting(data, list(trial.worlds), trial.length, seed=trial.seed)
    learner = Learner(settings)
    scorer = make_all(learner.chain, learner.probe, learner.ledger.look)
    scorer.start(learner.trainer.trained)
    samples = list(stream.batches(settings.batch))
    rows: list[Row] = []
    for number, batch in enumerate(samples, 1):
        learner.learn(batch)
        scorer.after_step(learner.rate)
        if number % settings.window:
            continue
        scores = scorer.read()
        if number % (trial.every * settings.window) == 0 and _fits(trial, stream, number, settings):
            rows += _fork(learner, scores, trial, samples[number:])
        scorer.start(learner.trainer.trained)
    return {
        "trial": trial.to_json(),
        "data": data.name,
        "network": settings.network,
        "seed": trial.seed,
        "units": [u.name for u in learner.chain.units],
        "accuracy": learner.progress.lifetime_accuracy,
        "rows": rows,
        "machine": machine(learner),
    }


def _fits(trial: Trial, stream: Stream, number: int, settings: Settings) -> bool:
    """Whether a fork ends in the world in which it begins."""
    at = number * settings.batch
    end = (at - 1) // trial.length * trial.length + trial.length
    return at + 2 * trial.ahead <= min(end, len(stream))


def _fork(
    learner: Learner, scores: dict[int, dict[str, float]], trial: Trial, coming: Sequence[Any]
) -> list[Row]:
    units, batch = len(learner.chain), learner.settings.batch
    steps = trial.ahead // batch
    future, after = coming[:steps], coming[steps : 2 * steps]
    cuts = sorted({min(units - 1, max(1, round(share * units))) for share in SHARES})
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        checkpoint.save(learner, Path(folder), "0-0", 1)
        ends = {cut: _end(Path(folder), learner.settings, cut, future, after) for cut in (0, *cuts)}
    return [
        {
            "samples": learner.progress.samples,
            "cut": cut,
            "scores": _of_prefix(scores, cut),
            "accuracy_lost": ends[0][0] - ends[cut][0],
            "loss_gained": ends[cut][1] - ends[0][1],
        }
        for cut in cuts
    ]


def _of_prefix(scores: dict[int, dict[str, float]], cut: int) -> dict[str, float]:
    """The highest value among the units before the cut: all of them must have settled."""
    told: dict[str, float] = {}
    for name in ALL:
        values = [scores[u][name] for u in range(cut) if name in scores.get(u, {})]
        if values:
            told[name] = max(values)
    return told


def _end(
    folder: Path, settings: Settings, cut: int, future: Sequence[Any], after: Sequence[Any]
) -> tuple[float, float]:
    """Accuracy (test, then train) over `future` and mean cross-entropy over `after`."""
    found = checkpoint.load_latest(folder, settings)
    assert found is not None
    copy = found[0]
    if cut:
        copy.drop_to(cut, "to see what it costs")
        copy.settling.scorer.start(copy.trainer.trained)
    reports = [copy.learn(batch) for batch in future]
    copy.rehearsal.adapt_statistics(copy.floats)  # a drop does: what is compared is the weights
    losses = []
    for batch in after:
        x = copy.floats(np.stack([s.image for s in batch]))
        _, logits, _ = copy.trainer.test(x)
        targets = torch.from_numpy(targets_of(copy, [s.label for s in batch])).to(copy.device)
        losses.append(float(nn.functional.cross_entropy(logits, targets)))
    right, count = sum(r.correct for r in reports), sum(r.count for r in reports)
    return right / count, sum(losses) / len(losses)


RUNS = "scores"  # folder of the runs, beside their page


def rank(trials: Sequence[Trial], out: Path, say: Callable[[str], None] = print) -> Path:
    """Make what is missing of the trials' runs in `out`/scores; the page of all that are there."""
    (out / RUNS).mkdir(parents=True, exist_ok=True)
    for trial in trials:
        path = out / RUNS / trial.file_name
        if not path.exists():
            result = measure(trial)
            write_atomic(path, json.dumps(result, allow_nan=False).encode())
            say(f"{path.name}: {len(result['rows'])} rows")
    return redraw_page(out, RUNS)


def main(
    data: Annotated[str, typer.Option(help="A source, as `learndrop bench` takes it.")] = "digits",
    world: Annotated[list[str] | None, typer.Option(help="One after the other.")] = None,
    length: Annotated[int, typer.Option(help="Samples in each world.")] = 4096,
    every: Annotated[int, typer.Option(help="Windows from one fork to the next.")] = 2,
    ahead: Annotated[int, typer.Option(help="Samples that a fork plays.")] = 512,
    seed: Annotated[list[int] | None, typer.Option(help="Repeat for several.")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="A setting: --set network=small-resnet18")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs and page.")] = Path("out/bench"),
) -> None:
    """Which score predicts that dropping does no harm, on one stream."""
    torch.set_num_threads(1)
    settings = dict(assignment(text) for text in given or ())
    worlds = tuple(world or ("clean", "noise40"))
    trials = [Trial(data, worlds, length, every, ahead, s, settings) for s in seed or (0,)]
    typer.echo(rank(trials, out, typer.echo).read_text())


if __name__ == "__main__":
    typer.run(main)
