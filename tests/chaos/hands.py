"""Row 19: what an operator's hand in Redis can do to a running worker, and how soon it is well.

After each act new samples are posted until they are taken, and the stopwatch ends when everything
is learned or buried and the account adds up. Lines of the logs are counted meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from learndrop.server.keys import GROUP
from tests.chaos.scene import Scene, scene
from tests.rows import Found, arguments, report

BACK_WITHIN_S = 5.0
MOST_LINES_A_SECOND = 10.0
GIVE_UP_S = 30.0


@dataclass
class Act:
    """What was done, and what came of it: seconds until all was well, lines, what went wrong."""

    name: str
    well_s: float | None
    lines_a_second: float
    wrong: str = ""

    @property
    def good(self) -> bool:
        back = self.well_s is not None and self.well_s <= BACK_WITHIN_S
        return back and self.lines_a_second < MOST_LINES_A_SECOND and not self.wrong


def played(here: Scene, name: str, act: Callable[[], str]) -> Act:
    """Do it; `act` returns what it found wrong at once, or nothing."""
    lines, began = here.lines(), time.monotonic()
    wrong = act()
    well_s = here.well_again(GIVE_UP_S)
    if well_s is not None and not here.balanced():
        wrong += f" the account does not add up: {here.account()}"
    rate = (here.lines() - lines) / max(1.0, time.monotonic() - began)
    return Act(name, well_s, rate, wrong.strip())


def vanished(here: Scene, remove: Callable[[list[bytes]], object]) -> str:
    """Let entries wait, take some away, and see that each is counted as gone."""
    here.stack.worker.kill()
    before = here.account()
    assert here.taken(40)
    ids = [entry_id for entry_id, _ in here.redis.xrange(here.keys.stream)]
    remove(ids)
    here.stack.worker.start()
    here.stack.worker.wait_until_healthy(60.0)
    if here.seconds_until(here.settled, GIVE_UP_S) is None:
        return f"not settled: {here.account()}"
    after = here.account()
    gone = after["vanished"] - before["vanished"]
    learned = after["learned"] - before["learned"]
    return "" if (gone, learned) == (15, 25) else f"{gone} of 15 counted as gone, {learned} learned"


def flush(here: Scene) -> str:
    """FLUSHALL: the stream, the group and the account are gone, and none of it is forgotten."""
    assert here.taken(8)
    time.sleep(1.0)  # the worker looks at the account twice a second
    before = here.account()["accepted"]
    here.redis.flushall()
    assert here.taken(8)
    if here.seconds_until(here.settled, GIVE_UP_S) is None:
        return f"not settled: {here.account()}"
    after = here.account()["accepted"]
    return "" if after == before + 8 else f"{after} accepted, not {before} and 8"


def foreign(here: Scene) -> str:
    """Entries of other programs and of a version that nobody knows."""
    before = here.account()["buried"]
    here.redis.xadd(here.keys.stream, {"hello": "world"})
    here.redis.xadd(here.keys.stream, {"v": "999", "image": b"\0" * 100, "label": "a"})
    if here.seconds_until(here.settled, GIVE_UP_S) is None:
        return f"not settled: {here.account()}"
    buried = here.account()["buried"] - before
    return "" if buried == 2 else f"{buried} of 2 buried"


def wrong_type(here: Scene) -> str:
    """A string where the stream should be: it is set aside, and work goes on."""
    stream = here.keys.stream
    here.redis.delete(stream)
    here.redis.set(stream, "not a stream")
    if here.seconds_until(lambda: here.redis.type(stream) == b"stream", GIVE_UP_S) is None:
        return "the string lies there still"
    kept = here.redis.get(f"{stream}:set-aside")
    return "" if kept == b"not a stream" else f"the string was not kept: {kept!r}"


def find(options: argparse.Namespace) -> dict[int, Found]:
    """All acts, one after another, on one stack."""
    with tempfile.TemporaryDirectory() as folder, scene(Path(folder)) as here:
        stream, consumer = here.keys.stream, here.stack.settings.consumer
        hand = here.redis

        def trim(ids: list[bytes]) -> None:
            hand.xtrim(stream, minid=ids[15].decode(), approximate=False)

        def destroy() -> str:
            hand.xgroup_destroy(stream, GROUP)
            return ""

        def forget() -> str:
            hand.xgroup_delconsumer(stream, GROUP, consumer)
            return ""

        acts = {
            "XGROUP DESTROY": destroy,
            "XGROUP DELCONSUMER": forget,
            "XDEL of pending": lambda: vanished(here, lambda ids: hand.xdel(stream, *ids[:15])),
            "XTRIM of pending": lambda: vanished(here, trim),
            "foreign and future entries": lambda: foreign(here),
            "wrong type at the key": lambda: wrong_type(here),
            "FLUSHALL": lambda: flush(here),
        }
        done = [
            played(here, name, act) for _ in range(options.rounds) for name, act in acts.items()
        ]
        deaths = here.stack.dead()
    slowest = max((act.well_s or GIVE_UP_S) for act in done)
    loudest = max(act.lines_a_second for act in done)
    bad = [
        f"{a.name}: {a.wrong or f'{a.well_s} s, {a.lines_a_second:.1f}'}"
        for a in done
        if not a.good
    ]
    return {
        19: Found(
            f"back within {slowest:.1f} s, at most {loudest:.1f} log lines a second,"
            f" {len(done) - len(bad)} of {len(done)} acts good",
            f"{len(acts)} kinds of acts, {options.rounds} rounds",
            not bad and deaths is None,
            "; ".join(bad) + (f" {deaths} ended by itself" if deaths else ""),
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    sys.exit(report(find, parser, rows=[19]))
