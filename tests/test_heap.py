"""What a step freed goes back to the system where the steps change, and at each checkpoint."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import pytest

from learndrop.events import Event
from tests.loops import World, make
from tests.soak.paced import rss
from worker.heap import give_back

__all__ = ["make"]

MIB = 2**20
BLOCK = 100_000  # bytes: too small for a mapping of its own

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)


def held() -> float:
    return rss(os.getpid()) / MIB


def held_at_least() -> float:
    """Without what tests before this one have freed: else that is what is taken first."""
    give_back()
    return held()


def riddled() -> list[bytes]:
    """What is left of 200 MB when all but every 50th block is freed: the holes stay in the heap."""
    blocks = [b"x" * BLOCK for _ in range(2000)]
    return blocks[49::50]


def test_holes_between_what_is_still_held_are_given_back() -> None:
    before = held_at_least()
    kept = riddled()
    assert held() > before + 150
    give_back()
    assert held() < before + 50
    assert all(block == b"x" * BLOCK for block in kept)


@pytest.mark.parametrize(
    ("events", "saves", "given_back"),
    [
        (["drop"], False, True),
        (["publish", "reset"], False, True),
        (["grow"], False, False),
        ([], True, True),
    ],
)
def test_the_worker_gives_back_where_steps_change_and_at_checkpoints(
    make: Callable[..., World], events: list[Any], saves: bool, given_back: bool
) -> None:
    world = make(checkpoint_s=1000.0)
    world.tick_s = 1.0 if saves else 0.0  # the first checkpoint comes after a second
    world.publish(*"abcd")
    told = [Event(kind, 0.0, 4, "because", 1) for kind in events]
    world.learner.reports = [{"events": told}]
    before, kept = held_at_least(), list[bytes]()

    def riddle(turn: int) -> None:
        if turn == 0:
            kept.extend(riddled())

    world.before_turn = riddle
    world.run(turns=1)
    assert world.learner.labels == list("abcd") and kept
    assert (held() < before + 100) is given_back
    give_back()
