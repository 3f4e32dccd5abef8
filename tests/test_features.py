"""The feature store: keyed, bounded, disposable."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learndrop.features import FeatureStore

ROW = (2, 3)
ROW_BYTES = 2 * 3 * 2  # bfloat16


def make_store(rows: int = 8) -> FeatureStore:
    store = FeatureStore(rows * ROW_BYTES)
    store.open(1, "hash", ROW, "cpu")
    return store


def maps(n: int, value: float = 0.0) -> torch.Tensor:
    return torch.full((n, *ROW), value) + torch.arange(n).reshape(n, 1, 1)


def test_gives_back_what_was_put() -> None:
    store = make_store()
    store.put(np.array([5, 7]), maps(2))
    found, hit = store.get(np.array([7, 6, 5]))
    assert hit.tolist() == [True, False, True]
    assert torch.equal(found, maps(2)[[1, 0]])
    assert (store.hits, store.misses) == (2, 1)
    assert store.holds(np.array([5, 6])).tolist() == [True, False]


@pytest.mark.parametrize("budget", [0, 1, ROW_BYTES - 1, ROW_BYTES, 10 * ROW_BYTES + 3])
def test_the_budget_is_never_passed(budget: int) -> None:
    store = FeatureStore(budget)
    store.open(1, "hash", ROW, "cpu")
    for start in range(0, 400, 40):
        store.put(np.arange(start, start + 40), maps(40))
        assert store.nbytes <= budget
        assert store._rows.numel() * store._rows.element_size() <= budget
    assert len(store) == budget // ROW_BYTES


def test_the_oldest_gives_way() -> None:
    store = make_store(3)
    store.put(np.arange(5), maps(5))
    store.put(np.array([9]), maps(1))
    assert sorted(i for i in range(10) if store.holds(np.array([i]))[0]) == [3, 4, 9]
    assert store.evicted == 1


def test_a_map_under_another_cut_or_prefix_is_never_read() -> None:
    store = make_store()
    store.put(np.arange(4), maps(4))
    store.open(1, "another hash", ROW, "cpu")
    assert not store.get(np.arange(4))[1].any()


def test_a_sample_put_again_takes_no_second_place() -> None:
    store = make_store(3)
    for value in (1.0, 2.0):
        store.put(np.array([4, 5]), maps(2, value))
    found, _ = store.get(np.array([4]))
    assert len(store) == 2 and float(found[0, 0, 0]) == 2.0


def test_a_closed_store_takes_and_gives_nothing() -> None:
    store = FeatureStore(1000)
    store.put(np.arange(3), maps(3))
    assert len(store) == 0


def test_goes_on_identically_after_save_and_load() -> None:
    one, other = make_store(4), FeatureStore(4 * ROW_BYTES)
    one.put(np.arange(6), maps(6))
    one.put(np.array([10]), maps(1))
    other.load(one.tensors(), one.to_json(), "cpu")
    for store in (one, other):
        store.put(np.array([11]), maps(1, 5.0))
    ids = np.arange(12)
    assert one.holds(ids).tolist() == other.holds(ids).tolist()
    assert torch.equal(one.get(ids)[0], other.get(ids)[0])


def test_a_smaller_budget_after_a_restart_starts_empty() -> None:
    one, other = make_store(4), FeatureStore(2 * ROW_BYTES)
    one.put(np.arange(4), maps(4))
    other.load(one.tensors(), one.to_json(), "cpu")
    assert len(other) == 0 and other.capacity == 2
