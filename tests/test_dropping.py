"""The drop rule: prefixes only, after warm-up, with hysteresis."""

from __future__ import annotations

import json

import pytest

from learndrop.dropping.probation import Probation
from learndrop.dropping.rule import DropRule
from learndrop.training.progress import Progress
from tests.learning import quick_learner


def make_rule(warmup_windows: int = 1, keep_units: int = 1) -> DropRule:
    return DropRule(
        units=4,
        low=0.5,
        settled_windows=2,
        warmup_windows=warmup_windows,
        keep_units=keep_units,
    )


def test_nothing_is_learned_in_the_warm_up() -> None:
    rule = make_rule(warmup_windows=3)
    for motion in (1.0, 0.1, 0.1):
        assert rule.read(dict.fromkeys(range(4), motion)) == 0


def test_a_unit_must_stay_low_for_some_windows_in_a_row() -> None:
    rule = make_rule()
    depths = [rule.read({0: m, 1: 1.0, 2: 1.0, 3: 1.0}) for m in (1.0, 0.4, 0.9, 0.4, 0.4)]
    assert depths == [0, 0, 0, 0, 1]


def test_a_reading_just_above_the_bound_does_not_clear_the_count() -> None:
    rule = make_rule()
    depths = [rule.read({0: m, 1: 1.0, 2: 1.0, 3: 1.0}) for m in (1.0, 0.4, 0.55, 0.4)]
    assert depths == [0, 0, 0, 1]


def test_a_learned_unit_behind_one_that_is_not_stays() -> None:
    rule = make_rule()
    for _ in range(5):
        depth = rule.read({0: 1.0, 1: 0.1, 2: 0.1, 3: 0.1})
    assert depth == 0


def test_the_last_units_never_count() -> None:
    rule = make_rule(keep_units=2)
    for motion in (1.0, 0.1, 0.1, 0.1):
        depth = rule.read(dict.fromkeys(range(4), motion))
    assert depth == 2


def test_units_that_left_training_count_as_learned() -> None:
    rule = make_rule()
    for motion in (1.0, 0.1, 0.1):
        depth = rule.read({2: motion, 3: 1.0})
    assert depth == 3


def test_after_a_return_it_is_earned_anew() -> None:
    rule = make_rule()
    for motion in (1.0, 0.1, 0.1):
        rule.read(dict.fromkeys(range(4), motion))
    rule.start_over(0)
    assert [rule.read(dict.fromkeys(range(4), m)) for m in (0.2, 0.1, 0.1)] == [0, 0, 3]


def test_a_unit_without_a_score_yet_is_not_learned() -> None:
    rule = make_rule()
    for _ in range(4):
        depth = rule.read(dict.fromkeys(range(4)))
    assert depth == 0


def test_every_unit_says_why() -> None:
    rule = make_rule()
    rule.read(dict.fromkeys(range(4), 1.0))
    assert "warming up" in rule.records[0].why
    rule.read({0: 0.1, 1: 1.0, 2: 1.0, 3: 1.0})
    assert "1 of 2 windows" in rule.records[0].why
    assert "still learning" in rule.records[1].why


def test_goes_on_identically_after_save_and_load() -> None:
    one, other = make_rule(), make_rule()
    for motion in (1.0, 0.1):
        one.read(dict.fromkeys(range(4), motion))
    other.load_json(json.loads(json.dumps(one.to_json())))
    last = dict.fromkeys(range(4), 0.1)
    assert one.read(last) == other.read(last) == 3


@pytest.mark.parametrize(
    ("errors", "leave"),
    [
        ((0.05, 0.05, 0.05, 0.05), True),
        ((0.2, 0.2, 0.05, 0.05), True),
        ((0.05, 0.05, 0.05, 0.2), False),
        ((0.05, 0.05, 0.1, 0.125), False),
    ],
)
def test_nothing_leaves_while_answers_get_worse(errors: tuple[float, ...], leave: bool) -> None:
    """By one window against the last, or by two, alarm or not: the world moves."""
    learner = quick_learner()
    window = learner.settings.window * learner.settings.batch
    progress = Progress(window, 4 * window)
    for error in errors:
        progress.add([n % round(1 / error) > 0 for n in range(window)])
    move = learner.settling.read(0, progress, commonest=0.1, may_freeze=True, arrived=5)
    assert (move is not None and move.type == "freeze") == leave


def test_a_probation_is_judged_by_its_own_answers_where_few_are_believed() -> None:
    """A quarantined key sends nine of ten: 256 answers tell, and not those of before."""
    learner, progress = quick_learner(), Progress(512, 1024)
    progress.add([n % 10 > 0 for n in range(1024)])
    learner.settling.probation = Probation(back_to=0, error=0.1, samples=progress.telling)
    for n in range(2560):
        progress.add([n % 50 > 0], [n % 10 == 0])  # of those that tell one in five is wrong
    move = learner.settling.read(2, progress, commonest=0.1, may_freeze=True)
    assert move is not None and move.type == "return" and move.cut == 0
    assert move.cause.startswith(
        "frozen too early: error 0.203 against 0.100 before, 0.063 allowed"
    )


@pytest.mark.parametrize(
    ("right", "commonest", "leave"), [(3, 0.1, False), (6, 0.1, True), (6, 0.55, False)]
)
def test_nothing_leaves_a_network_that_has_not_begun_to_learn(
    right: int, commonest: float, leave: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units that stand still while it answers hardly better than the commonest label would."""
    learner = quick_learner()
    window = learner.settings.window * learner.settings.batch
    progress = Progress(window, 4 * window)
    progress.add([n % 10 < right for n in range(4 * window)])
    monkeypatch.setattr(learner.settling.rule, "read", lambda scores: 5)
    move = learner.settling.read(0, progress, commonest=commonest, may_freeze=True)
    assert (move is not None and move.type == "freeze") == leave
    told = [why for why in learner.state()["why"] if "so little is learned" in why]
    assert bool(told) != leave


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ((72, 58), [None, "drop"]),
        ((72, 70), [None, "return"]),
        ((72, 90), [None, "return"]),
        ((66,), ["drop"]),
    ],
)
def test_a_probation_in_doubt_goes_on(wrong: tuple[int, ...], told: list[str | None]) -> None:
    """Half of the answers were wrong before: a window of 128 shows no less than 12 points."""
    learner, progress = quick_learner(), Progress(512, 1024)
    window = learner.settings.window * learner.settings.batch
    assert window == 128
    progress.add([n % 2 > 0 for n in range(2 * window)])
    learner.settling.probation = Probation(0, 0.5, progress.telling, 2 * window)
    moves = []
    for count in wrong:
        progress.add([n >= count for n in range(window)])
        moves.append(learner.settling.read(3, progress, commonest=0.1, may_freeze=True))
    assert [move and move.type for move in moves] == told
    assert learner.settling.probation is None
