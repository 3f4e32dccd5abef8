"""Scores: exact where arithmetic is exact."""

from __future__ import annotations

import math

import pytest
import torch

from learndrop.scores import MotionScorer


def run(steps: list[float], rate: float, start: float = 10.0) -> dict[str, float]:
    weight = torch.tensor([start], dtype=torch.float64)
    scorer = MotionScorer(segment=1)
    scorer.start({0: [weight]})
    for step in steps:
        weight += step
        scorer.after_step(rate)
    return scorer.read()[0]


def test_motion_is_displacement_over_size_and_rates() -> None:
    assert run([1.0, 1.0], rate=0.5)["motion"] == pytest.approx(2 / (10 * 1.0))


def test_a_falling_rate_alone_does_not_look_like_learning_less() -> None:
    assert run([0.5, 0.5], 0.25)["motion"] == pytest.approx(run([1.0, 1.0], 0.5)["motion"])


def test_directedness_is_one_straight_ahead_and_zero_back_home() -> None:
    assert run([1.0, 1.0, 1.0], 0.1)["directedness"] == pytest.approx(1.0)
    assert run([1.0, -1.0], 0.1)["directedness"] == 0.0


def test_a_random_walk_is_directed_by_one_over_root_of_its_steps() -> None:
    torch.manual_seed(0)
    weights = torch.zeros(20_000, dtype=torch.float64) + 1
    scorer = MotionScorer(segment=1)
    scorer.start({0: [weights]})
    for _ in range(16):
        weights += torch.randn(20_000, dtype=torch.float64)
        scorer.after_step(0.1)
    assert scorer.read()[0]["directedness"] == pytest.approx(1 / math.sqrt(16), rel=0.05)


def test_a_unit_without_parameters_has_no_score() -> None:
    scorer = MotionScorer()
    scorer.start({0: []})
    assert scorer.read() == {}


def test_goes_on_identically_after_save_and_load() -> None:
    torch.manual_seed(0)
    weight = torch.randn(5)
    one, other = MotionScorer(), MotionScorer()
    one.start({1: [weight]})
    for _ in range(6):
        weight += 0.1
        one.after_step(0.1)
    other.start({1: [weight]})
    other.load(*one.state())
    for _ in range(6):
        weight -= 0.3
        one.after_step(0.1)
        other.after_step(0.1)
    assert one.read() == other.read()
