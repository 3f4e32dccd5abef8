"""A copy stands trial at an alarm, while the learner already learns what has come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learndrop.drift.witness import Witness
from learndrop.dropping.probation import Probation
from learndrop.learning import checkpoint, returning
from learndrop.learning.learner import Learner
from learndrop.learning.life import Report
from learndrop.learning.trial import call, dismiss
from learndrop.learning.versions import pack
from learndrop.stream.messages import Sample
from tests.learning import digits, learned, quick_settings

DEPTH = 5  # units dropped


def settled(*, told: bool = True) -> Learner:
    """A learner of digits, all units but the head dropped; no weights to come back to."""
    named: dict[str, Any] = {"classes": tuple("0123456789")} if told else {}
    learner = learned(1920, earlier_worlds=0, **named)
    learner.drop_to(DEPTH, "by hand")
    return learner


def played(learner: Learner, world: str, length: int = 640) -> Iterator[Report]:
    for batch in digits(world, length=length, seed=1).batches(32):
        yield learner.learn(batch)


def until(type_: str, reports: Iterator[Report]) -> Report:
    return next(r for r in reports if type_ in {e.type for e in r.events})


def weights_of(learner: Learner, *, end: int = DEPTH) -> dict[str, Tensor]:
    units = learner.chain.units[:end]
    return {n: t.clone() for u in units for n, t in u.module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(t, b[n]) for n, t in a.items())


def witness_of(learner: Learner) -> Witness | None:
    """Asked so, mypy does not take it for what was assigned before."""
    return learner.witness


def test_at_an_alarm_all_units_train_and_the_copy_is_as_before() -> None:
    learner = settled()
    before = learner.chain.state_dict()
    kept = {n: t.clone() for n, t in before.items() if not n.startswith("fc.")}
    reports = played(learner, "rotated90")
    until("drift", reports)
    assert learner.trainer.cut == 0
    copied = witness_of(learner)
    assert copied is not None and copied.cut == DEPTH
    moved = weights_of(learner)
    assert not same(moved, {n: kept[n] for n in moved})
    stem = learner.state()["drop"]["units"][0]
    assert stem["state"] == "thawed" and stem["why"].endswith("until the drift's verdict")
    assert all(torch.equal(kept[n], copied.weights[n]) for n in kept)
    probes = learner.ledger.totals()["by_kind"]["probe"]
    next(reports)
    assert all(torch.equal(kept[n], copied.weights[n]) for n in kept)  # it learns nothing
    assert learner.ledger.totals()["by_kind"]["probe"] > probes  # and is paid for


def test_a_change_of_names_leaves_what_is_dropped_as_it_was_to_the_bit() -> None:
    learner = settled()
    before = weights_of(learner)
    reports = played(learner, "swap")
    until("drift", reports)
    assert learner.trainer.cut == 0 and not same(before, weights_of(learner))
    until("reset", reports)
    assert learner.trainer.cut == DEPTH and same(before, weights_of(learner))
    assert witness_of(learner) is None
    assert sum(r.correct for r in reports) > 0  # the stream goes on
    assert learner.progress.newest_accuracy(256) > 0.85


def test_maps_stored_before_outlive_a_change_of_names() -> None:
    learner = settled()
    list(played(learner, "clean", 320))
    learner.rehearsal.keeping.wanted = True
    learner.rehearsal.open_store()
    list(played(learner, "clean", 64))
    reports = played(learner, "swap")
    until("drift", reports)
    stored = learner.features.holds(learner.replay.ids[: learner.replay.size])
    until("reset", reports)
    now = learner.features.holds(learner.replay.ids[: learner.replay.size])
    assert stored.sum() > 0 and now[: len(stored)][stored].all()


def test_where_units_come_back_they_go_on_from_what_they_have_learned() -> None:
    learner = settled()
    before = weights_of(learner)
    reports = played(learner, "rotated90")
    until("drift", reports)
    report = until("reset", reports)
    (reset,) = [e for e in report.events if e.type == "reset"]
    assert reset.detail["kind"] == "touched" and witness_of(learner) is None
    stem = weights_of(learner, end=1)
    if learner.trainer.cut:  # else the step since the reset moved it too
        assert not same(stem, {n: before[n] for n in stem})
    assert not same(before, weights_of(learner))


def test_the_answers_of_the_trial_are_better_than_the_copy_s() -> None:
    learner = settled()
    until("drift", played(learner, "rotated90"))
    copied = witness_of(learner)
    assert copied is not None
    own = others = 0
    for batch in digits("rotated90", length=320, seed=2).batches(32):
        if witness_of(learner) is None:
            break
        x = learner.floats(np.stack([s.image for s in batch]))
        _, answers = copied.look(x, len(learner.classes))
        others += int((answers == learner.labels.take([s.label for s in batch])).sum())
        own += learner.learn(batch).correct
    assert own > others


def test_a_checkpoint_in_the_middle_of_a_trial_goes_on_as_if_there_were_none(
    tmp_path: Path,
) -> None:
    learner = settled()
    reports = played(learner, "rotated90")
    until("drift", reports)
    next(reports)
    assert witness_of(learner) is not None
    checkpoint.save(learner, tmp_path, "1-1", keep=1)
    found = checkpoint.load_latest(
        tmp_path, quick_settings(earlier_worlds=0, classes=tuple("0123456789"))
    )
    assert found is not None and witness_of(found[0]) is not None
    rest = list(digits("rotated90", length=512, seed=3).batches(32))
    for batch in rest:
        ours, theirs = learner.learn(batch), found[0].learn(batch)
        assert (ours.correct, ours.loss) == (theirs.correct, theirs.loss)
        assert [e.type for e in ours.events] == [e.type for e in theirs.events]
    assert same(weights_of(learner, end=6), weights_of(found[0], end=6))


def test_weights_taken_back_end_a_trial_and_what_was_dropped_stays_so() -> None:
    learner = settled()
    parts, _ = pack(learner)
    reports = played(learner, "rotated90")
    until("drift", reports)
    returning.put_back(learner, parts)
    assert witness_of(learner) is None and learner.trainer.cut == DEPTH
    next(reports)


def test_a_class_that_comes_in_the_middle_of_a_trial_is_learned() -> None:
    learner = settled(told=False)
    reports = played(learner, "rotated90")
    until("drift", reports)
    batch = next(digits("rotated90", length=32, seed=4).batches(32))
    learner.learn([Sample(s.image, "ten") for s in batch])
    assert "ten" in learner.classes
    until("reset", reports)
    assert learner.chain.classes >= len(learner.classes)


@pytest.mark.parametrize("own", [{"drop": False}, {"candidate": True}])
def test_nobody_is_called_where_all_train_or_a_candidate_does(own: dict[str, Any]) -> None:
    learner = learned(1920, classes=tuple("0123456789"), earlier_worlds=0, **own)
    if "candidate" in own:
        learner.drop_to(DEPTH, "by hand")
    for _ in played(learner, "rotated90"):
        assert witness_of(learner) is None or learner.candidate is None
    assert learner.life.drifts > 0


def test_a_probation_ends_with_an_alarm() -> None:
    """Its units had settled: they are out with the others, unless the drift touches them."""
    learner = settled()
    learner.trainer.move_cut(2)
    learner.settling.probation = Probation(1, 0.0, learner.progress.telling)
    call(learner)
    assert learner.trainer.cut == 0
    assert "frozen" not in {row["state"] for row in learner.state()["drop"]["units"]}
    dismiss(learner)
    assert learner.trainer.cut == 2


def test_a_change_of_names_is_told_in_a_slow_stream_too() -> None:
    """Names want eight answers of each label, however few come at a time."""
    learner = settled()
    batches = digits("swap", length=640, seed=1).batches(4)
    report = until("reset", (learner.learn(batch) for batch in batches))
    (reset,) = [e for e in report.events if e.type == "reset"]
    assert reset.detail["kind"] == "labels" and reset.detail["renamed"]
    assert learner.trainer.cut == DEPTH
