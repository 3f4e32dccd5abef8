"""A reset that left units out of training is enough only if the error is what it was before."""

from __future__ import annotations

import pytest

from learndrop.learning import drifts
from learndrop.learning.learner import Learner
from learndrop.learning.life import Recovery
from tests.learning import learned

DEPTH = 5  # units dropped: all but the head


def judged(learner: Learner, fall: float) -> Learner:
    """After a reset is held against an accuracy before that was higher by `fall`."""
    n = learner.settings.window * learner.settings.batch
    before = learner.progress.newest_accuracy(n) + fall
    assert before < 1 and 0.9 * before < before - fall  # more than nine tenths came back
    learner.recovery = Recovery(before, learner.progress.samples, kept=DEPTH)
    drifts.check_recovery(learner)
    return learner


@pytest.mark.parametrize("fall, back_to", [(0.02, DEPTH), (0.08, 0)])
def test_what_is_out_comes_back_where_the_error_is_more_than_chance_explains(
    fall: float, back_to: int
) -> None:
    learner = learned(1280, candidate=False)
    learner.drop_to(DEPTH, "by hand")
    assert judged(learner, fall).trainer.cut == back_to
    if back_to == 0:
        event = learner.recent_events[-1]
        assert event.type == "reset" and event.detail["kind"] == "all"
        assert "did not come back to" in event.cause and "the next stronger" in event.cause
        assert learner.recovery is not None and learner.recovery.kept == 0


def test_where_all_train_already_nine_tenths_are_enough() -> None:
    learner = learned(1280)
    learner.bring_back(0, "by hand")
    learner = judged(learner, 0.08)
    assert learner.recovery is None and learner.candidate is None


def test_while_answers_get_better_what_is_out_may_yet_do() -> None:
    learner = learned(1280, candidate=False)
    learner.drop_to(DEPTH, "by hand")
    wait = learner.settings.recovery_samples
    # the 128 before the newest were answered worse than they: so it is while answers get better
    learner.progress.add([n % 2 == 0 for n in range(128)])
    learner.progress.add([True] * 128)
    learner.recovery = Recovery(2.0, learner.progress.samples, kept=DEPTH)  # nothing is enough
    drifts.check_recovery(learner)
    assert learner.recovery is not None and learner.trainer.cut == DEPTH
    learner.recovery = Recovery(2.0, learner.progress.samples - wait, kept=DEPTH)
    drifts.check_recovery(learner)  # it had as long again
    assert learner.trainer.cut == 0
