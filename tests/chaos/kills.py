"""Rows 2 and 5: kills and pauses at random under load, and the account read from outside meanwhile.

Clients post numbered pictures, every second batch as files, send a batch again with its
Idempotency-Key until it has an answer, and keep a ledger of every 202. Worker, service and Redis
are killed (SIGKILL) or paused (SIGSTOP) at random; beside that, processes that decode files are
killed, which the service starts anew. At the end the last checkpoint says what was learned and in
which order (its replay buffer is larger than the run); a learner that nobody disturbed is then
given the same pictures in that order, and every weight must be the same bit for bit.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from deploy.children import Child
from deploy.embedded import EmbeddedRedis
from deploy.local import LocalStack
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.settings import Settings
from learndrop.stream.messages import Sample
from tests.chaos.ledger import CLASSES, SIDE, Ledger, judge, label, number_of, picture
from tests.chaos.load import Load
from tests.chaos.observer import Observer
from tests.rows import Found, arguments, report

LONGEST_PAUSE_S = 4.0
DECODERS = 1 / 3  # so often one of them is killed after a fault
PATIENCE_S = 900.0

SETTINGS = {
    "image_size": SIDE,
    "network": "small-resnet10",
    "classes": CLASSES,
    "batch": 32,
    # Longer than any pause: batches are always full, so the undisturbed run has the same ones.
    "batch_wait_s": 30.0,
    "checkpoint_s": 5.0,
    "publish_s": 2.0,
    "redis_timeout_s": 2.0,
    "replay_samples": 1_000_000,
    "replay_bytes": 2**30,
    "rate": 0.05,
    "precision": "float32",
    "memory_format": "contiguous",
    "worker_threads": 1,
    # Kills from outside that hit one batch three times in a row would be put down to it.
    "max_deliveries": 100,
}


@dataclass
class Faults:
    """What was done, decoders that were killed beside, and what ended by itself (which nothing
    may)."""

    done: Counter[str] = field(default_factory=Counter)
    decoders: int = 0
    deaths: list[str] = field(default_factory=list)


def disturb(stack: LocalStack, faults: Faults, chance: random.Random) -> None:
    """Kill or pause one part; it is started or woken again before this returns."""
    parts: dict[str, Child | EmbeddedRedis] = {
        "worker": stack.worker,
        "service": stack.service,
        "redis": stack.redis,
    }
    name = chance.choice(list(parts))
    part = parts[name]
    if part.exit_code is not None:
        faults.deaths.append(f"{name} ended with {part.exit_code}")
        part.kill()
        part.start()
        return
    if chance.random() < 0.5:
        part.kill()
        part.start()
        faults.done[f"{name} killed"] += 1
        return
    assert part.pid is not None
    os.kill(part.pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.2, LONGEST_PAUSE_S))
    os.kill(part.pid, signal.SIGCONT)
    faults.done[f"{name} paused"] += 1


def kill_decoder(stack: LocalStack, chance: random.Random) -> int:
    """Kill one of the processes that decode files; how many that were (none where none is up)."""
    try:
        children = psutil.Process(stack.service.pid).children(recursive=True)
        decoders = [child for child in children if "service.decoding.decoder" in child.cmdline()]
        if decoders:
            chance.choice(decoders).kill()
    except psutil.NoSuchProcess:  # what has just ended needs no other hand
        return 0
    return min(1, len(decoders))


def all_learned(stack: LocalStack, observer: Observer) -> dict[str, int]:
    """Wait until nothing is pending any more; the account then."""
    deadline = time.monotonic() + PATIENCE_S
    while (account := observer.account())["pending"]:
        if time.monotonic() > deadline:
            raise AssertionError(f"not learned after {PATIENCE_S:g} s: {account}")
        if stack.dead():
            raise AssertionError(f"{stack.dead()} ended by itself")
        time.sleep(0.2)
    return account


def learned_numbers(learner: Learner) -> list[int]:
    """Numbers of what it learned, in order."""
    replay = learner.replay
    order = replay.ids[: replay.size].argsort()
    return [number_of(image) for image in replay.images[: replay.size][order]]


def undisturbed(settings: Settings, numbers: list[int]) -> Learner:
    """A learner that was given the same samples in the same order, and nothing else."""
    torch.set_num_threads(1)
    learner = Learner(settings)
    for i in range(0, len(numbers), settings.batch):
        learner.learn([Sample(picture(n), label(n)) for n in numbers[i : i + settings.batch]])
    return learner


def unequal(one: Learner, other: Learner) -> list[str]:
    """Names of weights, statistics and momenta that are not equal bit for bit."""
    pairs = [(one.chain.state_dict(), other.chain.state_dict())]
    pairs.append((one.trainer.optimizer.momentum(), other.trainer.optimizer.momentum()))
    return [
        name
        for left, right in pairs
        for name in left.keys() | right.keys()
        if name not in left or name not in right or not torch.equal(left[name], right[name])
    ]


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Disturb, then compare."""
    chance = random.Random(options.seed)
    ledger, faults = Ledger(), Faults()
    slot_s = options.minutes * 60 / options.kills
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = LocalStack.on_free_ports(folder / "data", logs=folder / "logs", **SETTINGS)
        with stack, Observer(stack, every_s=options.minutes * 60 / options.readings) as observer:
            with Load(stack.service.url, ledger, rate=options.rate, keyed=True, files=True):
                for n in range(options.kills):
                    due = time.monotonic() + slot_s
                    time.sleep(chance.uniform(0, slot_s / 4))
                    disturb(stack, faults, chance)
                    if chance.random() < DECODERS:
                        faults.decoders += kill_decoder(stack, chance)
                    print(f"{n + 1} of {options.kills}: {dict(faults.done)}", file=sys.stderr)
                    time.sleep(max(0.0, due - time.monotonic()))
            account = all_learned(stack, observer)
        found = checkpoint.load_latest(stack.settings.checkpoints_dir, stack.settings)
        assert found is not None
        learner = found[0]
        numbers = learned_numbers(learner)
        verdict = judge(ledger, numbers)
        other = unequal(learner, undisturbed(stack.settings, numbers))
    balanced = account.get("learned") == account.get("accepted") == len(numbers)
    told = ", ".join(f"{count} x {what}" for what, count in sorted(faults.done.items()))
    notes = (
        f"{told}; beside, {faults.decoders} x decoder killed. Every second batch came as files."
        f" Each batch was sent again with its Idempotency-Key until it had an answer:"
        f" {dict(ledger.answers)}; without one at the end: {len(ledger.unknown)} batches."
        f" Layers dropped at the end: {learner.trainer.cut}. LEARNDROP_MAX_DELIVERIES is"
        f" {SETTINGS['max_deliveries']}: at 3 a batch that three kills from outside hit is buried."
    )
    if faults.deaths:
        notes += f" Ended by themselves: {faults.deaths}."
    if verdict.torn or verdict.strangers or verdict.misplaced or not balanced:
        notes += (
            f" Torn batches: {verdict.torn[:5]}, never sent: {verdict.strangers[:5]}, out of order:"
            f" {verdict.misplaced}, account: {account}, learned {len(numbers)}."
        )
    weights = "weights bit-equal" if not other else f"{len(other)} tensors differ: {other[:3]}"
    return {
        2: Found(
            f"{len(verdict.lost)} lost, {len(verdict.twice)} learned twice, {weights}",
            f"{sum(faults.done.values())} faults in {options.minutes:g} minutes,"
            f" {len(ledger.acked)} acknowledged, {len(numbers)} learned",
            verdict.good and balanced and not other and not faults.deaths,
            notes,
        ),
        5: Found(
            f"{len(observer.violations)} violations",
            f"{observer.readings} readings of Redis, {observer.answers} of GET /v1/state",
            not observer.violations and observer.readings > 0,
            f"Unanswered while a part was down: {observer.unanswered}."
            + (f" First: {observer.violations[0]}." if observer.violations else ""),
        ),
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills and pauses")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=50.0, help="samples a second")
    parser.add_argument("--readings", type=int, default=1500, help="of the account")
    parser.add_argument("--seed", type=int, default=0)
    sys.exit(report(find, parser, rows=[2, 5]))
