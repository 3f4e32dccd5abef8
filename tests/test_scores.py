"""The scores by name: each exact where arithmetic is, and each able to lead the drop rule."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from learndrop.learning import checkpoint
from learndrop.networks import units
from learndrop.networks.catalogue import build
from learndrop.scores.catalogue import KEYS, SCORES, Together, make_scorer
from learndrop.scores.directedness import DirectednessScorer
from learndrop.scores.function_change import FunctionScorer, cka
from learndrop.scores.gradients import GradientScorer
from learndrop.scores.motion import ShareScorer
from learndrop.scores.scorer import Scorer
from learndrop.settings import Settings
from tests.learning import digits, quick_learner, quick_settings

NAMES = sorted(KEYS)


def walked(moves: list[Tensor]) -> float:
    weight = torch.zeros(len(moves[0]))
    scorer = DirectednessScorer()
    scorer.start({0: [weight]})
    for move in moves:
        weight += move
        scorer.after_step(0.1)
    return scorer.read()[0]["directedness"]


def test_directedness_is_displacement_over_path() -> None:
    east, north = torch.tensor([1.0, 0]), torch.tensor([0, 1.0])
    assert walked([east] * 8) == pytest.approx(1.0)
    assert walked([east] * 4 + [-east] * 4) == pytest.approx(0.0)
    assert walked([east] * 4 + [north] * 4) == pytest.approx(2**0.5 / 2)
    assert walked([east, -east, east, -east, east]) == pytest.approx(1.0)  # seen every fourth step


def test_directedness_of_a_random_walk_falls_with_the_root_of_its_looks() -> None:
    torch.manual_seed(0)
    assert walked([torch.randn(5000) for _ in range(64)]) == pytest.approx(16**-0.5, abs=0.03)


def pulled(scorer: GradientScorer, weight: nn.Parameter, pulls: list[float]) -> float:
    scorer.start({0: [weight]})
    for pull in pulls:
        weight.grad = torch.full_like(weight, pull)
        scorer.after_step(0.1)
    return scorer.read()[0]["gradient"]


def test_gradient_is_against_its_highest() -> None:
    scorer, weight = GradientScorer(), nn.Parameter(torch.full((3,), 2.0))
    assert pulled(scorer, weight, [4.0] * 4) == pytest.approx(1.0)
    assert pulled(scorer, weight, [9.0, 9.0, 9.0, 1.0] * 2) == pytest.approx(0.25)
    scorer.forget()
    assert pulled(scorer, weight, [1.0] * 4) == pytest.approx(1.0)


def test_gradient_says_nothing_of_a_window_without_a_look() -> None:
    scorer = GradientScorer()
    scorer.start({0: [nn.Parameter(torch.ones(1))]})
    scorer.after_step(0.1)
    assert scorer.read() == {0: {}}


def test_cka_knows_neither_scale_nor_rotation_but_a_new_function() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 8)
    rotation = torch.linalg.qr(torch.randn(8, 8))[0]
    assert cka(x, 3.0 * x @ rotation + 1.0) == pytest.approx(1.0, abs=1e-5)
    assert cka(x, torch.randn(64, 8)) < 0.5


def test_function_change_begins_at_the_unit_that_changed() -> None:
    torch.manual_seed(0)
    chain = units.cut(build("small-resnet10", 4), torch.zeros(1, 3, 16, 16))
    paid: list[tuple[int, int]] = []
    probe = torch.randn(16, 3, 16, 16)
    scorer = FunctionScorer(chain, lambda: probe, lambda n, beside: paid.append((n, beside)))
    parameters = {u.position: list(u.module.parameters()) for u in chain.units}
    scorer.start(parameters)
    assert all(not s for s in scorer.read().values())
    scorer.start(parameters)
    with torch.no_grad():
        for p in chain.units[2].module.parameters():
            p.add_(torch.randn_like(p))
    told = {u: s["function"] for u, s in scorer.read().items()}
    assert told[0] == pytest.approx(0, abs=1e-5) and told[1] == pytest.approx(0, abs=1e-5)
    assert all(told[u] > 0.01 for u in range(2, len(chain)))
    numbers = sum(math.prod(u.out_shape) for u in chain.units)  # that one picture has as outputs
    assert paid == [(16, 0), (16, 2 * 2 * 16 * 16 * numbers)]


def test_function_change_waits_for_its_probe() -> None:
    chain = units.cut(build("small-resnet10", 4), torch.zeros(1, 3, 16, 16))
    scorer = FunctionScorer(chain, lambda: None, lambda *_: None)
    scorer.start({u.position: list(u.module.parameters()) for u in chain.units})
    assert all(s == {} for s in scorer.read().values())


def test_motion_share_is_against_its_highest() -> None:
    weight, scorer, found = torch.ones(4), ShareScorer(), []
    for move in (0.4, 0.1):
        scorer.start({0: [weight]})
        weight.fill_(1.0)
        weight += move
        scorer._first[0][0].fill_(1.0)
        scorer.after_step(0.1)
        found.append(scorer.read()[0]["motion_share"])
    assert found == pytest.approx([1.0, 0.25])


@pytest.mark.parametrize("name", NAMES)
def test_a_score_goes_on_identically_after_save_and_load(name: str) -> None:
    chain = units.cut(build("small-resnet10", 4), torch.zeros(1, 3, 16, 16))
    probe = torch.randn(8, 3, 16, 16)
    made: Callable[[], Scorer] = lambda: make_scorer(name, chain, lambda: probe, lambda *_: None)  # noqa: E731
    parameters = {u.position: list(u.module.parameters()) for u in chain.units}
    torch.manual_seed(0)

    def steps(count: int, *scorers: Scorer) -> None:
        for _ in range(count):
            for ps in parameters.values():
                for p in ps:
                    p.grad = torch.randn_like(p)
                    with torch.no_grad():
                        p.sub_(0.01 * p.grad)
            for scorer in scorers:
                scorer.after_step(0.01)

    one, other = made(), made()
    for _ in range(3):
        one.start(parameters)
        steps(8, one)
        one.read()
    one.start(parameters)
    steps(5, one)
    tensors, data = one.state()
    other.start(parameters)
    other.load(tensors, json.loads(json.dumps(data)))
    steps(3, one, other)
    told = one.read()
    assert told == other.read()
    assert KEYS[name] in told[0]


@pytest.mark.parametrize("name", NAMES)
def test_any_score_can_lead_the_rule(name: str, tmp_path: Path) -> None:
    soon = {"settled_windows": 1, "warmup_windows": 0, "thaw_every": 0}
    learner = quick_learner(score=name, score_low=1.0, persistence_low=1.0, **soon)
    for batch in digits("clean", length=3200).batches(32):
        if "drop" in [e.type for e in learner.learn(batch).events]:
            break
    assert all(name in r.why or "warming" in r.why for r in learner.settling.rule.records[:-1])
    checkpoint.save(learner, tmp_path, "1-0", 1)
    found = checkpoint.load_latest(tmp_path, quick_settings(score=name, persistence_low=1.0))
    assert found is not None and found[0].trainer.cut == learner.trainer.cut > 0


def test_the_setting_names_every_score() -> None:
    assert get_args(Settings.model_fields["score"].annotation) == tuple(s.name for s in SCORES)


def test_scores_side_by_side() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    both = Together(ShareScorer(), GradientScorer())
    both.start({0: [weight]})
    for _ in range(4):
        weight.data += 0.1
        both.after_step(0.1)
    assert both.read()[0].keys() == {"motion", "motion_share", "gradient"}
