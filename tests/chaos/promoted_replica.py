"""Row 21: a replica that has not heard the end is promoted; two servers on loopback, a real stack.

The replica takes over the address of the first server, as behind a virtual address or a proxy.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import redis

from deploy.embedded import EmbeddedRedis
from deploy.local import LocalStack
from learndrop.client import Client
from tests.chaos.standby import PATIENCE_S, SETTINGS, SIDE, wait
from tests.rows import Found, arguments, report

HEARD, UNHEARD, LATER = 200, 120, 40
WAITS_S = 3.0


def send(client: Client, number: int) -> None:
    """Send so many samples."""
    images = np.random.default_rng(number).integers(0, 256, (number, SIDE, SIDE, 3), np.uint8)
    client.learn(images, ["even", "odd"] * (number // 2))


def heard(first: EmbeddedRedis, replica: EmbeddedRedis) -> bool:
    """Whether the replica has everything."""
    with redis.Redis.from_url(first.url) as one, redis.Redis.from_url(replica.url) as other:
        written = int(one.info("replication")["master_repl_offset"])
        told = other.info("replication")
        return told["master_link_status"] == "up" and int(told["slave_repl_offset"]) >= written


def play(stack: LocalStack, replica: EmbeddedRedis, restart: Callable[[str], None]) -> list[str]:
    """The whole story; what went wrong in it."""
    trouble = []
    with Client(stack.service.url) as client:
        with redis.Redis.from_url(replica.url) as hand:
            hand.execute_command("REPLICAOF", "127.0.0.1", stack.redis.port)
            send(client, HEARD)
            client.wait_learned(PATIENCE_S)
            wait(lambda: heard(stack.redis, replica))
            hand.execute_command("REPLICAOF", "NO", "ONE")
        send(client, UNHEARD)
        client.wait_learned(PATIENCE_S)
        stack.redis.kill()
        replica.stop()
        replica.port = stack.redis.port
        replica.start()

        def gap() -> dict[str, Any] | None:
            try:
                told: dict[str, Any] | None = client.state().get("stream", {}).get("gap")
            except httpx2.HTTPError:
                return None
            return told

        noticed_s = wait(lambda: gap() is not None)
        told = gap() or {}
        if (told.get("kind"), told.get("samples")) != ("stream_behind", UNHEARD):
            trouble.append(f"told {told}, not {UNHEARD} samples that the stream lacks")
        send(client, LATER)
        time.sleep(WAITS_S)
        samples = client.state()["samples"]
        if samples["pending"] != LATER:
            trouble.append(f"it did not wait: {samples}")
        ready = httpx2.get(f"{stack.service.url}/readyz", timeout=10).json()
        if not any("LEARNDROP_ON_GAP" in warning for warning in ready["warnings"]):
            trouble.append(f"readyz does not name it: {ready}")
        restart("go_on")
        wait(lambda: client.state()["samples"]["pending"] == 0)
        samples = client.state()["samples"]
        total = HEARD + UNHEARD + LATER
        if (samples["accepted"], samples["learned"], samples["pending"]) != (total, total, 0):
            trouble.append(f"{total} were accepted, the account is {samples}")
    print(f"noticed after {noticed_s:.1f} s", file=sys.stderr)
    return trouble


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Each round with a stack and a replica of its own."""
    trouble: list[str] = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            replica = EmbeddedRedis(folder / "replica")
            stack = LocalStack.on_free_ports(folder / "data", logs=folder / "logs", **SETTINGS)

            def restart(on_gap: str, worker: Any = stack.worker) -> None:
                worker.stop()
                worker.environment["LEARNDROP_ON_GAP"] = on_gap
                worker.start()

            try:
                replica.start()
                stack.start()
                trouble += play(stack, replica, restart)
            finally:
                stack.kill()
                replica.kill()
    return {
        21: Found(
            f"the gap of {UNHEARD} samples was seen and counted, {LATER} later ones waited until"
            f" the worker was told to go on; {len(trouble)} faults",
            f"{options.rounds} promotions",
            not trouble,
            "; ".join(trouble),
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="promotions")
    sys.exit(report(find, parser, rows=[21]))
