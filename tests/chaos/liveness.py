"""Row 24: Redis hangs, a step hangs, and an hour in which nothing happens.

Redis is stopped (SIGSTOP): the service must say that it is not ready, the worker that Redis is
away, and neither may be restarted for it. A step that hangs must be seen by /healthz and end the
worker; what starts it again is a supervisor, here as in compose. The idle hour is a minute with the
bound on progress sixty times as tight as the default: false alarms are as near as in an hour, or
nearer, since the loop itself runs no faster.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

from tests.chaos.scene import Scene, scene
from tests.rows import Found, arguments, report
from worker.watchdog import STALLED

SEEN_WITHIN_S, GIVE_UP_S, HOUR_S = 10.0, 90.0, 3600.0
STALL_S = 4.0
USUAL_STALL_S = 120.0


def worker_health(here: Scene) -> tuple[int, dict[str, Any]]:
    """Status and body of the worker's /healthz; status 0 if it does not answer."""
    try:
        answer = httpx2.get(f"{here.stack.worker.url}/healthz", timeout=5.0)
    except httpx2.TransportError:
        return 0, {}
    return answer.status_code, answer.json()


def redis_hangs(here: Scene) -> tuple[float | None, float | None, list[str]]:
    """Seconds until both say so, seconds until all is well after it, and what was wrong."""
    pid, wrong = here.stack.redis.pid, []
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        seen = here.seconds_until(lambda: not here.ready(), GIVE_UP_S)
        said = here.seconds_until(lambda: worker_health(here)[1].get("redis") == "away", GIVE_UP_S)
        seen_s = None if seen is None or said is None else time.monotonic() - began
        time.sleep(max(0.0, 2.5 * STALL_S - (time.monotonic() - began)))
        if worker_health(here)[0] != 200 or not here.stack.service.healthy():
            wrong.append("/healthz asks for a restart, which mends nothing")
    finally:
        os.kill(pid, signal.SIGCONT)
    well_s = here.well_again(GIVE_UP_S)
    if here.stack.dead():
        wrong.append(f"{here.stack.dead()} ended")
    return seen_s, well_s, wrong


def step_hangs(here: Scene) -> tuple[float | None, float | None, list[str]]:
    """Seconds until /healthz says so, seconds until the worker has ended itself, what was wrong."""
    wrong = []
    (here.stack.data_dir / "hang").touch()
    assert here.taken(8)
    began = time.monotonic()
    seen_s = here.seconds_until(lambda: worker_health(here)[0] == 503, GIVE_UP_S)
    ended = here.seconds_until(lambda: here.stack.worker.exit_code is not None, GIVE_UP_S)
    ended_s = None if ended is None else time.monotonic() - began
    if here.stack.worker.exit_code != STALLED:
        wrong.append(f"the worker ended with {here.stack.worker.exit_code}")
    here.stack.worker.kill()
    here.stack.worker.start()
    if here.well_again(GIVE_UP_S) is None:
        wrong.append(f"not well after the restart: {here.account()}")
    account = here.account()
    if account["learned"] != account["accepted"]:
        wrong.append(f"account {account}")
    return seen_s, ended_s, wrong


def idle_hour(folder: Path, speed: float) -> int:
    """False alarms (and a worker that ended) while nothing arrives for an hour / speed."""
    with scene(folder, stall_s=USUAL_STALL_S / speed) as here:
        until = time.monotonic() + HOUR_S / speed
        alarms = 0
        while time.monotonic() < until:
            alarms += worker_health(here)[0] != 200
            time.sleep(0.2)
        return alarms + (here.stack.worker.exit_code is not None)


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Redis, then steps, then the hour."""
    with tempfile.TemporaryDirectory() as name, scene(Path(name), stall_s=STALL_S) as here:
        here.stack.worker.module = "tests.chaos.hanging_worker"
        here.stack.worker.kill()
        here.stack.worker.start()
        assert here.well_again(GIVE_UP_S) is not None
        hung = [redis_hangs(here) for _ in range(options.rounds)]
        stuck = [step_hangs(here) for _ in range(options.rounds)]
    with tempfile.TemporaryDirectory() as name:
        alarms = idle_hour(Path(name), options.speed)
    wrong = [text for _, _, texts in [*hung, *stuck] for text in texts]
    never = GIVE_UP_S
    redis_s = max(s or never for s, _, _ in hung)
    well_s = max(s or never for _, s, _ in hung)
    step_s = max(s or never for s, _, _ in stuck)
    ended_s = max(s or never for _, s, _ in stuck)
    return {
        24: Found(
            f"Redis hung: seen in {redis_s:.1f} s, well {well_s:.1f} s after; step hung: seen in"
            f" {step_s:.1f} s, ended by itself after {ended_s:.1f} s; {alarms} false alarms in an"
            " idle hour",
            f"{options.rounds} rounds of each, one idle hour {options.speed:g} x as fast",
            not wrong and max(redis_s, step_s) <= SEEN_WITHIN_S and ended_s < never and not alarms,
            f"With LEARNDROP_STALL_S at {STALL_S:g} s and Redis' time-out at 2 s; the defaults are"
            " 120 s and 5 s. " + "; ".join(wrong),
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--speed", type=float, default=60.0, help="of the idle hour")
    sys.exit(report(find, parser, rows=[24]))
