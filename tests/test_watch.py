"""The watch: what an alarm's trial says of the answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learndrop.drift.watch import Alarm, Verdict, Watch

CLASSES = 4


def judged(before: float, after: float, *, swapped: bool) -> Verdict:
    """The verdict after a rise of the error: names that are swapped, or answers gone astray;
    `before` and `after` are shares of answers that are drawn at random."""
    rng = np.random.default_rng(0)
    watch = Watch(1, delta=0.002, cooldown=0)

    def update(share: float, swap: bool) -> Alarm | Verdict | None:
        targets = rng.integers(0, CLASSES, 32)
        answers = targets ^ 1 if swap else targets.copy()
        astray = rng.random(32) < share
        answers[astray] = rng.integers(0, CLASSES, int(astray.sum()))
        watch.look([torch.from_numpy(rng.normal(size=(32, 3, 4, 4)).astype(np.float32))])
        return watch.update((answers == targets).tolist(), answers, targets)

    for _ in range(60):
        assert update(before, False) is None
    told: Alarm | Verdict | None = None
    for _ in range(200):
        told = update(after, swapped)
        if isinstance(told, Verdict):
            return told
    raise AssertionError(f"no verdict, but {told}")


def test_swapped_names_are_found() -> None:
    verdict = judged(0.05, 0.05, swapped=True)
    assert verdict.onset is None and verdict.renames == {0: 1, 1: 0, 2: 3, 3: 2}


def test_answers_that_went_astray_under_the_old_names_are_no_change_of_names() -> None:
    verdict = judged(0.3, 0.45, swapped=False)
    assert verdict.renames == {} and verdict.renamed_share is None


def test_names_that_changed_with_the_pictures_are_found() -> None:
    """Under new names most answers are right, though fewer than before: both have changed."""
    verdict = judged(0.05, 0.4, swapped=True)
    assert verdict.onset == 0 and verdict.renames == {0: 1, 1: 0, 2: 3, 3: 2}
    told = verdict.cause(["only"])
    assert told.startswith("the change begins at the input, and the labels changed; with new names")


def test_scattered_answers_tell_no_names() -> None:
    """Chance lets some labels have half of one answer; that is no name."""
    verdict = judged(0.05, 0.9, swapped=False)
    assert verdict.onset == 0 and verdict.renames == {}


@pytest.mark.parametrize("batch", [4, 32, 256])
def test_all_of_a_batch_behind_the_alarm_is_of_the_new_world(batch: int) -> None:
    """A world that begins with a batch, and is noticed in the middle of one."""
    rng, watch, came = np.random.default_rng(0), Watch(1, delta=0.002, cooldown=0), 0

    def update(share_right: float) -> Alarm | Verdict | None:
        right = rng.random(batch) < share_right
        watch.look([torch.from_numpy(rng.normal(size=(16, 3, 4, 4)).astype(np.float32))])
        return watch.update(right.tolist(), np.zeros(batch, np.int64), np.zeros(batch, np.int64))

    for _ in range(1024 // batch):
        assert update(0.9) is None
    told = None
    while told is None:
        told, came = update(0.1), came + batch
    assert isinstance(told, Alarm)
    assert came - 16 <= told.samples <= came + 64
