"""A drift that takes little: the rate rises only as far, and nobody guesses for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from learndrop.drift.watch import Verdict
from learndrop.learning import checkpoint, drifts
from learndrop.learning.learner import Learner
from tests.learning import learned, quick_settings

DEPTH = 5  # units dropped: all but the head


def settled() -> Learner:
    """A learner of digits with a rate that has fallen, all units but the head dropped."""
    learner = learned(1920, classes=tuple("0123456789"), earlier_worlds=0)
    learner.drop_to(DEPTH, "by hand")
    learner.life.begun = 10 * learner.settings.rate_halving
    return learner


@pytest.mark.parametrize("lost, share", [(1.0, 1.0), (0.25, 1.0), (0.125, 0.5), (0.0, None)])
def test_the_rate_rises_by_what_is_lost(lost: float, share: float | None) -> None:
    learner = settled()
    top, before = learner.settings.rate, learner.rate
    assert before < 0.5 * top
    learner.bring_back(0, "by hand", lost=lost)
    assert learner.rate == pytest.approx(before if share is None else share * top)


def test_it_never_falls_by_a_drift() -> None:
    learner = settled()
    learner.life.begun = 0
    before = learner.rate
    learner.bring_back(0, "by hand", lost=0.001)
    assert learner.rate == pytest.approx(before)


def test_a_verdict_measures_what_is_lost() -> None:
    """On the newest samples: here nothing is, the world is the same."""
    learner = settled()
    before = learner.rate
    drifts.answer(learner, Verdict(None, [0.0] * 6, 0.5))
    assert learner.recent_events[-1].type == "reset"
    assert learner.rate == pytest.approx(before)


def test_where_nothing_tells_what_changed_the_next_window_has_to_show_that_it_is_over() -> None:
    learner = settled()
    window = learner.settings.window * learner.settings.batch
    assert window < learner.settings.recovery_samples
    drifts.answer(learner, Verdict(None, [0.0] * 6, 0.9))
    assert learner.recovery is not None and learner.trainer.cut == DEPTH
    assert learner.recovery.due_samples == learner.progress.samples + window
    assert learner.recent_events[-1].cause.startswith("pictures and names are much as before")


def test_names_that_are_found_have_as_long_as_any_reset() -> None:
    learner = settled()
    drifts.answer(learner, Verdict(None, [0.0] * 6, 0.9, 0.9, {0: 1, 1: 0}))
    assert learner.recovery is not None
    due = learner.progress.samples + learner.settings.recovery_samples
    assert learner.recovery.due_samples == due


def test_a_restart_keeps_the_rate(tmp_path: Path) -> None:
    learner = settled()
    learner.bring_back(0, "by hand", lost=0.125)
    checkpoint.save(learner, tmp_path, position="0-0", keep=1)
    found = checkpoint.load_latest(tmp_path, quick_settings(earlier_worlds=0))
    assert found is not None and found[0].rate == learner.rate
