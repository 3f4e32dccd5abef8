"""One run of the bench as data: what is played by whom, and the file that its result goes to."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ABOUT_FILES = ("weights",)  # settings that name a file: where it lies does not change a run


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        data: a source as `learndrop.images.datasets.load` takes it.
        stream: a kind of `learndrop.bench.streams`.
        worlds: names; empty for those of the kind.
        length: samples in each world.
        seed: of weights, order and noise.
        strategy: a name with options, as `learndrop.bench.strategies.strategy` takes it.
        settings: settings that differ from the defaults.
        rate: samples a second in real time; 0 for a stream that waits.
        backlog: samples that may wait in real time.
        clock: `wall`, or `processor` where others compute meanwhile; that one is fair between
            strategies only on one thread, since threads that wait for each other count too. Or
            `operations`, which are the same on every machine.
    """

    data: str = "digits"
    stream: str = "abrupt"
    worlds: tuple[str, ...] = ()
    length: int = 2000
    seed: int = 0
    strategy: str = "learndrop"
    settings: dict[str, Any] = field(default_factory=dict)
    rate: float = 0.0
    backlog: int = 0
    clock: str = "wall"

    def by(self, strategy: str) -> Job:
        """The same by another strategy."""
        return replace(self, strategy=strategy)

    def to_json(self) -> dict[str, Any]:
        """The job as it stands in its run: files by their names, without their folders.

        >>> Job(data="/a/b/set.npz", settings={"weights": "/c/w.safetensors"}).to_json()["data"]
        'set.npz'
        """
        told = asdict(self) | {"worlds": list(self.worlds), "data": Path(self.data).name}
        files = {k: Path(str(v)).name for k, v in self.settings.items() if k in ABOUT_FILES}
        return told | {"settings": self.settings | files}

    def as_values(self) -> dict[str, Any]:
        """The job as JSON values, with the folders of its files: what `from_json` takes."""
        return asdict(self)

    @property
    def file_name(self) -> str:
        """Of its run: readable, and another one for every other job.

        >>> Job(strategy="plain:every=3").file_name
        'abrupt-2000-plain-every-3-seed0-b1ea4d07.json'
        """
        digest = hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()
        parts = [self.stream, str(self.length), self.strategy, f"seed{self.seed}"]
        parts += ["realtime"] * (self.rate > 0)
        readable = re.sub(r"[^a-z0-9.]+", "-", "-".join(parts).lower())
        return f"{readable}-{digest[:8]}.json"


def from_json(data: dict[str, Any]) -> Job:
    """The job of `json.loads`."""
    return Job(**{**data, "worlds": tuple(data["worlds"])})
