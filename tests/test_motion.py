"""Motion and persistence: exact where arithmetic is exact."""

from __future__ import annotations

import pytest
import torch

from learndrop.scores.motion import MotionScorer


def run(steps: list[float], rate: float, start: float = 10.0) -> dict[str, float]:
    weight = torch.tensor([start], dtype=torch.float64)
    scorer = MotionScorer()
    scorer.start({0: [weight]})
    for step in steps:
        weight += step
        scorer.after_step(rate)
    return scorer.read()[0]


def windows(moves: list[torch.Tensor]) -> list[float | None]:
    """Persistence after each window, for one unit of two tensors that moves as told."""
    weights = [torch.zeros(3), torch.zeros(2)]
    scorer = MotionScorer()
    found = []
    for move in moves:
        scorer.start({0: weights})
        weights[0] += move[:3]
        weights[1] += move[3:]
        scorer.after_step(0.1)
        found.append(scorer.read()[0].get("persistence"))
    return found


def test_motion_is_displacement_over_size_and_rates() -> None:
    assert run([1.0, 1.0], rate=0.5)["motion"] == pytest.approx(2 / (10 * 1.0))


def test_a_falling_rate_alone_does_not_look_like_learning_less() -> None:
    assert run([0.5, 0.5], 0.25)["motion"] == pytest.approx(run([1.0, 1.0], 0.5)["motion"])


def test_persistence_is_the_cosine_with_the_window_before_the_last() -> None:
    a, b = torch.tensor([1.0, 0, 0, 0, 0]), torch.tensor([0.0, 0, 0, 0, 1])
    assert windows([a, b, 2 * a, -b]) == pytest.approx([None, None, 1.0, -1.0], abs=1e-6)
    assert windows([a, a, b])[2] == pytest.approx(0.0)


def test_a_random_walk_does_not_persist() -> None:
    torch.manual_seed(0)
    scorer, weights = MotionScorer(), torch.zeros(20_000)
    for _ in range(3):
        scorer.start({0: [weights]})
        weights += torch.randn(20_000)
        scores = scorer.read()[0]
    assert abs(scores["persistence"]) < 0.05


def test_after_a_drift_the_past_is_not_compared_with() -> None:
    scorer, weights = MotionScorer(), torch.ones(3)
    for i in range(4):
        scorer.start({0: [weights]})
        weights += 1
        if i == 3:
            scorer.forget()
        scores = scorer.read()[0]
    assert "persistence" not in scores


def test_a_unit_without_parameters_has_no_score() -> None:
    scorer = MotionScorer()
    scorer.start({0: []})
    assert scorer.read() == {}


def test_goes_on_identically_after_save_and_load() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5)
    one, other = MotionScorer(), MotionScorer()
    for _ in range(3):
        one.start({1: [weight]})
        weight += torch.randn(5)
        one.after_step(0.1)
        one.read()
    one.start({1: [weight]})
    weight += torch.randn(5)
    one.after_step(0.1)
    other.start({1: [weight]})
    other.load(*one.state())
    weight += torch.randn(5)
    for scorer in (one, other):
        scorer.after_step(0.1)
    assert one.read() == other.read()


def test_weights_that_came_back_do_not_look_settled() -> None:
    a, still = torch.tensor([1.0, 0, 0, 0, 0]), torch.zeros(5)
    assert windows([a, a, still, a, a]) == pytest.approx([None, None, None, 1.0, 1.0], abs=1e-6)
