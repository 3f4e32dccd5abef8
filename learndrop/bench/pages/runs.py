"""The runs of a bench as read back from their JSON, and what follows from one of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadInput, DamagedFile

CURVE = 512  # samples over which a curve's accuracy is taken
RECOVERED = 256  # the same for "has it recovered", where a shorter view reacts sooner
FEWEST = 64
SECONDS = {
    "wall": "",
    "processor": "; seconds are the processor's",
    "operations": "; a second is 100 GFLOP, counted",
}


@dataclass(frozen=True)
class Run:
    """One run; `data` is its JSON."""

    data: dict[str, Any]

    @property
    def job(self) -> dict[str, Any]:
        return dict(self.data["job"])

    @property
    def label(self) -> str:
        return str(self.data["label"])

    @property
    def family(self) -> str:
        return str(self.data["family"])

    @property
    def seed(self) -> int:
        return int(self.job["seed"])

    @property
    def accuracy(self) -> float:
        return float(self.data["accuracy"])

    @property
    def train_s(self) -> float:
        """Seconds of everything but the answers that every strategy owes."""
        return float(self.data["seconds"]["learn"])

    @property
    def train_tflop(self) -> float:
        """Floating point operations, likewise, in 1e12."""
        flops = self.data["flops"]
        return float(flops["done"] - flops["by_kind"]["test"]) / 1e12

    @property
    def held_out(self) -> float | None:
        """Share of pictures never shown that are answered right, as a mean over the stream; None
        where nobody looked."""
        looks = self.data.get("held_out")
        return float(np.mean(looks["right"])) if looks else None

    @property
    def guard_flops(self) -> int:
        """Floating point operations that only looked at something, and taught nothing."""
        return int(self.data["flops"]["by_kind"]["probe"])

    @property
    def worlds(self) -> list[str]:
        return [str(w["name"]) for w in self.data["worlds"]]

    @property
    def begins(self) -> list[int]:
        return [int(w["begin"]) for w in self.data["worlds"]]

    @property
    def ends(self) -> list[int]:
        return [*self.begins[1:], int(self.data["samples"])]

    @cached_property
    def after(self) -> NDArray[np.int64]:
        """Samples seen at the end of each batch."""
        return np.cumsum(self.data["batches"]["count"])

    def column(self, name: str) -> NDArray[np.float64]:
        """What was written down of every batch."""
        return np.array(self.data["batches"][name], float)

    def within(self, begin: int, end: int) -> NDArray[np.bool_]:
        """Which batches hold the samples from `begin` up to `end`."""
        return (self.after > begin) & (self.after <= end)

    def thawed(self) -> NDArray[np.bool_]:
        """Which batches were learned while what is dropped trained for a window."""
        found, begun = np.zeros(len(self.after), np.bool_), None
        for event in self.data["events"]:
            if event["type"] == "thaw":
                begun = int(event["samples"])
            elif begun is not None and event["type"] in {"drop", "return", "reset"}:
                found |= self.within(begun, int(event["samples"]))
                begun = None
        return found

    def accuracy_within(self, begin: int, end: int) -> float:
        """Share of right answers on these samples."""
        these = self.within(begin, end)
        return float(self.column("right")[these].sum() / self.column("count")[these].sum())

    def world_accuracies(self) -> list[float]:
        """Share of right answers in each world."""
        return [self.accuracy_within(b, e) for b, e in zip(self.begins, self.ends, strict=True)]

    def curve(self, begin: int = 0, end: int | None = None, view: int = CURVE) -> Curve:
        """Accuracy over the newest `view` samples, none from before `begin`, after each batch."""
        these = self.within(begin, end or int(self.data["samples"]))
        count = np.concatenate([[0.0], np.cumsum(self.column("count")[these])])
        right = np.concatenate([[0.0], np.cumsum(self.column("right")[these])])
        first = np.searchsorted(count, count[1:] - view, side="left")
        return Curve(begin + count[1:], (right[1:] - right[first]) / (count[1:] - count[first]))

    def recovered_after(self, world: int, level: float) -> int | None:
        """Samples of that world until the accuracy of the newest ones first reaches `level`; None
        where it never does."""
        begin = self.begins[world]
        curve = self.curve(begin, self.ends[world], RECOVERED)
        there = (curve.accuracy >= level) & (curve.samples - begin >= FEWEST)
        return int(curve.samples[there.argmax()] - begin) if there.any() else None

    def events(self, *types: str) -> list[dict[str, Any]]:
        """Its events of these types."""
        return [e for e in self.data["events"] if e["type"] in types]


@dataclass(frozen=True)
class Curve:
    """Accuracy over samples: two arrays of one length."""

    samples: NDArray[np.float64]
    accuracy: NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """The runs of one stream under one set of settings: what may be compared."""

    name: str
    runs: tuple[Run, ...]

    @property
    def title(self) -> str:
        """What was played, as a sentence."""
        run = self.runs[0]
        job, worlds = run.job, ", ".join(run.worlds)
        seeds = len({r.seed for r in self.runs})
        paced = f", in real time at {job['rate']:.0f} samples/s" if job["rate"] else ""
        return (
            f"{job['data']}, {run.data['network']}, {job['stream']} stream of {job['length']:,}"
            f" samples a world ({worlds}){paced}; {seeds} seed{'s' * (seeds > 1)}"
            + SECONDS[self.clock]
            + self._without_looking
        )

    @property
    def _without_looking(self) -> str:
        """What the accuracy is worth, where the last label is a good guess."""
        share = self.runs[0].data.get("last_label", 0.0)
        return f"; the label before would be right in {100 * share:.1f} %" if share > 0.5 else ""

    @property
    def clock(self) -> str:
        """Whose seconds theirs are: one of SECONDS."""
        return str(self.runs[0].job["clock"])

    @property
    def labels(self) -> list[str]:
        """The strategies, in the order of their accuracy; by name where that is the same."""
        known = {r.label for r in self.runs}
        return sorted(known, key=lambda n: (-np.mean([r.accuracy for r in self.of(n)]), n))

    def of(self, label: str) -> list[Run]:
        """The runs of one strategy, a seed each."""
        return sorted((r for r in self.runs if r.label == label), key=lambda r: r.seed)

    def family(self, family: str) -> list[str]:
        """The strategies of one family that were played."""
        return [n for n in self.labels if self.of(n)[0].family == family]


def read_runs(folder: Path) -> list[Run]:
    """All runs in a folder.

    Raises:
        BadInput: if there is none.
        DamagedFile: if a file there is no run.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise BadInput(f"{folder} holds no runs: give a folder that a bench has written to")
    runs = []
    for path in files:
        try:
            data = json.loads(path.read_text())
            data["job"].setdefault("clock", "wall")  # the only one at first
            runs.append(Run({"batches": data["batches"], **data}))
        except (ValueError, KeyError, TypeError) as exc:
            raise DamagedFile(f"{path} is no run of the bench: {exc!r}") from exc
    return runs


def grouped(runs: Iterable[Run]) -> list[Group]:
    """The runs by what was played; block noise in any unit is one group."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        job = run.job
        worlds = [] if job["stream"] == "block" else job["worlds"]
        played = [job["data"], job["stream"], worlds, job["length"], job["settings"]]
        key = json.dumps([*played, job["rate"] > 0, job["clock"]], sort_keys=True)
        found.setdefault(key, []).append(run)
    groups: list[Group] = []
    for mine in found.values():
        job = mine[0].job
        name = f"{Path(job['data']).stem}-{job['stream']}-{job['length']}"
        name += "-realtime" * (job["rate"] > 0)
        taken = sum(g.name == name or g.name.startswith(f"{name}.") for g in groups)
        groups.append(Group(f"{name}.{taken + 1}" if taken else name, tuple(mine)))
    return groups
