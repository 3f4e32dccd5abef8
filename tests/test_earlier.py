"""Worlds that come back: the weights that were learned in them come back with them."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pytest
import torch

from learndrop.drift.earlier import Earlier, Ended, restored
from learndrop.drift.watch import Verdict
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from tests.learning import digits, learn, learned, quick_learner, quick_settings

LENGTH = 3000
TWO = 2 * LENGTH - 16  # samples of two worlds, in whole batches


def ended(world: int) -> Ended:
    return Ended(world, 0, 100, 0.9, 0)


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.full((4,), value)}  # 16 bytes


def after_two(world: str) -> Learner:
    """A learner of two worlds and then of this one. The first two are learned once a process."""
    learner = learned(TWO, "clean", "rotated90", "clean", length=LENGTH)
    size = learner.settings.batch
    stream = digits("clean", "rotated90", world, length=LENGTH)  # alike in the first two worlds
    for batch in islice(stream.batches(size), TWO // size, None):
        learner.learn(batch)
    return learner


@pytest.fixture(scope="module")
def came_back() -> Learner:
    return after_two("clean")


def kinds(learner: Learner) -> list[str]:
    return [e.detail["kind"] for e in learner.recent_events if e.type == "reset"]


def test_weights_of_a_world_that_comes_back_come_back(came_back: Learner) -> None:
    learner = came_back
    assert kinds(learner) == ["touched", "earlier"]
    reset = [e for e in learner.recent_events if e.type == "reset"][-1]
    assert re.search(r"samples 0 to (29|30)\d\d", reset.cause)  # the first world
    assert reset.detail["accuracy"] > 0.9  # at once, before anything was learned again
    assert reset.depth > 0  # and what had been dropped in it is dropped again
    assert [e.world for e in learner.earlier.worlds] == [1]  # the turned one waits now


def test_its_samples_are_of_the_present_world_again(came_back: Learner) -> None:
    replay = came_back.replay
    ids, worlds = replay.ids[: replay.size], replay.worlds[: replay.size]
    of_the_first, of_the_second = ids < 2500, (ids > 3100) & (ids < 4900)
    assert of_the_first.any() and (worlds[of_the_first] == replay.world).all()
    assert (worlds[of_the_second] != replay.world).all()  # what is left of them


def test_a_new_world_is_learned_though_an_old_one_is_known() -> None:
    learner = after_two("noise90")
    assert "earlier" not in kinds(learner)
    assert learner.life.drifts >= 1


@pytest.mark.parametrize("world, kind", [("clean", "earlier"), ("noise90", "touched")])
def test_the_lesser_evil_in_a_world_that_is_new_is_no_world_that_came_back(
    world: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learned(LENGTH, "clean")
    known = {n: t.clone() for n, t in learner.chain.state_dict().items()}
    learner.earlier.keep(Ended(0, 0, 3000, learner.progress.newest_accuracy(256), 0), known)
    with torch.no_grad():  # present weights that answer nothing right in any world
        for parameter in learner.chain.units[-1].module.parameters():
            parameter.zero_()
    learner.replay.new_world(since=learner.progress.samples)
    told = iter([None, None, None, Verdict(onset=0, strengths=[9.0], accuracy_before=0.9)])
    monkeypatch.setattr(learner.watch, "update", lambda *_: next(told))
    for batch in digits(world, length=128, seed=1).batches(32):
        events = learner.learn(batch, train=False).events
    (reset,) = [e for e in events if e.type == "reset"]
    assert reset.detail["kind"] == kind


def test_the_oldest_give_way_by_number_and_by_bytes() -> None:
    earlier = Earlier(most=0, max_bytes=1000)
    earlier.keep(ended(0), weights(0.0))
    assert not earlier.worlds
    earlier = Earlier(most=2, max_bytes=1000)
    for world in range(4):
        earlier.keep(ended(world), weights(float(world)))
    assert [w.world for w in earlier.worlds] == [2, 3]
    earlier = Earlier(most=9, max_bytes=40)
    for world in range(4):
        earlier.keep(ended(world), weights(float(world)))
    assert [w.world for w in earlier.worlds] == [2, 3] and earlier.nbytes == 32
    earlier = Earlier(most=9, max_bytes=8)
    earlier.keep(ended(0), weights(0.0))
    assert not earlier.worlds


def test_what_is_kept_does_not_move_with_the_network() -> None:
    held = weights(1.0)
    earlier = Earlier(1, 100)
    earlier.keep(ended(0), held)
    held["w"].zero_()
    assert earlier.worlds[0].weights["w"].tolist() == [1.0] * 4


def test_a_head_that_has_grown_keeps_its_new_rows() -> None:
    learner = quick_learner(classes=("0", "1", "2"))
    old = {n: t.clone() for n, t in learner.chain.state_dict().items()}
    learner.trainer.grow(5)
    with torch.no_grad():
        for parameter in learner.chain.parameters():
            parameter.add_(1.0)
    grown = {n: t.clone() for n, t in learner.chain.state_dict().items()}
    restored(learner.chain, old)
    for name, tensor in learner.chain.state_dict().items():
        rows = len(old[name]) if tensor.ndim else None
        assert torch.equal(tensor[:rows] if rows else tensor, old[name])
        assert not rows or torch.equal(tensor[rows:], grown[name][rows:])


def test_a_checkpoint_takes_the_kept_worlds_along(came_back: Learner, tmp_path: Path) -> None:
    learner = came_back
    checkpoint.save(learner, tmp_path, position="7-0", keep=1)
    found = checkpoint.load_latest(tmp_path, quick_settings())
    assert found is not None
    resumed = found[0]
    assert resumed.earlier.to_json() == learner.earlier.to_json() != []
    for mine, theirs in zip(resumed.earlier.worlds, learner.earlier.worlds, strict=True):
        assert mine.weights.keys() == theirs.weights.keys()
        assert all(torch.equal(t, theirs.weights[n]) for n, t in mine.weights.items())
    ahead = digits("rotated90", length=640, seed=3)
    types = learn(learner, ahead)  # what was kept is used, alike in both
    assert "reset" in types and learn(resumed, ahead) == types
    state = learner.chain.state_dict()
    assert all(torch.equal(t, state[n]) for n, t in resumed.chain.state_dict().items())
