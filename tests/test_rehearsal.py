"""How many replays go with each arriving sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from learndrop.learning import checkpoint
from learndrop.learning.labels import Labels
from tests.learning import digits, learn, quick_learner, quick_settings


def mixed() -> Labels:
    labels = Labels(["a", "b"])
    labels.take(["a", "b"] * 16)
    return labels


@pytest.mark.parametrize("from_scratch", [True, False])
def test_a_young_network_replays_unless_it_began_with_first_weights(from_scratch: bool) -> None:
    rehearsal = quick_learner().rehearsal
    assert rehearsal.replays(mixed(), 0, from_scratch=from_scratch) == int(from_scratch)


def test_a_mixed_stream_needs_none_once_the_world_is_known() -> None:
    assert quick_learner().rehearsal.replays(mixed(), 10_000, from_scratch=True) == 0


@pytest.mark.parametrize("classes", [300, 1000])
def test_a_mixed_stream_of_many_classes_is_not_narrow(classes: int) -> None:
    """Its newest samples are of fewer classes than there are: there are not more of them."""
    labels = Labels([str(c) for c in range(classes)])
    rng, rehearsal = np.random.default_rng(0), quick_learner().rehearsal
    for step in range(1, 801):
        labels.take([str(c) for c in rng.integers(0, classes, 32)])
        if step % 50 == 0:
            assert rehearsal.replays(labels, 10_000, from_scratch=True) == 0
            assert not rehearsal.narrow
    labels.take([str(c) for c in rng.integers(0, classes // 10, 256)])
    assert rehearsal.replays(labels, 10_000, from_scratch=True) == 1


@pytest.mark.parametrize("n", [1, 3, 6])
def test_a_quarter_of_the_replays_comes_from_anywhere_however_small_the_batches(n: int) -> None:
    learner = quick_learner(replays="1")
    images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3)).astype(np.uint8)
    learner.replay.add(images, np.arange(32) % 2, np.arange(32))
    learner.trainer.move_cut(2)
    learner.rehearsal.open_store()  # nothing is stored yet
    drawn = sum(len(learner.rehearsal.places(n)) for _ in range(400))
    assert drawn == pytest.approx(100 * n, rel=0.25)


def test_a_number_in_the_settings_holds() -> None:
    assert quick_learner(replays="2").rehearsal.replays(mixed(), 0, from_scratch=False) == 2


def test_a_restored_learner_still_knows_that_it_began_with_first_weights(tmp_path: Path) -> None:
    checkpoint.save(quick_learner(), tmp_path, "1-0", keep=1)
    found = checkpoint.load_latest(tmp_path, quick_settings(weights="first.pth"))
    assert found is not None
    learn(found[0], digits("clean", length=256))
    totals = found[0].ledger.totals()
    assert totals["forward_done"] == totals["forward_full"] > 0  # not one replay


def test_a_new_world_on_stored_maps_replays_no_more_than_dropping_pays_for() -> None:
    learner = quick_learner(classes=tuple("0123456789"))
    costs = learner.ledger.step_costs()
    learner.replay.new_world(since=0)
    given = []
    for cut in range(len(learner.chain)):
        learner.trainer.move_cut(cut)
        learner.rehearsal.open_store()
        given.append(learner.rehearsal.replays(mixed(), 10, from_scratch=False))
        assert costs[cut] * (1 + given[-1]) <= costs[0]
    assert given[0] == given[1] == 0 and given[-1] == 3
