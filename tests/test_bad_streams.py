"""What a bad stream, setting or network does: defined, told in the state, survived."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import learndrop
from learndrop.errors import BadNetwork
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.stream.messages import Sample
from tests.learning import QUICK, digits, learn, learned, quick_learner, quick_settings

CLEAN = digits("clean", length=4000)


def right(learner: Learner) -> float:
    """Share of right answers on 400 digits, without learning them."""
    answers = learner.predict(CLEAN.images[-400:]).argmax(1)
    truth = CLEAN.labels[-400:]
    hits = [learner.classes[a] == t for a, t in zip(answers, truth, strict=True)]
    return hits.count(True) / len(hits)


def weights(learner: Learner) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in learner.chain.state_dict().items()}


def spoil(learner: Learner, value: float) -> None:
    """What a diverged step leaves behind."""
    with torch.no_grad():
        for parameter in learner.chain.parameters():
            parameter.mul_(value)


def finite(learner: Learner) -> bool:
    return all(t.isfinite().all() for t in learner.chain.state_dict().values())


# -- loss that is no number, or explodes ---------------------------------------------------


def test_a_step_over_the_limit_moves_no_weight_no_momentum_and_is_told() -> None:
    learner = quick_learner(loss_limit=1e-6)
    before = weights(learner)
    report = learner.learn(next(CLEAN.batches(32)))
    assert [e.type for e in report.events] == ["grow", "skip"] and report.loss != report.loss
    after = learner.chain.state_dict()
    assert all(torch.equal(t, after[n]) for n, t in before.items() if "running" not in n
               and "num_batches" not in n and not n.startswith("fc"))  # fmt: skip
    assert all(not t.any() for t in learner.trainer.optimizer.momentum().values())
    state = learner.state()
    assert state["skipped_steps"] == 1
    assert any("the last step was not taken" in told for told in state["why"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e4])
@pytest.mark.parametrize("depth", [0, 4])
def test_spoilt_weights_are_replaced_by_the_last_good_ones(value: float, depth: int) -> None:
    learner = learned(2000, length=4000, drop=False)
    if depth:
        learner.drop_to(depth, "by hand")
    before = right(learner)
    spoil(learner, value)
    types = []
    for batch in list(CLEAN.batches(32))[:12]:
        types += [e.type for e in learner.learn(batch).events]
    assert "rollback" in types
    assert finite(learner) and right(learner) > before - 0.05
    assert learner.state()["taken_back"] == 1
    assert any("the last good weights came back" in told for told in learner.state()["why"])


def test_the_rate_is_halved_when_weights_come_back_and_rises_again_when_all_is_calm() -> None:
    learner = learned(2000, length=4000)
    usual = learner.rate
    spoil(learner, float("nan"))
    learner.learn(next(CLEAN.batches(32)))
    assert learner.guard.caution == 0.5 and learner.rate < 0.6 * usual
    learn(learner, digits("clean", length=32 * 4 * 17, seed=1))
    assert learner.guard.caution == 1.0 and learner.state()["why"] == []


def test_a_rate_at_which_everything_diverges_never_leaves_the_numbers() -> None:
    learner = quick_learner(rate=10.0, clip_norm=1e6, momentum=0.99, weight_decay=1.0)
    types = learn(learner, digits("clean", length=1500))
    assert {"skip", "rollback"} & set(types)
    assert finite(learner) and np.isfinite(learner.predict(CLEAN.images[:8])).all()
    learner.export()  # a version with a tensor that is no number would be refused here


def test_a_network_whose_first_answers_explode_gets_a_head_that_knows_nothing() -> None:
    class Loud(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.out = nn.Conv2d(3, 8, 3, 2), nn.Linear(8, 10)

        def forward(self, x: Tensor) -> Tensor:
            answers: Tensor = self.out(self.body(x).relu().mean((2, 3)))
            return 1e4 * answers

    learner = learndrop.Learner(Loud(), **{**QUICK, "rate": 1e-5})
    done = learner.learn_from(zip(CLEAN.images[:1000], CLEAN.labels[:1000], strict=True))
    assert [e.type for e in done.events if e.type == "rollback"]
    assert any("the head starts anew" in e.cause for e in done.events)
    assert learner.engine.progress.loss < 30


def test_what_was_good_survives_a_restart(tmp_path: Path) -> None:
    learner = learned(2000, length=4000)
    checkpoint.save(learner, tmp_path, "1-1", keep=1)
    found = checkpoint.load_latest(tmp_path, quick_settings())
    assert found is not None
    for one in (learner, found[0]):
        spoil(one, float("nan"))
        one.learn(next(CLEAN.batches(32)))
    assert right(found[0]) == right(learner) > 0.8


# -- labels and pictures that are not what they seem ---------------------------------------


def test_labels_all_wrong_for_a_while_are_unlearned_again_when_they_are_right() -> None:
    learner = learned(2000, length=4000)
    before = right(learner)
    rng = np.random.default_rng(0)
    for batch in list(CLEAN.batches(32))[:20]:  # 640 samples, every label drawn at random
        learner.learn([Sample(s.image, str(rng.integers(10))) for s in batch])
    assert finite(learner)
    assert learner.state()["drift"]["count"] >= 1  # noticed
    learn(learner, digits("clean", length=2000, seed=1))
    assert right(learner) > 0.9 * before  # what the engine itself calls recovered


def test_one_class_only_for_a_while_forgets_no_other_and_is_told() -> None:
    learner = learned(2000, length=4000)
    before = right(learner)
    sevens = [Sample(i, t) for i, t in zip(CLEAN.images, CLEAN.labels, strict=True) if t == "7"]
    for start in range(0, 320, 32):
        learner.learn(sevens[start : start + 32])
    assert any("the newest samples are of 1.0 classes" in told for told in learner.state()["why"])
    assert right(learner) > before - 0.1
    learn(learner, digits("clean", length=1000, seed=1))
    assert right(learner) > before - 0.03
    assert not any("the newest samples" in told for told in learner.state()["why"])


def test_who_replays_nothing_is_told_what_one_class_only_may_cost() -> None:
    learner = learned(960, length=4000, replays="0")
    sevens = [Sample(i, t) for i, t in zip(CLEAN.images, CLEAN.labels, strict=True) if t == "7"]
    for start in range(0, 160, 32):
        learner.learn(sevens[start : start + 32])
    told = " ".join(learner.state()["why"])
    assert "with LEARNDROP_REPLAYS at 0 the others may be forgotten" in told
    assert "replayed beside" not in told


def test_a_flood_of_one_picture_takes_one_place_and_is_told() -> None:
    learner = learned(2000, length=4000)
    before, held = right(learner), learner.replay.size
    copy = Sample(CLEAN.images[0].copy(), CLEAN.labels[0])
    for _ in range(30):
        learner.learn([copy] * 32)
    assert learner.replay.size == held
    assert any("960 of 2944 pictures came again" in told for told in learner.state()["why"])
    learn(learner, digits("clean", length=1000, seed=1))
    assert right(learner) > before - 0.05


def test_a_picture_that_comes_with_another_label_is_replayed_with_its_newest() -> None:
    learner = quick_learner()
    learner.learn([Sample(CLEAN.images[0], "a"), Sample(CLEAN.images[1], "b")])
    learner.learn([Sample(CLEAN.images[0], "b")])
    held = learner.replay.targets[: learner.replay.size].tolist()
    assert held == [1, 1]


def test_nothing_is_learned_of_nothing() -> None:
    learner = learned(2000, length=4000)
    before = weights(learner)
    report = learner.learn([])
    assert (report.count, report.events, learner.progress.samples) == (0, [], 1984)
    assert all(torch.equal(t, before[n]) for n, t in learner.chain.state_dict().items())


# -- settings and networks at their edges --------------------------------------------------


def test_a_budget_under_one_batch_of_maps_is_told() -> None:
    learner = quick_learner(feature_bytes=1000)
    assert any("LEARNDROP_FEATURE_BYTES is 1000" in told for told in learner.state()["why"])


@pytest.mark.parametrize("batch", [1, 2])
def test_small_batches_are_learned_with_batchnorm(batch: int) -> None:
    # without drops, which take the statistics anew for good reason
    learner = quick_learner(batch=batch, replays="0", rate=0.005, drop=False)
    start = weights(learner)
    learn(learner, digits("clean", length=40))
    after = learner.chain.state_dict()
    assert finite(learner) and not torch.equal(start["conv1.weight"], after["conv1.weight"])
    told = any("batches of one" in told for told in learner.state()["why"])
    assert told == (batch == 1)
    assert torch.equal(start["bn1.running_mean"], after["bn1.running_mean"]) == (batch == 1)


def test_a_network_of_a_single_unit_learns_and_says_that_nothing_can_be_dropped() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, 10))
    learner = learndrop.Learner(model, **QUICK)
    done = learner.learn_from(zip(CLEAN.images, CLEAN.labels, strict=True))
    assert len(learner.engine.chain) == 1 and done.accuracy > 0.5
    assert not {"freeze", "drop"} & {e.type for e in done.events}
    assert any("one unit" in told for told in learner.state()["why"])


@pytest.mark.parametrize("network", ["alexnet", "vgg11", "densenet121"])
def test_images_smaller_than_the_strides_are_refused_before_anything_starts(network: str) -> None:
    with pytest.raises(BadNetwork, match=f"{network} cannot take images of 16 px: too small"):
        quick_learner(network=network)


def test_a_model_of_ones_own_refuses_images_that_are_too_small() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 31), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(BadNetwork, match="Sequential cannot take an input of 3 x 16 x 16"):
        learndrop.Learner(model, **QUICK)
