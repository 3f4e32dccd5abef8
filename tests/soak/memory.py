"""Row 16: predictions of random shapes and steps with drifts, drops and resets: does memory grow?

One client posts samples whose world changes every so often (so layers are dropped and come back),
another asks for predictions of pictures of random sizes and numbers. The slope of each process's
resident memory is taken after the first minutes, when caches are full. The same is then done with a
worker that leaks 1 KB a step (tests/soak/leaky_worker.py), which must be found: on a slow machine
steps are few a minute, so the worker may grow by no more than half of that a step either.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
from numpy.typing import NDArray

from deploy.local import LocalStack
from tests.rows import Found, arguments, report
from tests.services import as_files, encoded, npz
from tests.soak.paced import NPZ
from tests.soak.watching import Memory

SIDE = 16
BATCH = 8
WORLD = 4000  # samples until the pictures are turned around
MOST_MIB_A_MINUTE = 1.0
MOST_KIB_A_STEP = 0.5  # for the worker, where that is less
SETTINGS = {
    "image_size": SIDE,
    "network": "small-resnet10",
    "classes": tuple("abcd"),
    "batch": BATCH,
    "rate": 0.05,
    "rate_halving": 500,
    "window": 4,
    "precision": "float32",
    "memory_format": "contiguous",
    "worker_threads": 1,
    # Whatever is meant to fill up is full before the slope is taken.
    "replay_samples": 512,
    "feature_bytes": 4 * 2**20,
    "predictions_kept": 500,
    "max_pending": 2000,
    "publish_s": 2.0,
    "checkpoint_s": 5.0,
}


@dataclass
class Done:
    """What the two clients did, and what they were answered."""

    pictures: int = 0
    samples: int = 0
    statuses: Counter[int] = field(default_factory=Counter)


def world(
    chance: np.random.Generator, count: int, turned: bool
) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Pictures and labels: bright rows tell the class; in a turned world, dark columns do."""
    targets = chance.integers(0, 4, count)
    images = chance.integers(0, 120, (count, SIDE, SIDE, 3), dtype=np.uint8)
    for image, target in zip(images, targets, strict=True):
        image[4 * target : 4 * target + 4] += 120
    if turned:
        images = 255 - images.transpose(0, 2, 1, 3)
    return images, np.array(list("abcd"))[targets]


def feed(url: str, done: Done, stop: threading.Event) -> None:
    """Post samples until told to stop, as fast as they are taken."""
    chance = np.random.default_rng(0)
    with httpx2.Client(base_url=url, timeout=30.0) as http:
        while not stop.is_set():
            images, labels = world(chance, 64, turned=done.samples // WORLD % 2 == 1)
            answer = http.post(
                "/v1/samples", content=npz(images=images, labels=labels), headers=NPZ
            )
            done.statuses[answer.status_code] += 1
            if answer.status_code == 202:
                done.samples += 64
            else:
                stop.wait(0.2)


def ask(url: str, done: Done, stop: threading.Event) -> None:
    """Ask for predictions of pictures of random shapes until told to stop."""
    chance = np.random.default_rng(1)
    with httpx2.Client(base_url=url, timeout=30.0) as http:
        while not stop.is_set():
            files = [_file(chance) for _ in range(int(chance.integers(1, 17)))]
            answer = http.post("/v1/predictions", files=as_files(files))
            done.statuses[answer.status_code] += 1
            done.pictures += len(files)
            stop.wait(0.02)


def _file(chance: np.random.Generator) -> bytes:
    height, width = chance.integers(1, 200, 2)
    picture = chance.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(picture, ("PNG", "JPEG", "WebP")[int(chance.integers(3))])


@dataclass
class Soaked:
    """What one stack went through and how its memory grew, MiB a minute."""

    done: Done
    slopes: dict[str, float]
    steps: int
    events: Counter[str]
    died: tuple[str, int] | None
    minutes: float

    @property
    def most(self) -> dict[str, float]:
        """What each process may grow by, MiB a minute.

        >>> Soaked(Done(), {"worker": 0.3, "redis": 0.4}, 5120, Counter(), None, 10.0).most
        {'worker': 0.25, 'redis': 1.0}
        """
        a_step = MOST_KIB_A_STEP / 1024 * self.steps / self.minutes
        return dict.fromkeys(self.slopes, MOST_MIB_A_MINUTE) | {
            "worker": min(MOST_MIB_A_MINUTE, a_step)
        }

    @property
    def grows(self) -> list[str]:
        """The processes that grow by more."""
        return [part for part, slope in self.slopes.items() if slope >= self.most[part]]


def soak(minutes: float, after_s: float, worker: str) -> Soaked:
    """Run a stack with that worker module under both clients."""
    done, stop = Done(), threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = LocalStack.on_free_ports(folder / "data", logs=folder / "logs", **SETTINGS)
        stack.worker.module = worker
        with stack:
            clients = [
                threading.Thread(target=client, args=(stack.service.url, done, stop))
                for client in (feed, ask)
            ]
            for client in clients:
                client.start()
            with Memory(stack) as memory:
                time.sleep(minutes * 60)
            stop.set()
            for client in clients:
                client.join()
            state = httpx2.get(f"{stack.service.url}/v1/state?events=10000", timeout=30.0).json()
            died = stack.dead()
    events = Counter(event["type"] for event in state["events"])
    steps = state["samples_learned"] // BATCH
    return Soaked(done, memory.slope_mib_a_minute(after_s), steps, events, died, minutes)


def find(options: argparse.Namespace) -> dict[int, Found]:
    """The real worker, then the one that leaks."""
    clean = soak(options.minutes, options.after_s, "worker")
    leaking = soak(options.leak_minutes, options.leak_minutes * 30, "tests.soak.leaky_worker")
    planted = leaking.steps / leaking.minutes / 1024
    found_leak = "worker" in leaking.grows
    failed = {s: n for s, n in clean.done.statuses.items() if s not in {200, 202, 429, 503}}
    slopes = ", ".join(f"{part} {value:+.2f}" for part, value in clean.slopes.items())
    changes = ", ".join(f"{clean.events[kind]} {kind}s" for kind in ("drift", "reset", "drop"))
    return {
        16: Found(
            f"{slopes} MiB a minute; with the planted leak of {planted:.2f} MiB a minute the worker"
            f" shows {leaking.slopes['worker']:+.2f} of {leaking.most['worker']:.2f} allowed and"
            f" {'fails' if found_leak else 'passes'}",
            f"{clean.done.pictures} predictions and {clean.steps} steps ({changes} among the last"
            f" events) in {options.minutes:g} minutes, slope after {options.after_s:g} s",
            not clean.grows and found_leak and not failed and clean.died is None,
            f"The worker may grow by {clean.most['worker']:.2f} MiB a minute: half a KiB a step, at"
            f" most 1 MiB. Answers {dict(sorted(clean.done.statuses.items()))}."
            + (f" {clean.died} ended by itself." if clean.died else ""),
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--after-s", type=float, default=120.0, help="when the slope begins")
    parser.add_argument("--leak-minutes", type=float, default=5.0)
    sys.exit(report(find, parser, rows=[16]))
