"""Row 23: an entry that kills the worker, among others that do not.

The loop, the stream and the lock are the real ones; the learner is a list (tests/tiny_worker.py)
that ends its process when it meets the label "poison". A supervisor starts the worker again after
each death, as compose and Kubernetes do.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from deploy.embedded import EmbeddedRedis
from learndrop.settings import Settings, load_settings
from learndrop.stream.account import Counts
from learndrop.stream.publisher import RedisPublisher
from tests.processes import Processes
from tests.rows import Found, arguments, report
from tests.tiny_worker import DIED, SIZE, numbered, saved

LONGEST_S = 300.0


async def play(settings: Settings, processes: Processes, samples: int) -> tuple[int, float, Counts]:
    """Deaths, seconds from the first start until all is learned or buried, and the account."""
    publisher = RedisPublisher(settings)
    poison = samples // 2
    for first in range(0, samples, 64):
        numbers = range(first, min(first + 64, samples))
        await publisher.publish([numbered(n, "poison" if n == poison else "fine") for n in numbers])
    began, deaths = time.monotonic(), 0
    worker = processes.start("tests.tiny_worker", settings)
    while (counts := await publisher.counts()).pending:
        if time.monotonic() - began > LONGEST_S:
            raise AssertionError(f"not done after {LONGEST_S:g} s: {counts}")
        if worker.poll() is not None:
            if worker.returncode != DIED:
                raise AssertionError(processes.said(worker)[-2000:])
            deaths += 1
            worker = processes.start("tests.tiny_worker", settings)
        await asyncio.sleep(0.02)
    seconds = time.monotonic() - began
    worker.terminate()
    worker.wait(20)
    await publisher.close()
    return deaths, seconds, counts


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Play it once with the poison and take off what a start costs anyway."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = Processes(folder)
        with EmbeddedRedis(folder / "redis") as server:
            settings = load_settings(
                redis_url=server.url,
                data_dir=folder,
                image_size=SIZE,
                batch_wait_s=0.02,
                checkpoint_s=1.0,
            )
            try:
                deaths, seconds, counts = asyncio.run(play(settings, processes, options.samples))
            finally:
                processes.end()
        numbers = saved(folder)[0]
    poison = options.samples // 2
    others = [n for n in range(options.samples) if n != poison]
    right = numbers == others and counts == Counts(options.samples, len(others), 1, 0)
    return {
        23: Found(
            f"buried after {deaths} deliveries, {len(numbers)} of {len(others)} others learned once"
            f" and in order, {seconds:.1f} s in all",
            f"{options.samples} samples, one of them poison",
            right and deaths == settings.max_deliveries and seconds < 60,
            "The seconds hold four starts of a worker without torch in its learner.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    sys.exit(report(find, parser, rows=[23]))
