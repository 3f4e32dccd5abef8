"""What the measurements of tests/chaos and tests/soak are judged by can tell good from bad."""

from __future__ import annotations

import numpy as np
import pytest

from tests.chaos.ledger import Ledger, judge, label, number_of, picture
from tests.soak.paced import percentile
from tests.soak.watching import slope

IDS = ("1-0", "1-1", "2-0", "10-0")


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.accepted(ledger.take(4), IDS)
    ledger.lost_sight(ledger.take(3))
    return ledger


def test_every_picture_says_its_number_and_its_class_can_be_seen() -> None:
    numbers = [0, 1, 255, 256, 65_536, 1_000_001]
    assert [number_of(picture(n)) for n in numbers] == numbers
    for n in numbers:
        rows = picture(n)[:, 1:].reshape(4, -1).mean(axis=1)
        assert "abcd"[int(np.argmax(rows))] == label(n)


def test_a_run_in_which_nothing_went_wrong_is_good(ledger: Ledger) -> None:
    assert judge(ledger, [0, 1, 2, 3]).good  # the batch without an answer was not taken
    assert judge(ledger, [0, 1, 2, 4, 5, 6, 3]).good  # or it was, wherever it came


def test_what_was_buried_is_not_lost(ledger: Ledger) -> None:
    assert judge(ledger, [0, 2, 3], buried=[1]).good


@pytest.mark.parametrize(
    ("learned", "found"),
    [
        ([0, 1, 3], {"lost": [2]}),
        ([0, 1, 1, 2, 3], {"twice": [1], "misplaced": 1}),
        ([0, 1, 2, 3, 4, 6], {"torn": [(4, 5, 6)]}),
        ([0, 1, 2, 3, 99], {"strangers": [99]}),
        ([0, 2, 1, 3], {"misplaced": 1}),
    ],
)
def test_each_way_to_break_the_promise_is_found(
    ledger: Ledger, learned: list[int], found: dict[str, object]
) -> None:
    verdict = judge(ledger, learned)
    assert not verdict.good
    for name in ("lost", "twice", "torn", "strangers", "misplaced"):
        expected = found.get(name, 0 if name == "misplaced" else [])
        assert getattr(verdict, name) == expected, name


def test_a_leak_is_a_slope_and_a_step_is_none() -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, 240)
    flat = [(float(t), 300 + float(noise[t])) for t in range(240)]
    stepped = [(t, mib + (8 if t > 200 else 0)) for t, mib in flat]
    leaking = [(t, mib + t / 60) for t, mib in flat]  # 1 MiB a minute
    assert abs(60 * slope(flat)) < 0.2
    assert abs(60 * slope(stepped)) < 0.2
    assert 60 * slope(leaking) == pytest.approx(1.0, abs=0.2)


def test_percentiles_are_values_that_occurred() -> None:
    times = [n / 1000 for n in range(1, 1001)]
    assert percentile(times, 0.99) == 0.99
    assert percentile([3.0], 0.99) == 3.0
