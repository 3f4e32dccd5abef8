"""Row 22: the worker that leads is paused for three times its lease beside a stand-by, then woken.

Both are real workers on one data folder; samples are sent all the time. They change places each
round. What the woken one did is read from its own metrics, before and after it noticed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from deploy.children import Child
from deploy.embedded import free_port
from deploy.local import LocalStack
from learndrop.client import Client
from tests.rows import Found, arguments, report

SIDE, LEASE_S = 16, 3.0
TAKEN_OVER_WITHIN_S = 5.0
PATIENCE_S = 240.0
WRITES = ("learndrop_checkpoint_timestamp_seconds", "learndrop_events_total")
SETTINGS: dict[str, Any] = {
    "image_size": SIDE,
    "batch": 8,
    "batch_wait_s": 0.1,
    "checkpoint_s": 0.5,
    "publish_s": 0.5,
    "lease_s": LEASE_S,
    "worker_threads": 1,
    "precision": "float32",
    "memory_format": "contiguous",
}


class Sender(threading.Thread):
    """Sends small batches until it is told to end; counts what was answered with 202."""

    def __init__(self, url: str) -> None:
        super().__init__(name="sender", daemon=True)
        self._url, self.ended, self.sent = url, threading.Event(), 0

    def run(self) -> None:
        chance = np.random.default_rng(0)
        with Client(self._url) as client:
            while not self.ended.wait(0.1):
                images = chance.integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8)
                self.sent += len(client.learn(images, ["a", "b", "c", "d"]))


def leads(worker: Child) -> bool:
    """Whether it says that it leads."""
    return bool(httpx2.get(f"{worker.url}/healthz", timeout=5).json().get("leading"))


def writes(worker: Child) -> dict[str, float]:
    """What tells of the checkpoints and versions that this process has written."""
    text = httpx2.get(f"{worker.url}/metrics", timeout=5).text
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in WRITES and sample.labels.get("type", "publish") == "publish"
    }


def wait(condition: Callable[[], bool]) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE_S:
            raise TimeoutError(f"not within {PATIENCE_S:g} s")
        time.sleep(0.02)
    return time.monotonic() - began


def one_round(first: Child, second: Child) -> tuple[float, str]:
    """Pause whoever leads; seconds until the other leads, and what the woken one wrote."""
    leader, other = (first, second) if leads(first) else (second, first)
    assert leader.process is not None and leader.log is not None
    before = writes(leader)
    said = leader.log.read_text().count('"deposed"')
    began = time.monotonic()
    leader.process.send_signal(signal.SIGSTOP)
    taken_s = wait(lambda: leads(other))
    time.sleep(max(0.0, 3 * LEASE_S - (time.monotonic() - began)))
    leader.process.send_signal(signal.SIGCONT)
    log = leader.log
    wait(lambda: log.read_text().count('"deposed"') > said)
    after = writes(leader)
    # What it wrote between the first reading and the pause was before anybody took over.
    stopped_at = time.time() - (time.monotonic() - began)
    late = after[WRITES[0]] > stopped_at + 0.5 or after[WRITES[1]] > before[WRITES[1]] + 1
    return taken_s, f"woken it wrote: {before} then {after}" if late else ""


def find(options: argparse.Namespace) -> dict[int, Found]:
    """All rounds on one stack."""
    taken, trouble = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        logs = folder / "logs"
        with LocalStack.on_free_ports(folder / "data", logs=logs, **SETTINGS) as stack:
            environment = stack.worker.environment | {
                "LEARNDROP_METRICS_PORT": str(port := free_port()),
                "LEARNDROP_CONSUMER": "worker-2",
            }
            second = Child("worker", "127.0.0.1", port, environment=environment, log=logs / "2.log")
            second.start()
            sender = Sender(stack.service.url)
            try:
                second.wait_until_healthy(PATIENCE_S)
                sender.start()
                for _ in range(options.rounds):
                    seconds, wrong = one_round(stack.worker, second)
                    taken.append(seconds)
                    trouble += [wrong] if wrong else []
                sender.ended.set()
                sender.join()
                with Client(stack.service.url) as client:
                    client.wait_learned(PATIENCE_S)
                    # what is learned is off the account with the checkpoint after it
                    wait(lambda: client.state()["samples"]["pending"] == 0)
                    account = client.state()["samples"]
            finally:
                sender.ended.set()
                second.kill()
    once = (sender.sent, sender.sent, 0)
    if (account["accepted"], account["learned"], account["pending"]) != once:
        trouble.append(f"{sender.sent} were sent, the account is {account}")
    return {
        22: Found(
            f"taken over within {max(taken):.1f} s (lease {LEASE_S:g} s),"
            f" {len(trouble)} writes of woken workers, {account['learned']} of {sender.sent}"
            " samples learned, each once",
            f"{options.rounds} pauses of {3 * LEASE_S:g} s",
            max(taken) <= TAKEN_OVER_WITHIN_S and not trouble,
            "; ".join(trouble),
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="pauses")
    sys.exit(report(find, parser, rows=[22]))
