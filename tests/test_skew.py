"""Where few classes arrive, a step does not teach that all pictures are of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from learndrop.bench.streams import drifting
from learndrop.images import datasets
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.training.skew import log_shares
from tests.learning import digits, learn, quick_learner, quick_settings

NAMES = tuple("0123456789")
TEST = digits("clean", length=512, seed=7)


def right(learner: Learner) -> float:
    answers = np.array(learner.classes)[learner.predict(TEST.images).argmax(1)]
    return float(np.mean(answers == np.array(TEST.labels)))


def statistics(learner: Learner) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in learner.chain.state_dict().items() if "running_" in n}


def test_shares_are_of_what_arrives_and_of_an_even_draw_of_what_is_known() -> None:
    known = np.array([True, True, False, True])
    shares = np.exp(log_shares(np.array([1, 1, 1, 3]), 6, known))
    assert shares == pytest.approx([0.2, 0.5, 0.0, 0.3], abs=2e-4)
    assert shares[2] > 0  # a logarithm has to exist


def test_an_allowed_for_class_is_not_pushed_by_its_mere_frequency() -> None:
    """A head that knows nothing, and maps that say nothing: the loss asks for even answers."""
    targets = torch.tensor([0] * 28 + [1, 2, 3, 4])
    known = np.array([True] * 5 + [False] * 5)
    told = torch.from_numpy(log_shares(targets[:27].numpy(), 5, known))
    shares = {}
    for allowed in (False, True):
        twin = quick_learner(classes=NAMES)
        twin.trainer.move_cut(len(twin.chain) - 1)
        maps = torch.full((32, *twin.chain.units[-1].in_shape), 0.05)
        for _ in range(300):
            twin.trainer.step(maps, targets, 0.05, log_shares=told if allowed else None)
        logits = twin.trainer.run(maps[:1], twin.trainer.cut, len(twin.chain))[0]
        shares[allowed] = logits[:5].softmax(0)
    assert shares[False][0] > 0.8
    assert shares[True] == pytest.approx([0.2] * 5, abs=0.02)


def test_of_one_class_only_no_batchnorm_takes_statistics(tmp_path: Path) -> None:
    learner = quick_learner(classes=NAMES)
    learn(learner, digits("clean", length=1024))
    data = datasets.load("digits", 16)
    sevens = drifting(data, ["clean"], 1797, by_class=True)
    of_one = [s for batch in sevens.batches(32) for s in batch if s.label == "7"][:160]
    for at in range(0, 96, 32):  # until the newest samples are of one class mostly
        learner.learn(of_one[at : at + 32])
    while not learner.rehearsal.narrow:
        learner.learn(of_one[96:128])
    before = statistics(learner)
    learner.learn(of_one[128:160])
    assert all(torch.equal(t, before[n]) for n, t in statistics(learner).items())
    assert learner.replay.draw(20, balanced=True).size == 20
    checkpoint.save(learner, tmp_path, "1-0", keep=1)
    found = checkpoint.load_latest(tmp_path, quick_settings(classes=NAMES))
    assert found is not None and found[0].rehearsal.narrow  # known before its first step


@pytest.mark.parametrize("drop", [False, True])
def test_ordered_by_class_a_learner_goes_on_knowing_all_of_them(drop: bool) -> None:
    """Full fine-tuning went from 0.96 to 0.58 here while BatchNorm took what came for the world."""
    learner = quick_learner(classes=NAMES, drop=drop)
    learn(learner, digits("clean", length=1000))
    before = right(learner)
    ordered = drifting(datasets.load("digits", 16), ["clean"], 1797, seed=3, by_class=True)
    assert "drift" not in learn(learner, ordered)
    assert before > 0.9
    assert right(learner) > before - 0.03
