"""Running statistics follow the weights closely enough that answers are the network's own."""

import pytest
from torch import nn

from learndrop.images import datasets
from learndrop.stream.messages import Sample
from learndrop.training.norm_momentum import NEWEST, batch_norms, follow_closely
from tests.learning import quick_learner


@pytest.mark.parametrize("given", [0.01, 0.1, None])
def test_whatever_reaches_back_further_follows_closely(given: float | None) -> None:
    parts = _parts(momentum=given)
    follow_closely(parts)
    assert [norm.momentum for norm in batch_norms(parts)] == [NEWEST]


def test_what_follows_more_closely_already_is_left_alone() -> None:
    parts = _parts(momentum=0.7)
    follow_closely(parts)
    assert [norm.momentum for norm in batch_norms(parts)] == [0.7]


def test_answers_at_a_high_rate_are_better_than_with_statistics_that_lag() -> None:
    """The same 1,000 pictures, the same first weights; only the answers may differ at first."""
    close, lagging = quick_learner(drop=False), quick_learner(drop=False)
    batch = close.settings.batch
    for norm in batch_norms(u.module for u in lagging.chain.units):
        norm.momentum = 0.1
    data = datasets.load("digits", 16, 1000, seed=0)
    right = dict.fromkeys(("close", "lagging"), 0)
    for start in range(0, len(data), batch):
        part = slice(start, start + batch)
        samples = [Sample(i, x) for i, x in zip(data.images[part], data.labels[part], strict=True)]
        right["close"] += close.learn(samples).correct
        right["lagging"] += lagging.learn(samples).correct
    assert right["close"] > right["lagging"] + 30  # 3 points; 5 were seen


def _parts(momentum: float | None) -> list[nn.Module]:
    return [nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4, momentum=momentum), nn.ReLU())]
