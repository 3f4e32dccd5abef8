"""A head at fault is told from a turned picture, though both leave the statistics of maps alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from learndrop.bench.faults import Fault
from learndrop.learning.learner import Learner
from tests.learning import digits, learned

CLEAN = 1920
HEAD = Fault(-1, strength=6.0)


def resets(learner: Learner, world: str, length: int) -> Iterator[Mapping[str, Any]]:
    for batch in digits(world, length=length, seed=1).batches(32):
        yield from (e.detail for e in learner.learn(batch).events if e.type == "reset")


def settled(**own: Any) -> Learner:
    """A learner of digits, all units but the head dropped; no weights to come back to."""
    learner = learned(CLEAN, classes=tuple("0123456789"), earlier_worlds=0, **own)
    assert learner.life.resets == 0
    learner.drop_to(5, "by hand")
    return learner


def test_noise_in_the_head_is_named_and_what_is_dropped_stays_so() -> None:
    learner = settled()
    HEAD.strike(learner)
    reset = next(resets(learner, "clean", 640))
    assert reset["onset"] == len(learner.chain.units)
    assert reset["returned"] == 0 and not reset["statistics"] and learner.trainer.cut == 5
    assert "begins at head" in learner.recent_events[-1].cause
    list(resets(learner, "clean", 640))
    assert learner.progress.newest_accuracy(128) > 0.8  # the head alone has learned again
    assert learner.trainer.cut == 5


@pytest.mark.parametrize("seed", [0, 1])
def test_a_turned_picture_is_a_change_of_the_input(seed: int) -> None:
    learner = settled(seed=seed)
    reset = next(resets(learner, "rotated90", 640))
    assert reset["onset"] is not None and reset["onset"] < len(learner.chain.units)
    assert reset["returned"] > 0
