"""Mixup of maps: shares add up, arriving rows stay, and the loss is that of both labels."""

from __future__ import annotations

import numpy as np
import torch

from learndrop.training.mixup import Mix, cross_entropy, mix_rows
from tests.learning import digits, learn, quick_learner

MAPS = torch.arange(24.0).reshape(6, 4)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])


def test_arriving_rows_stay_and_replayed_ones_are_mixed_by_their_shares() -> None:
    maps, mix = mix_rows(MAPS, TARGETS, first=2, alpha=1.0, rng=np.random.default_rng(3))
    assert torch.equal(maps[:2], MAPS[:2]) and mix.shares[:2].tolist() == [1.0, 1.0]
    assert not torch.equal(maps[2:], MAPS[2:])
    for row in range(2, 6):
        partner = next(
            p
            for p in range(2, 6)
            if torch.allclose(
                mix.shares[row] * MAPS[row] + (1 - mix.shares[row]) * MAPS[p], maps[row]
            )
            and TARGETS[p] == mix.others[row]
        )
        assert partner >= 2


def test_the_loss_is_that_of_labels_that_are_mixed_alike() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    mix = Mix(TARGETS.flip(0), torch.linspace(0, 1, 6))
    one_hot = torch.nn.functional.one_hot
    soft = mix.shares[:, None] * one_hot(TARGETS, 3) + (1 - mix.shares[:, None]) * one_hot(
        mix.others, 3
    )
    assert torch.isclose(
        cross_entropy(logits, TARGETS, mix), torch.nn.functional.cross_entropy(logits, soft)
    )


def test_a_learner_that_mixes_learns_other_weights_and_still_learns() -> None:
    mixed, plain = (quick_learner(feature_mixup=a, replays="1") for a in (0.2, 0.0))
    for learner in (mixed, plain):
        learner.drop_to(2, "for the test")
        learn(learner, digits("clean", length=1600))
    ours, theirs = mixed.chain.state_dict(), plain.chain.state_dict()
    assert any(not torch.equal(t, theirs[n]) for n, t in ours.items())
    assert mixed.progress.newest_accuracy(256) > 0.5
