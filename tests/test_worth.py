"""What is unsure and new is worth a label most; what is like another one is not asked for twice."""

from __future__ import annotations

import numpy as np

from learndrop.answers.worth import Candidate, most_worth


def candidate(name: str, *shares: float, labelled: bool = False) -> Candidate:
    probabilities = {f"c{n}": share for n, share in enumerate(shares) if share}
    ordered = sorted(shares, reverse=True)
    return Candidate(name, probabilities, ordered[0] - ordered[1], labelled)


def names(candidates: list[Candidate], most: int = 100) -> list[str]:
    return [wish.id for wish in most_worth(candidates, most)]


def test_nothing_to_choose_from_is_nothing_wished() -> None:
    assert most_worth([], 5) == []
    assert most_worth([candidate("known", 0.5, 0.5, labelled=True)], 5) == []


def test_unsure_ones_come_first() -> None:
    rows = [candidate("sure", 0.98, 0.02), candidate("torn", 0.51, 0.49)]
    assert names(rows) == ["torn", "sure"]


def test_of_two_alike_one_comes_after_what_is_different() -> None:
    rows = [
        candidate("a", 0.50, 0.49, 0.01, 0.0),
        candidate("like a", 0.50, 0.49, 0.01, 0.0),
        candidate("b", 0.01, 0.0, 0.55, 0.44),
    ]
    assert names(rows) == ["a", "b", "like a"]
    wishes = most_worth(rows, 3)
    assert wishes[1].novelty > 0.9
    assert wishes[2].novelty == 0.0
    assert "0 % unlike" in wishes[2].why


def test_what_is_like_a_labelled_one_comes_later_though_it_is_a_little_less_sure() -> None:
    rows = [
        candidate("known", 0.5, 0.5, 0.0, 0.0, labelled=True),
        candidate("like it", 0.5, 0.5, 0.0, 0.0),
        candidate("other", 0.0, 0.0, 0.6, 0.4),
    ]
    assert names(rows, 1) == ["other"]


def test_answers_that_were_cut_short_and_of_other_classes_compare() -> None:
    rows = [
        Candidate("short", {"a": 0.4}, 0.1, False),
        Candidate("one class", {"z": 1.0}, 1.0, False),
        Candidate("long", {"a": 0.4, "b": 0.3, "c": 0.3}, 0.1, False),
    ]
    wishes = most_worth(rows, 3)
    assert [w.id for w in wishes] == ["short", "long", "one class"]
    assert wishes[1].novelty == 0.6
    assert wishes[0].why.startswith("torn between a and others")


def test_the_list_is_bounded_and_in_order() -> None:
    rng = np.random.default_rng(0)
    rows = [candidate(str(n), *rng.dirichlet(np.ones(5))) for n in range(200)]
    wishes = most_worth(rows, 20)
    assert len(wishes) == len({w.id for w in wishes}) == 20
    worths = [w.worth for w in wishes]
    assert worths == sorted(worths, reverse=True)
