"""Row 13: a new model version every two seconds under a steady load of predictions.

The worker makes the first version and is stopped; a process of its own (tests/soak/publishing.py)
then publishes the versions. The same load without swaps is what the waiting is compared with; the
two take turns, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from deploy.children import ROOT
from deploy.local import LocalStack
from learndrop.client import Client
from learndrop.settings import Settings
from tests.rows import Found, arguments, report
from tests.services import npz, pixels
from tests.soak.paced import Answer, Answers, p99_ms, paced
from tests.soak.watching import MIB, Memory

SIDE = 32
MOST_TIMES, MOST_MIB, SOON_S = 1.2, 5.0, 1.0
LAST = 50
TURNS = 5  # of the load with swaps, each behind a shorter one without
SETTLES_S = 5.0  # of a load that is not counted: a process starts, or has ended


class Publisher:
    """A process that publishes a version every so many seconds, as the worker is one: here its
    work would hold up the client, whose waiting is measured."""

    def __init__(self, settings: Settings, every_s: float) -> None:
        told = map(str, (settings.models_dir, settings.versions_kept, every_s))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.publishing", *told],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> dict[int, float]:
        """End it after the version in hand; when each was out (time.monotonic), by number."""
        lines, _ = self._process.communicate("", timeout=60)
        pairs = (line.split() for line in lines.splitlines())
        return {int(number): float(at) for number, at in pairs}


def lateness(answers: list[Answer], published: dict[int, float]) -> list[float]:
    """For each version but the last two, seconds from its publication to the first answer by it or
    a newer one; for one that no answer came from in time, infinity."""
    told = sorted(
        (one.due + one.seconds, one.told["model_version"])
        for one in answers
        if one.status == 200 and one.told is not None
    )
    late = []
    for number, at in list(published.items())[:-2]:
        first = next((when for when, version in told if version >= number), float("inf"))
        late.append(first - at)
    return late


def since(published: dict[int, float], begin: float) -> dict[int, float]:
    """The versions that were out only after the load began."""
    return {number: at for number, at in published.items() if at > begin}


def prepared(stack: LocalStack) -> None:
    """A version of something learned is out, and no worker runs any more."""
    with Client(stack.service.url) as client:
        client.learn(pixels(256, SIDE), list("abcd") * 64)
        client.wait_learned(timeout_s=60)
        client.predict(pixels(1, SIDE))
    stack.worker.stop()


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Without swaps, then with them."""
    seconds, picture = options.minutes * 60, npz(images=pixels(4, SIDE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = LocalStack.on_free_ports(
            folder / "data", logs=folder / "logs", network="small-resnet18", publish_s=0.5
        )
        with stack:
            prepared(stack)

            def asked(seconds: float) -> Answers:
                load = paced(
                    stack.service.url,
                    "/v1/predictions",
                    lambda n: picture,
                    a_second=options.rate,
                    seconds=seconds,
                    keep=True,
                )
                return asyncio.run(load)

            still, moved, late, swaps = Answers(), Answers(), [], 0
            with Memory(stack, every_s=options.every_s) as memory:
                for _ in range(TURNS):
                    asked(SETTLES_S)
                    still += asked(min(20.0, seconds / TURNS))
                    publisher = Publisher(stack.settings, options.every_s)
                    asked(SETTLES_S)
                    turn = asked(seconds / TURNS)
                    published = publisher.stop()
                    moved += turn
                    swaps += len(published)
                    late += lateness(turn.all, since(published, turn.all[0].due))
    held = [n for _, n in memory.read["service"]]
    last = min(LAST, len(held) - 1)
    growth = (held[-1] - held[-1 - last]) / MIB
    errors = [one for one in moved.all if one.status != 200]
    kinds = Counter(str((one.told or {}).get("type")) for one in errors) + Counter(moved.lost)
    still_ms, moved_ms = p99_ms(still.all), p99_ms(moved.all)
    passed = (
        not errors
        and not moved.lost
        and moved_ms <= MOST_TIMES * still_ms
        and growth <= MOST_MIB
        and max(late) <= SOON_S
    )
    return {
        13: Found(
            f"{len(errors) + len(moved.lost)} errors; predictions p99 {moved_ms:.1f} ms against"
            f" {still_ms:.1f} ms without swaps ({moved_ms / still_ms:.2f} x); over the last"
            f" {last * options.every_s:g} s {growth:+.1f} MiB; a new version answers within"
            f" {max(late):.2f} s",
            f"{swaps} swaps in {options.minutes:g} minutes, in {TURNS} turns; {len(moved.all)}"
            f" predictions of 4 pictures with swaps, {len(still.all)} without",
            passed,
            f"Answers {moved.statuses()}, what failed: {dict(kinds) or 'nothing'}. Every tensor"
            " differs in each version, so nothing is shared between them.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--every-s", type=float, default=2.0, help="seconds between two versions")
    parser.add_argument("--rate", type=float, default=10.0, help="predictions a second")
    sys.exit(report(find, parser, rows=[13]))
