"""Drifts of a stream with many classes: three samples of each in the trial after an alarm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from learndrop.bench.faults import Fault
from learndrop.bench.streams import Stream
from learndrop.drift import head_fault
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from tests.learning import quick_learner, quick_settings
from tests.many import CLASSES, coloured, partly

OWN: dict[str, Any] = {"classes": CLASSES, "earlier_worlds": 0}
CLEAN, DEPTH = 6400, 5


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    learner, folder = quick_learner(**OWN), tmp_path_factory.mktemp("many")
    for batch in coloured("clean", length=CLEAN).batches(32):
        learner.learn(batch)
    assert learner.progress.newest_accuracy(512) > 0.8
    learner.drop_to(DEPTH, "by hand")
    checkpoint.save(learner, folder, "0-0", keep=1)
    return folder


def again(folder: Path) -> Learner:
    found = checkpoint.load_latest(folder, quick_settings(**OWN))
    assert found is not None
    return found[0]


def reset(learner: Learner, stream: Stream) -> Mapping[str, Any]:
    """Play it to its first reset, and half a window of accuracy behind that."""
    told: Mapping[str, Any] = {}
    batches = stream.batches(32)
    while not told:
        events = learner.learn(next(batches)).events
        told = next((e.detail for e in events if e.type == "reset"), {})
    for _ in range(8):
        learner.learn(next(batches))
    return told


@pytest.mark.parametrize("renamed", [13, 40])
def test_new_names_are_told_and_nothing_comes_back(learned: Path, renamed: int) -> None:
    learner = again(learned)
    told = reset(learner, partly(coloured("clean", length=960, seed=1), renamed))
    assert told["kind"] == "labels" and told["returned"] == 0
    assert learner.trainer.cut == DEPTH
    assert len(told["renamed"]) >= 0.8 * renamed
    assert learner.progress.newest_accuracy(256) > 0.7  # without: 0.5 and 0.1


@pytest.mark.parametrize("world", ["rotated90", "rotated30"])
def test_turned_pictures_are_no_new_names(learned: Path, world: str) -> None:
    told = reset(again(learned), coloured(world, length=960, seed=1))
    assert told["kind"] == "touched" and told["returned"] > 0 and told["renamed"] == {}


def test_a_head_at_fault_is_named(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the means of four samples a label: 128 would be one of each of a hundred."""
    learner, asked, looked = again(learned), head_fault.told_by_means, []

    def told_by_means(before: Tensor, *others: Tensor) -> float:
        looked.append(len(before))
        return asked(before, *others)

    monkeypatch.setattr(head_fault, "told_by_means", told_by_means)
    Fault(-1, strength=6.0).strike(learner)
    told = reset(learner, coloured("clean", length=960, seed=1))
    assert told["onset"] == len(learner.chain.units) and told["returned"] == 0
    assert looked == [4 * len(CLASSES)]
