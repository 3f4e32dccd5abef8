"""`python -m tests.tiny_worker`: the real loop, stream and lock around a learner made of a list.

It remembers the number of every sample that it learned (the first pixel bytes), so that a test can
tell a sample learned twice or not at all; and it dies of a sample with the label "poison".
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from learndrop import logs
from learndrop.events import Event
from learndrop.server.board import WorkerBoard
from learndrop.server.ids import START
from learndrop.settings import load_settings
from learndrop.stream.consumer import RedisConsumer
from learndrop.stream.messages import Sample
from tests.loops import Told
from worker.leading import Reign, Sealing, lead
from worker.loop import run
from worker.metrics import WorkerMetrics
from worker.parts import Parts
from worker.stop import Stop

SIZE = 8
EAGER: dict[str, Any] = {  # settings under which it saves and publishes several times a second
    "image_size": SIZE,
    "batch": 8,
    "batch_wait_s": 0.02,
    "checkpoint_s": 0.1,
    "publish_s": 0.1,
}
DIED = 77


def numbered(number: int, label: str = "fine") -> Sample:
    """A sample that says which it is."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    image[0, 0] = [number >> 16, number >> 8 & 255, number & 255]
    return Sample(image, label, time.time())


def number_of(sample: Sample) -> int:
    """What `numbered` was given."""
    high, middle, low = (int(n) for n in sample.image[0, 0])
    return high << 16 | middle << 8 | low


class TinyLearner:
    """Learns numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.classes: list[str] = []
        self.numbers: list[int] = []

    def learn(self, samples: Sequence[Sample], *, waiting: int = 0) -> Told:
        with (self.folder / "progress").open("a") as progress:
            for sample in samples:
                progress.write(f"{number_of(sample)}\n")
                if sample.label == "poison":
                    progress.flush()
                    os._exit(DIED)
        self.numbers += [number_of(s) for s in samples]
        time.sleep(0.002)  # a step takes its time, so that kills hit one
        return Told(len(samples))

    def export(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        return {}, {"samples": len(self.numbers)}

    def published(self, version: int) -> Event:
        return Event("publish", time.time(), len(self.numbers), f"version {version}", 0)

    def state(self) -> dict[str, Any]:
        return {
            "samples_learned": len(self.numbers),
            "prequential": {"accuracy": None},
            "drop": {"depth": 0, "total": 0, "units": []},
            "flops": {"done": 0.0, "full": 0.0, "saved_ratio": None},
            "features": {"bytes": 0, "budget_bytes": 0},
            "replay": {"samples": 0},
            "rate": 0.1,
            "model": {"version": None},
        }


class TinyRegistry:
    """Counts versions; who made them stands in a file."""

    version = 0

    def __init__(self, folder: Path, sealing: Sealing) -> None:
        self._folder, self._sealing = folder, sealing

    def publish(self, parts: Mapping[str, bytes], about: Mapping[str, Any]) -> int:
        with self._sealing(), (self._folder / "versions").open("a") as versions:
            self.version += 1
            versions.write(f"{os.getpid()}\n")
        return self.version

    def current(self) -> int | None:
        return self.version or None


def saved(folder: Path) -> tuple[list[int], str]:
    """Numbers and position of the last checkpoint."""
    path = folder / "checkpoint.json"
    if not path.exists():
        return [], START
    state = json.loads(path.read_text())
    return state["numbers"], state["position"]


def main() -> int:
    """As worker/__main__.py, but for the learner."""
    stop = Stop()
    settings = load_settings()
    logs.set_up(settings, "worker")
    folder = settings.data_dir
    metrics = WorkerMetrics(CollectorRegistry())

    def learn(under: Reign) -> None:
        learner = TinyLearner(folder)
        learner.numbers, position = saved(folder)
        stream = RedisConsumer(settings, under.token, under.folder)
        board = WorkerBoard(settings, under.token)

        def save(position: str) -> None:
            aside = folder / f"checkpoint.{os.getpid()}"
            state = {"numbers": learner.numbers, "position": position, "process": os.getpid()}
            aside.write_text(json.dumps(state))
            with under.sealing():
                aside.rename(folder / "checkpoint.json")

        registry = TinyRegistry(folder, under.sealing)
        parts = Parts(
            settings, stream, learner, registry, board, metrics, save, confirm=under.confirm
        )
        try:
            run(parts, position, stopping=stop)
        finally:
            stream.close()
            board.close()

    lead(settings, learn, metrics, stopping=stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
