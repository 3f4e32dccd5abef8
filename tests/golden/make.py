"""`python -m tests.golden.make`: writes tests/golden/1/, one file or folder for each format.

Run once for a format number, then never again: the files show what that learndrop wrote, and
tests/test_golden.py that this one still reads it. (Until a release the numbers stay 1, and the
files are made anew when a format changes.)
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from deploy.embedded import EmbeddedRedis
from learndrop.disk.archive import Archive
from learndrop.disk.registry import Registry
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.networks import units
from learndrop.networks.chain import Chain
from learndrop.server.board import WorkerBoard
from learndrop.server.connections import connect
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from learndrop.stream.consumer import RedisConsumer
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from tests.golden import account, kept
from tests.golden.coded import plain
from tests.servers import token

HERE = Path(__file__).parent
SIZE = 8
BATCHES = 40


def settings(**more: Any) -> Settings:
    """Of the golden learner."""
    small: dict[str, Any] = {
        "image_size": SIZE,
        "classes": ("dark", "light"),
        "batch": 8,
        "window": 4,
        "rate": 0.05,
        "replays": "1",
        "replay_samples": 64,
        "reserve_samples": 8,
        "accuracy_window": 16,
        "feature_bytes": 4096,
        "precision": "float32",
        "memory_format": "contiguous",
        "device": "cpu",
    }
    return Settings(**{**small, **more})


def chain() -> Chain:
    """A network of a few kilobytes, with everything that a checkpoint must carry."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("one", nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)))
    model.add_module("two", nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3)))
    model.add_module("fc", nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)))
    return units.cut(model.eval(), torch.zeros(1, 3, SIZE, SIZE))


def samples(count: int, seed: int = 0) -> list[Sample]:
    """Dark and light squares of two keys."""
    chance = np.random.default_rng(seed)
    found = []
    for number in range(count):
        light = bool(chance.random() < 0.5)
        level = 150 if light else 20
        image = chance.integers(level, level + 80, (SIZE, SIZE, 3), np.uint8)
        key = "camera" if number % 2 else "line"
        found.append(Sample(image, "light" if light else "dark", 1.7e9 + number, key))
    return found


def batches(seed: int = 0) -> Iterator[list[Sample]]:
    """The golden stream."""
    stream = samples(8 * BATCHES, seed)
    for at in range(0, len(stream), 8):
        yield stream[at : at + 8]


def pictures() -> Any:
    """What the golden answers are answers to: uint8 [4, 8, 8, 3]."""
    return np.stack([s.image for s in samples(4, seed=9)])


def write(folder: Path) -> None:
    """Write every format as this learndrop has it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    learner = Learner(settings(), chain=chain())
    for batch in batches():
        learner.learn(batch)
    registry = Registry(folder / "models")
    for _ in range(2):
        learner.published(registry.publish(*learner.export()))
    registry.pin(1)
    (folder / "models" / "LOCK").unlink()
    checkpoint.save(learner, folder / "checkpoints", "1700000000000-7", keep=1)
    archive = Archive(folder / "archive", 2**20)
    stream = samples(4)
    archive.add([f"1700000000000-{n}" for n in range(len(stream))], stream, "1699999999999-0")
    archive.write()
    state = learner.state()
    answers = {"probabilities": learner.predict(pictures()).tolist()}
    _write(folder / "state.json", state)
    _write(folder / "answers.json", answers)
    _write(folder / "events.json", [e.to_json() for e in learner.recent_events])
    kept.write_keys(folder)
    _write_redis(folder, learner)
    write_kept(folder)
    write_account(folder)


def _write_redis(folder: Path, learner: Learner) -> None:
    """What lies in Redis: an entry, a dead letter, an event and the state."""
    with TemporaryDirectory() as data, EmbeddedRedis(Path(data)) as server:
        own = settings(redis_url=server.url, data_dir=Path(data))
        keys = Keys(own.name)

        async def publish() -> None:
            publisher = RedisPublisher(own)
            await publisher.publish(samples(2))
            await publisher.close()

        asyncio.run(publish())
        lead = token(own)
        consumer, board = RedisConsumer(own, lead), WorkerBoard(own, lead)
        consumer.open("0-0")
        entry, other = consumer.claim(2, 0.0)
        consumer.bury(other, "unreadable", "for the golden files")
        board.put_state(learner.state())
        board.add_events(list(learner.recent_events)[:1])
        redis: Any = connect(own)
        letter = redis.xrange(keys.dead)[0][1]
        event = redis.xrange(keys.events)[0][1]
        told = {"state": redis.get(keys.state)}
        _write(folder / "entry.json", plain(entry.fields))
        _write(folder / "dead-letter.json", plain(letter))
        _write(folder / "redis-event.json", plain(event))
        _write(folder / "redis-state.json", {n: v.decode() for n, v in told.items()})
        redis.close()
        consumer.close()
        board.close()


def write_kept(folder: Path) -> None:
    """What lies in Redis for people who ask: answers with their labels, receipts of deletions."""
    with TemporaryDirectory() as data, EmbeddedRedis(Path(data)) as server:
        here = settings(redis_url=server.url, data_dir=Path(data))
        other = here.model_copy(update={"name": "deletions"})
        redis: Any = connect(here)
        answers = asyncio.run(kept.write_answers(here, redis, pictures()))
        deletion = asyncio.run(kept.write_deletion(other, token(other), redis, pictures()))
        redis.close()
    _write(folder / "kept-answers.json", answers)
    _write(folder / "deletion.json", deletion)


def write_account(folder: Path) -> None:
    """What lies in Redis of samples that came and ended, of repeated requests and of admins."""
    with TemporaryDirectory() as data, EmbeddedRedis(Path(data)) as server:
        own = settings(redis_url=server.url, data_dir=Path(data))
        redis: Any = connect(own)
        found = account.write_account(own, token(own), redis, named(6))
        _write(folder / "account.json", asyncio.run(found))
        redis.close()


def named(count: int) -> list[Sample]:
    """`samples` of one key, with a name each."""
    return [
        replace(sample, key="line", name=f"sample-{number}")
        for number, sample in enumerate(samples(count))
    ]


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write(HERE / "1")
    print(f"written to {HERE / '1'}", file=sys.stderr)
