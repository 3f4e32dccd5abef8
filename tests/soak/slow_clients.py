"""Row 12: 300 clients that send a byte a second and 300 that send nothing, beside predictions.

They are a process of their own (tests/soak/crowd.py): in this one their work would count as the
service's waiting. Predictions alone and among them take turns, since a thousand tell their 99th
percentile to a third at best, and a machine is not the same from one minute to the next.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from deploy.children import ROOT, Child, to_environment
from deploy.embedded import EmbeddedRedis
from deploy.ports import free_port
from learndrop.settings import load_settings
from tests.fuzz.probes import p99_s
from tests.published import publish
from tests.rows import Found, arguments, report
from tests.services import as_files, encoded, pixels

MOST_RATIO, LATE_S = 1.2, 2.0
EARLY_S = 0.05  # the service may take a connection before its client knows that it has one
GOOD = encoded(pixels()[0])


async def predictions(url: str, count: int, every_s: float) -> list[float]:
    """Ask that many times, at a steady pace; the waits in seconds. A failure counts as an hour."""
    waits = []
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        for _ in range(count):
            began = time.perf_counter()
            answer = await http.post("/v1/predictions", files=as_files([GOOD]))
            spent_s = time.perf_counter() - began
            waits.append(spent_s if answer.status_code == 200 else 3600.0)
            await asyncio.sleep(max(0.0, every_s - spent_s))
    return waits


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds: of predictions alone and among others, by round; until slow and idle ones were
    closed."""

    alone: list[list[float]] = field(default_factory=list)
    among: list[list[float]] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)


async def play(child: Child, options: argparse.Namespace) -> Waits:
    """Predictions alone, then the same ones with the others connected, and so on."""
    waits = Waits()
    await predictions(child.url, 50, 0.0)
    for _ in range(options.rounds):
        waits.alone.append(await predictions(child.url, options.predictions, 0.02))
        await among_others(child, options, waits)
    return waits


async def among_others(child: Child, options: argparse.Namespace, waits: Waits) -> None:
    """One round with slow and idle clients, from their coming until the last is gone."""
    others = subprocess.Popen(
        [sys.executable, "-m", "tests.soak.crowd", str(child.port), str(options.clients)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    await asyncio.sleep(1.5)  # until they are connected
    waits.among.append(await predictions(child.url, options.predictions, 0.02))
    told = json.loads(others.communicate(timeout=120)[0])
    waits.slow.extend(told["slow"])
    waits.idle.extend(told["idle"])


def measure(options: argparse.Namespace) -> Waits:
    """Start Redis and a service with a model, and play."""
    with tempfile.TemporaryDirectory() as name, EmbeddedRedis(Path(name) / "redis") as server:
        settings = load_settings(
            redis_url=server.url, data_dir=Path(name), port=free_port(), log_level="warning",
            body_timeout_s=options.body_s, head_timeout_s=options.head_s,
        )  # fmt: skip
        publish(Path(name))
        child = Child(
            "service", settings.host, settings.port,
            environment=to_environment(settings) | {"OMP_NUM_THREADS": "1"},
            log=Path(name) / "service.log",
        )  # fmt: skip
        child.start()
        try:
            child.wait_until_healthy(90)
            return asyncio.run(play(child, options))
        finally:
            child.kill()


def find(options: argparse.Namespace) -> Mapping[int, Found]:
    """Alone and among slow and idle clients in turns, on the same service."""
    waits = measure(options)
    among, alone = sum(waits.among, []), sum(waits.alone, [])
    among_s, alone_s = p99_s(among), p99_s(alone)
    rounds = [p99_s(a) / p99_s(b) for a, b in zip(waits.among, waits.alone, strict=True)]
    slow, idle = waits.slow, waits.idle
    in_time = max(slow) <= options.body_s + LATE_S and max(idle) <= options.head_s + LATE_S
    too_soon = min(slow) < options.body_s - EARLY_S or min(idle) < options.head_s - EARLY_S
    told = [
        f"predictions p99 {1000 * among_s:.1f} ms among them, {1000 * alone_s:.1f} ms alone:"
        f" {among_s / alone_s:.2f} x",
        f"slow ones closed after {min(slow):.1f} to {max(slow):.1f} s (stated {options.body_s:g})",
        f"idle ones after {min(idle):.2f} to {max(idle):.2f} s (stated {options.head_s:g})",
    ]
    medians = [1000 * statistics.median(one) for one in (among, alone)]
    return {
        12: Found(
            figure=", ".join(told),
            count=f"{len(slow)} slow and {len(idle)} idle clients,"
            f" {len(among)} predictions each way",
            passed=among_s / alone_s <= MOST_RATIO and in_time and not too_soon,
            notes=f"Medians {medians[0]:.1f} and {medians[1]:.1f} ms. By round of"
            f" {options.predictions} and {options.clients} clients of each kind:"
            f" {', '.join(f'{r:.2f}' for r in rounds)} x.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--clients", type=int, default=300, help="of each kind")
    parser.add_argument("--predictions", type=int, default=1000, help="of one round, each way")
    parser.add_argument("--rounds", type=int, default=6, help="alone, then among them")
    parser.add_argument("--body-s", type=float, default=30.0, help="LEARNDROP_BODY_TIMEOUT_S")
    parser.add_argument("--head-s", type=float, default=15.0, help="LEARNDROP_HEAD_TIMEOUT_S")
    sys.exit(report(find, parser, rows=[12]))
