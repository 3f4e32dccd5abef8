"""A small run of row 6, and that its judge finds what it looks for."""

from __future__ import annotations

from argparse import Namespace

from tests.chaos.cut_requests import find, judged
from tests.cutting import Cuts
from tests.servers import require_server


def test_requests_that_are_cut_and_sent_again_are_taken_once() -> None:
    require_server()
    found = find(Namespace(posts=60, seed=3))[6]
    assert found.passed, found


def test_the_judge_finds_a_batch_that_is_lost_or_there_twice() -> None:
    cuts = Cuts(10, 10, 1.0)
    cuts.made.update(request=1, answer=1)
    answered = {"b0": ["1-0", "1-1"], "b1": ["2-0"]}
    assert judged({"b0": ["1-0", "1-1"], "b1": ["2-0"]}, answered, cuts, known=1).passed
    for there in (
        {"b0": ["1-0", "1-1"]},
        {"b0": ["1-0", "1-1", "3-0", "3-1"], "b1": ["2-0"]},
        {"b0": ["1-0", "1-1"], "b1": ["4-0"]},
        {"b0": ["1-0", "1-1"], "b1": ["2-0"], "b9": ["5-0"]},
    ):
        assert not judged(there, answered, cuts, known=1).passed
    assert not judged(answered, answered, cuts, known=0).passed, "nothing came again: no test"
