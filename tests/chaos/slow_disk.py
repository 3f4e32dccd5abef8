"""Row 1: kill -9 of Redis while its disk is slow: what was acknowledged and is gone?

strace delays every fdatasync of the server by 1.5 s. Clients post to the service, the server is
killed while they do, started again, and every id of a 202 is looked for in the stream. The same is
then done under `appendfsync everysec`, which is what a user would risk by it.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from deploy.embedded import EmbeddedRedis
from deploy.local import LocalStack
from learndrop.server.keys import Keys
from tests.chaos.ledger import SIDE, Ledger
from tests.chaos.load import Load
from tests.rows import Found, arguments, report

DELAY_S = 1.5
EVERYSEC_S = 3.0
PATIENCE_S = 120.0
ATTACH_S = 20.0


@contextmanager
def slow_disk(server: EmbeddedRedis, folder: Path) -> Iterator[Path]:
    """Delay every fdatasync of the server; gives the file that counts them.

    Raises:
        RuntimeError: there is no strace, or it may not trace.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise RuntimeError("strace is not installed (Debian: apt install strace)")
    told = folder / "strace.txt"
    told.unlink(missing_ok=True)
    inject = f"inject=fdatasync:delay_enter={int(DELAY_S * 1e6)}"
    tracer = subprocess.Popen(
        [strace, "-f", "-o", told, "-e", "trace=fdatasync", "-e", inject, "-p", str(server.pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_until_traced(server, tracer)
        yield told
    finally:
        tracer.terminate()
        tracer.communicate()


def _wait_until_traced(server: EmbeddedRedis, tracer: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + ATTACH_S
    while f"TracerPid:\t{tracer.pid}\n" not in Path(f"/proc/{server.pid}/status").read_text():
        if tracer.poll() is not None or time.monotonic() > deadline:
            tracer.kill()
            raise RuntimeError(f"strace cannot trace here: {tracer.communicate()[1].strip()}")
        time.sleep(0.02)


def kept(stack: LocalStack) -> set[str]:
    """Ids in the stream."""
    client: Any = redis.Redis(port=stack.redis.port, protocol=2)
    with client:
        entries = client.xrange(Keys(stack.settings.name).stream)
    return {entry_id.decode() for entry_id, _ in entries}


def one_round(stack: LocalStack, ledger: Ledger, folder: Path, policy: str, samples: int) -> int:
    """Kill the server under load after so many acknowledged samples; counts its fdatasyncs.

    Under everysec, after three seconds instead: there answers do not wait for the disk.
    """
    client: Any = redis.Redis(port=stack.redis.port)
    with client:
        client.config_set("appendfsync", policy)
    enough = len(ledger.acked) + samples
    deadline = time.monotonic() + PATIENCE_S
    rate = 0.0 if policy == "always" else samples / EVERYSEC_S
    with slow_disk(stack.redis, folder) as told:
        with Load(stack.service.url, ledger, rate=rate, batch=16, senders=8):
            if policy == "everysec":
                time.sleep(EVERYSEC_S)
            while policy == "always" and len(ledger.acked) < enough:
                if time.monotonic() > deadline:
                    raise AssertionError(f"only {len(ledger.acked)} acknowledged of {enough}")
                time.sleep(0.01)
            stack.redis.kill()
    stack.redis.start()
    return told.read_text().count("fdatasync(")


def play(stack: LocalStack, folder: Path, policy: str, rounds: int, samples: int) -> Found:
    """All rounds under one policy."""
    ledger, syncs = Ledger(), 0
    for _ in range(rounds):
        syncs += one_round(stack, ledger, folder, policy, samples // rounds)
    there = kept(stack)
    lost = [n for n, entry_id in ledger.acked.items() if entry_id not in there]
    count = f"{len(ledger.acked)} acknowledged in {rounds} rounds, {syncs} delayed fdatasyncs"
    enough = len(ledger.acked) >= samples or policy != "always"
    return Found(f"{len(lost)} acknowledged lost", count, not lost and enough and syncs > 0)


def find(options: argparse.Namespace) -> dict[int, Found]:
    """The promise, and beside it what everysec risks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = LocalStack.on_free_ports(
            folder / "data",
            logs=folder / "logs",
            image_size=SIDE,
            redis_timeout_s=30.0,  # two fsyncs and more may be before an answer
            max_pending=1_000_000,
        )
        with stack:
            stack.worker.kill()  # it learns nothing here: everything must stay in the stream
            always = play(stack, folder, "always", options.rounds, options.samples)
            risk = play(stack, folder, "everysec", options.everysec_rounds, options.samples // 5)
    notes = f"The same under `appendfsync everysec`: {risk.figure}, of {risk.count}."
    return {1: Found(always.figure, always.count, always.passed, notes)}


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--samples", type=int, default=5000, help="acknowledged, in all rounds")
    parser.add_argument("--everysec-rounds", type=int, default=2)
    sys.exit(report(find, parser, rows=[1]))
