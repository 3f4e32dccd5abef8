"""Row 8: ten times what the worker learns, for minutes: what the processes hold, and who waits.

The load is open: posts are due at fixed times. Refusals and predictions are timed from when they
were due. The bound on what may wait is set low, so that it is reached in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx2
import numpy as np

from deploy.local import LocalStack
from learndrop.client import Client
from tests.rows import Found, arguments, report
from tests.services import npz, pixels
from tests.soak.paced import Answers, p99_ms, paced
from tests.soak.stack import small_stack
from tests.soak.watching import MIB, Memory

BATCH = 64
SIDE = 32
WARM = 1500
MOST_MIB, MOST_REFUSAL_MS, MOST_TIMES = 64.0, 50.0, 2.0


def bodies(count: int) -> list[bytes]:
    """Labelled batches, made before the clock runs."""
    return [
        npz(images=pixels(BATCH, SIDE, seed), labels=np.array(list("abcd") * (BATCH // 4)))
        for seed in range(count)
    ]


async def both(
    url: str, samples: list[bytes], rate: float, seconds: float
) -> tuple[Answers, Answers]:
    """Samples at `rate` pictures a second, and five predictions a second beside."""
    picture = npz(images=pixels(1, SIDE))
    return await asyncio.gather(
        paced(
            url,
            "/v1/samples",
            lambda n: samples[n % len(samples)],
            a_second=rate / BATCH,
            seconds=seconds,
        ),
        paced(url, "/v1/predictions", lambda n: picture, a_second=5, seconds=seconds),
    )


def capacity(stack: LocalStack) -> float:
    """Samples a second that the worker learns of a full stream."""
    images, labels = pixels(WARM, SIDE), list("abcd") * (WARM // 4)
    with Client(stack.service.url) as client:
        client.learn(images, labels)
        client.wait_learned(timeout_s=120)
        before, began = client.state()["samples_learned"], time.monotonic()
        client.learn(images, labels)
        client.wait_learned(timeout_s=120)
        return float(client.state()["samples_learned"] - before) / (time.monotonic() - began)


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Idle, then overload."""
    samples = bodies(32)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = small_stack(
            folder,
            precision="float32",  # not by a race at the start, which whatever else runs can decide
            # What is meant to fill up over time is small enough to be full before the clock runs.
            replay_samples=1024,
            feature_bytes=8 * MIB,
            earlier_worlds=0,
            rate=0.005,  # the pictures are noise: with a high rate they are learned by heart, and
            # each refusal changes what comes, which is told as a drift
        )
        with stack:
            with Memory(stack) as usual:
                learns = capacity(stack)
                _, idle = asyncio.run(both(stack.service.url, samples, 0.0, options.idle_s))
            with Memory(stack) as memory:
                rate = options.times * learns
                posted, asked = asyncio.run(
                    both(stack.service.url, samples, rate, options.minutes * 60)
                )
            state = httpx2.get(f"{stack.service.url}/v1/state?events=1000", timeout=30.0).json()
            died = stack.dead()
    events = Counter(event["type"] for event in state["events"])
    changes = ", ".join(f"{events[kind]} {kind}s" for kind in ("drop", "reset"))
    slopes = memory.slope_mib_a_minute(options.minutes * 30)
    refused = [*posted.of(429), *posted.of(503)]
    growth = {part: (memory.most(part) - usual.most(part)) / MIB for part in memory.read}
    above_idle = ", ".join(f"{part} {mib:+.0f}" for part, mib in memory.growth_mib().items())
    rising = ", ".join(f"{part} {mib:+.1f}" for part, mib in slopes.items())
    idle_ms, loaded_ms, refusal_ms = p99_ms(idle.all), p99_ms(asked.of(200)), p99_ms(refused)
    statuses = set(posted.statuses()) | set(asked.statuses())
    strange = sorted(statuses - {200, 202, 429, 503})
    passed = (
        max(growth.values()) <= MOST_MIB
        and refusal_ms <= MOST_REFUSAL_MS
        and loaded_ms <= MOST_TIMES * idle_ms
        and not (strange or posted.lost or asked.lost or died)
    )
    held = ", ".join(f"{part} {mib:+.0f} MiB" for part, mib in growth.items())
    return {
        8: Found(
            f"{held}; refusals p99 {refusal_ms:.0f} ms; predictions p99 {loaded_ms:.0f} ms against"
            f" {idle_ms:.0f} ms idle; other answers: {strange or 'none'}",
            f"{options.minutes:g} minutes at {rate:.0f} samples/s, {options.times:g} x the"
            f" {learns:.0f}/s that are learned; answers {posted.statuses()}, predictions"
            f" {asked.statuses()}",
            passed,
            f"Requests without an answer: {len(posted.lost) + len(asked.lost)}."
            + (f" {died} ended by itself." if died else "")
            + " The client runs on the same cores; the worker's replay buffer and feature store are"
            " small (1024 samples, 8 MiB), so that they are full before, and weights of earlier"
            " worlds (up to 256 MiB, LEARNDROP_EARLIER_BYTES) are not kept. Memory: the most under"
            " overload above the most before it, while 3000 samples were learned at the worker's"
            f" own pace; units that are dropped and come back ({changes} in all) make the worker"
            " small and large again. Above the last moment before the overload,"
            f" idle: {above_idle} MiB. Slope in the second half: {rising} MiB a minute.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--times", type=float, default=10.0, help="of what the worker learns")
    parser.add_argument("--idle-s", type=float, default=40.0, help="seconds of predictions alone")
    sys.exit(report(find, parser, rows=[8]))
