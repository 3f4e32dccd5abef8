"""The measurements of `make fuzz` and their kin, small; and that each of them can fail."""

from __future__ import annotations

from argparse import Namespace

import pytest

from tests.chaos import cancelled
from tests.fuzz import bombs, mutants
from tests.fuzz.mutations import mended, mutant
from tests.fuzz.targets import doors
from tests.servers import require_server
from tests.soak import slow_clients


def test_a_number_always_gives_the_same_mutant() -> None:
    for door in doors():
        made = [mutant(door.seeds, n) for n in range(200)]
        assert made == [mutant(door.seeds, n) for n in range(200)]
        assert len(set(made)) > 150


def test_mending_leaves_what_is_whole_as_it_is() -> None:
    for door in doors():
        if door.name in ("picture", "npz"):
            assert [mended(seed) for seed in door.seeds] == list(door.seeds)


def test_mutants_are_refused_or_taken_and_nothing_else() -> None:
    outcome = mutants.fuzz(600, salt=1)
    assert outcome.crashes == [] and outcome.unhandled == []
    assert outcome.fed >= 600 and 0 < outcome.taken < outcome.fed


@pytest.mark.parametrize("bug", ["error", "crash"])
def test_a_planted_bug_is_found(bug: str) -> None:
    # with this salt the first few hundred have one; with others it may be the thirty thousandth
    outcome = mutants.fuzz(mutants.PLANTED_COUNT, salt=4, bug=bug)
    assert bool(outcome.unhandled) == (bug == "error")
    assert bool(outcome.crashes) == (bug == "crash")


def test_bombs_are_refused() -> None:
    require_server()
    (found,) = bombs.find(Namespace(times=1)).values()
    assert found.figure.startswith("0 not refused as they must be"), found


def test_cancelled_requests_mix_no_answers() -> None:
    require_server()
    (found,) = cancelled.find(Namespace(count=200, seed=1)).values()
    assert found.figure.startswith("0 answers of others"), found


def test_slow_and_idle_clients_are_closed_and_predictions_answered() -> None:
    require_server()
    options = Namespace(clients=5, predictions=10, rounds=2, body_s=2.0, head_s=1.0)
    waits = slow_clients.measure(options)
    assert min(waits.slow) >= 2.0 and min(waits.idle) >= 1.0
    assert max(map(max, waits.among)) < 3600, "a prediction was refused"


def test_schemathesis_finds_nothing() -> None:
    pytest.importorskip("schemathesis")
    require_server()
    from tests.fuzz import http

    (found,) = http.find(Namespace(count=100, most_s=120.0)).values()
    assert found.figure.startswith("0 answers of 5xx, 0 outside the schema, 0 faults"), found
