"""The mean of the latest weights: what a unit takes along when it leaves training."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from learndrop.learning.learner import Learner
from learndrop.settings import load_settings
from learndrop.stream.messages import Sample
from learndrop.training.averages import DECAY, EVERY, Averages
from tests.learning import learned


class _OneWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def _walk(averages: Averages, p: nn.Parameter, values: list[float]) -> None:
    for value in values:
        with torch.no_grad():
            p.fill_(value)
        averages.after_step()


def test_the_first_looks_are_a_plain_mean_and_later_ones_an_exponential() -> None:
    layer = _OneWeight()
    averages = Averages()
    averages.follow([("weight", layer.weight)])
    seen = [0.0]
    expected = 0.0
    for look in range(1, 30):
        seen.append(float(look))
        _walk(averages, layer.weight, [float(look)] * EVERY)
        expected += max(1 - DECAY, 1 / (look + 1)) * (look - expected)
        if look < 9:
            assert abs(averages.tensors()["weight"].item() - sum(seen) / len(seen)) < 1e-5
    assert abs(averages.tensors()["weight"].item() - expected) < 1e-4


def test_a_unit_takes_the_mean_and_a_start_over_forgets_it() -> None:
    layer = _OneWeight()
    averages = Averages()
    averages.follow([("weight", layer.weight)])
    _walk(averages, layer.weight, [3.0] * EVERY)
    averages.take(layer)
    assert layer.weight.item() == 1.5
    _walk(averages, layer.weight, [7.0])
    averages.start_over()
    averages.take(layer)
    assert layer.weight.item() == 7.0


def test_a_head_that_grew_begins_as_it_stands_and_what_left_is_forgotten() -> None:
    averages = Averages()
    small, body = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    averages.follow([("body", body), ("head", small)])
    averages.follow([("head", nn.Parameter(torch.ones(3)))])
    assert averages.tensors().keys() == {"head"}
    assert averages.tensors()["head"].tolist() == [1.0, 1.0, 1.0]


def test_what_is_dropped_stands_at_its_mean_while_the_head_goes_on() -> None:
    settings = load_settings(
        network="small-resnet10", image_size=8, classes=("a", "b"), batch=8, precision="float32"
    )
    learner = Learner(settings)
    rng = np.random.default_rng(0)
    for _ in range(2 * EVERY):
        images = rng.integers(0, 255, (8, 8, 8, 3), dtype=np.uint8)
        learner.learn([Sample(i, "ab"[n % 2]) for n, i in enumerate(images)])
    means = {n: t.clone() for n, t in learner.trainer.averages.tensors().items()}
    live = {n: p.detach().clone() for n, p in learner.chain.named_parameters()}
    learner.drop_to(2, "a test")
    dropped = {n for u in learner.chain.units[:2] for n, _ in u.module.named_parameters()}
    for name, parameter in learner.chain.named_parameters():
        expected = means[name] if name in dropped else live[name]
        assert torch.equal(parameter, expected), name
    assert any(not torch.equal(means[n], live[n]) for n in dropped)
    assert dropped.isdisjoint(learner.trainer.averages.tensors())


def test_what_would_answer_worse_as_its_mean_stays_as_it_is() -> None:
    """In the midst of a change that nobody has noticed the mean is of what was."""
    learner = learned(1280)
    for mean in learner.trainer.averages.tensors().values():
        mean.zero_()
    before = {n: t.clone() for n, t in learner.chain.state_dict().items()}
    learner.drop_to(2, "a test")
    assert all(torch.equal(t, before[n]) for n, t in learner.chain.state_dict().items())
