"""Row 18: the clock of the machine jumps under all three processes, and an id from the future.

An hour ahead, an hour behind, a second twice (as a leap second does); after each jump samples are
posted until they are taken and learned. Then somebody writes an entry whose id lies an hour ahead,
from which every later id must go on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.faked import Clock, moved
from tests.chaos.load import body
from tests.chaos.scene import Scene, scene
from tests.rows import Found, arguments, report

HOUR_S = 3600
WELL_WITHIN_S, GIVE_UP_S = 10.0, 60.0
JUMPS = {"an hour ahead": HOUR_S, "back": 0, "an hour behind": -HOUR_S, "a second twice": -3601}


def jump(here: Scene, clock: Clock, name: str, offset_s: int) -> list[str]:
    """Move the clock; what went wrong after it."""
    numbers, headers = here.ledger.take(8), {"content-type": "application/x-npz"}
    headers["Idempotency-Key"] = f"before-{name.replace(' ', '-')}-{numbers[0]}"
    first = here.http.post("/v1/samples", content=body(numbers), headers=headers)
    worker = here.stack.worker.pid
    clock.set(offset_s)
    wrong = []
    statuses = [here.post().status_code for _ in range(20)]
    if set(statuses) != {202}:
        wrong.append(f"answers {sorted(set(statuses))}")
    again = here.http.post("/v1/samples", content=body(numbers), headers=headers)
    if again.status_code != first.status_code or again.json()["ids"] != first.json()["ids"]:
        wrong.append("the answer to an Idempotency-Key is not remembered")
    well_s = here.well_again(GIVE_UP_S)
    if well_s is None or well_s > WELL_WITHIN_S:
        wrong.append(f"well after {well_s} s")
    if not here.ready():
        wrong.append("not ready")
    if here.stack.dead() or here.stack.worker.pid != worker:
        wrong.append(f"ended: {here.stack.dead()}")
    account = here.account()
    if account["learned"] != account["accepted"]:
        wrong.append(f"account {account}")
    return [f"{name}: {text}" for text in wrong]


def future_id(here: Scene) -> list[str]:
    """An entry written by hand an hour ahead of the clock; ids go on from there."""
    before = here.account()["buried"]
    ahead = int((time.time() + HOUR_S) * 1000)
    here.redis.xadd(here.keys.stream, {"hello": "world"}, id=f"{ahead}-0")
    wrong = []
    if here.well_again(WELL_WITHIN_S) is None:
        wrong.append(f"not well in {WELL_WITHIN_S:g} s: {here.account()}")
    answer = here.post()
    if answer.status_code != 202 or int(answer.json()["ids"][0].partition("-")[0]) < ahead:
        wrong.append(f"{answer.status_code}: {answer.text[:200]}")
    if here.account()["buried"] != before + 1:
        wrong.append(f"not buried: {here.account()}")
    here.stack.worker.kill()
    here.stack.worker.start()
    if here.well_again(GIVE_UP_S) is None:
        wrong.append(f"not well after a restart: {here.account()}")
    return [f"id from the future: {text}" for text in wrong]


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Every jump, then the id."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as name, moved(Path(name)) as clock:
        with scene(Path(name)) as here:
            for _ in range(options.rounds):
                for what, offset_s in JUMPS.items():
                    wrong += jump(here, clock, what, offset_s)
            wrong += future_id(here)
            learned = here.account()["learned"]
    return {
        18: Found(
            "; ".join(wrong) or "every sample taken and learned once, no 429, ready throughout",
            f"{options.rounds * len(JUMPS)} jumps of all three clocks and an id an hour ahead,"
            f" {learned} samples learned",
            not wrong,
            "A preloaded library (tests/chaos/clock.c) moves the wall clock of all three processes;"
            " the monotonic clock goes on, as on a machine whose clock is set.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    sys.exit(report(find, parser, rows=[18]))
