"""New names for the classes, or answers gone astray: told by few samples a label too."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from learndrop.drift.renaming import are_missing, kept_together, renamed_share, renames

TRIAL = 128


def answered(
    classes: int, names: NDArray[np.int64], *, share: float, seed: int, n: int = TRIAL
) -> tuple[list[int], list[int]]:
    """Answers and labels: of each picture that is right by the old names in so many cases; else it
    is any."""
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, classes, n)
    answers = np.where(rng.random(n) < share, pictures, rng.integers(0, classes, n))
    return answers.tolist(), names[pictures].tolist()


def permuted(classes: int, part: float, seed: int = 0) -> NDArray[np.int64]:
    """A name for each class; so many have another one's."""
    rng, names = np.random.default_rng(seed), np.arange(classes)
    some = rng.permutation(classes)[: round(part * classes)]
    names[some] = np.roll(some, 1)
    return names


def right(found: dict[int, int], names: NDArray[np.int64]) -> int:
    """How many of the names are the true ones."""
    return sum(int(names[old]) == new for new, old in found.items())


@pytest.mark.parametrize("classes", [17, 40, 100])
@pytest.mark.parametrize("part", [0.33, 1.0])
def test_names_keep_answers_together_however_few_samples_a_label_has(
    classes: int, part: float
) -> None:
    names = permuted(classes, part)
    for seed in range(20):
        share = renamed_share(*answered(classes, names, share=0.9, seed=seed))
        assert share is not None and share > 0.8 * 0.9


@pytest.mark.parametrize("classes", [17, 40, 100])
def test_answers_that_scatter_or_collapse_are_no_names(classes: int) -> None:
    names = np.arange(classes)
    for seed in range(20):
        answers, labels = answered(classes, names, share=0.4, seed=seed)
        share = renamed_share(answers, labels)
        assert share is not None and share < 0.8 * 0.9
        share = renamed_share([a % 5 for a in answers], labels)
        assert share is not None and share < 0.8 * 0.9


@pytest.mark.parametrize("classes", [40, 100])
def test_most_names_of_the_labels_that_came_are_found(classes: int) -> None:
    names = permuted(classes, 1.0)
    for seed in range(10):
        answers, labels = answered(classes, names, share=0.9, seed=seed)
        found = renames(answers, labels)
        assert right(found, names) >= 0.85 * len(found) > 0.7 * len(set(labels))


def test_of_few_answers_a_third_of_the_names_are_found_and_hardly_any_wrong() -> None:
    names = permuted(40, 0.33)
    for seed in range(10):
        found = renames(*answered(40, names, share=0.95, seed=seed, n=256))
        assert right(found, names) >= max(10, len(found) - 3)


@pytest.mark.parametrize("classes", [40, 100])
def test_single_wrong_answers_are_no_names(classes: int) -> None:
    for seed in range(20):
        found = renames(*answered(classes, np.arange(classes), share=0.6, seed=seed))
        assert len(found) <= 3


def test_a_label_has_its_own_name_rather_than_another_one_as_likely() -> None:
    assert renames([7, 7], [3, 7]) == {}


def test_too_few_pairs_tell_nothing() -> None:
    assert kept_together([0, 1] * 10, list(range(20))) is None


@pytest.mark.parametrize("classes, n", [(10, 128), (40, 160), (100, 384), (200, 768)])
def test_enough_has_come_when_few_labels_are_missing(classes: int, n: int) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, classes, n).tolist()
    assert not are_missing(targets)
    assert are_missing(targets[: n // 4]) == (classes > 10)
