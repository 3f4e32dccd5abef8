"""The feature store: keyed, bounded, disposable."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from learndrop.features import codecs
from learndrop.features.codecs import Codec
from learndrop.features.store import FeatureStore
from learndrop.features.tiers import FileTier, MemoryTier, Tier
from learndrop.settings.features import CODEC_NAMES

ROW = (2, 3)
ROW_BYTES = 2 * 3 * 2  # bfloat16
CPU = torch.device("cpu")
BIG = (4, 4, 4)


def codec(name: str = "bf16", shape: tuple[int, ...] = ROW) -> Codec:
    return codecs.make(name, shape, image_size=8)


def empty_store(budget: int = 8 * ROW_BYTES, samples: int = 1000) -> FeatureStore:
    return FeatureStore([MemoryTier("device", budget, CPU)], samples, CPU)


def make_store(rows: int = 8) -> FeatureStore:
    store = empty_store(rows * ROW_BYTES)
    store.open(1, "hash", codec())
    return store


def maps(n: int, value: float = 0.0) -> Tensor:
    return torch.full((n, *ROW), value) + torch.arange(n).reshape(n, 1, 1)


def held(store: FeatureStore, among: range = range(20)) -> list[int]:
    return [i for i, there in zip(among, store.holds(np.array(among)), strict=True) if there]


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
    store = empty_store(budget)
    store.open(1, "hash", codec())
    for start in range(0, 400, 40):
        store.put(np.arange(start, start + 40), maps(40))
        assert store.nbytes <= store.tiers[0].nbytes <= budget
    assert len(store) == budget // ROW_BYTES


def test_no_more_is_kept_than_is_of_use() -> None:
    store = empty_store(10**6, samples=5)
    store.open(1, "hash", codec())
    store.put(np.arange(20), maps(20))
    assert len(store) == store.capacity == 5


def test_the_oldest_gives_way() -> None:
    store = make_store(3)
    store.put(np.arange(5), maps(5))
    store.put(np.array([9]), maps(1))
    assert held(store) == [3, 4, 9]
    assert store.evicted == 1


def test_what_is_of_no_use_any_more_gives_way_before_the_oldest() -> None:
    store = make_store(4)
    store.put(np.arange(4), maps(4))
    store.put(np.array([9]), maps(1), useful=np.array([0, 1, 3, 9]))
    assert held(store) == [0, 1, 3, 9]


def test_a_map_under_another_cut_prefix_or_codec_is_never_read() -> None:
    for key in ((2, "hash", "bf16"), (1, "another hash", "bf16"), (1, "hash", "int8")):
        store = make_store()
        store.put(np.arange(4), maps(4))
        store.open(key[0], key[1], codec(key[2]))
        assert not store.get(np.arange(4))[1].any()
        assert store.nbytes == store.tiers[0].nbytes == 0


def test_a_sample_put_again_takes_no_second_place() -> None:
    store = make_store(3)
    for value in (1.0, 2.0):
        store.put(np.array([4, 5]), maps(2, value))
    found, _ = store.get(np.array([4]))
    assert len(store) == 2 and float(found[0, 0, 0]) == 2.0


def test_a_sample_that_comes_twice_in_one_batch_has_its_last_map() -> None:
    store = make_store(3)
    store.put(np.array([4, 4]), maps(2))
    assert torch.equal(store.get(np.array([4]))[0], maps(2)[1:])


def test_a_closed_store_takes_and_gives_nothing() -> None:
    store = empty_store(1000)
    store.put(np.arange(3), maps(3))
    assert len(store) == 0 and not store.get(np.arange(3))[1].any()


def test_nothing_is_stored_until_the_codec_knows_its_scales() -> None:
    store = empty_store(1000)
    store.open(1, "hash", codec("int8"))
    store.put(np.arange(40), maps(40))
    assert len(store) == 0
    store.put(np.arange(40, 50), maps(10))
    assert held(store, range(60)) == list(range(40, 50))


def test_maps_of_the_cut_before_stay_to_be_passed_on_and_give_way_first() -> None:
    store = make_store(8)
    store.put(np.arange(8), maps(8))
    store.open(2, "deeper", codec(), onward=True)
    assert store.older is not None and store.older.ids.tolist() == list(range(8))
    assert len(store) == 0 and not store.get(np.arange(8))[1].any()
    store.put(np.array([20, 21]), maps(2))
    assert held(store, range(30)) == [20, 21]
    assert len(store.older) == 6 and store.nbytes == 8 * ROW_BYTES == store.tiers[0].nbytes


def test_a_cut_that_is_taken_back_finds_its_maps_again() -> None:
    store = make_store(8)
    store.put(np.arange(3), maps(3))
    store.open(2, "deeper", codec(), onward=True)
    store.put(np.array([9]), maps(1))
    store.open(1, "hash", codec())
    assert store.older is None and held(store) == [0, 1, 2]
    assert torch.equal(store.get(np.arange(3))[0], maps(3))


def test_a_full_disk_leaves_what_fits_into_memory(tmp_path: Path) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    disk = FileTier(100 * ROW_BYTES, tmp_path, full)
    store = FeatureStore([MemoryTier("device", 4 * ROW_BYTES, CPU), disk], 100, CPU)
    store.open(1, "hash", codec())
    for start in range(0, 60, 10):
        store.put(np.arange(start, start + 10), maps(10))
    assert len(store) == 4 and "No space left" in disk.trouble
    assert held(store, range(60)) == [56, 57, 58, 59]


def budgeted(folder: Path, memory: int, disk: int) -> list[Tier]:
    return [MemoryTier("device", memory, CPU), FileTier(disk, folder)]


class Played:
    """A store under operations in a drawn order, beside what it must hold at most."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.draw = random.Random(seed)
        self.budgets = self.draw.choice([0, 100, 900, 5000]), self.draw.choice([0, 300, 4000])
        self.samples = self.draw.choice([3, 40, 500])
        self.folder, self.cut, self.next = folder, 1, 0
        self.exact: dict[tuple[int, int], Tensor] = {}  # by cut and sample
        self.gone: set[int] = set()
        self.store = self.new()

    def new(self) -> FeatureStore:
        return FeatureStore(budgeted(self.folder, *self.budgets), self.samples, CPU)

    def a_map(self, sample_id: int, cut: int) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * cut + sample_id)
        return torch.rand(BIG, generator=generator) + 0.25  # never 0: blank is told apart

    def ids(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        known = range(max(0, self.next - 60), self.next + 5)
        return np.array(self.draw.sample(known, self.draw.randint(1, 5)), np.int64)

    def put(self) -> None:
        count = self.draw.choice([1, 7, 33])
        ids = np.arange(self.next, self.next + count)
        self.next += count
        useful = ids if self.draw.random() < 0.3 else np.arange(self.next)
        self.store.put(ids, torch.stack([self.a_map(i, self.cut) for i in ids.tolist()]), useful)

    def get(self) -> None:
        ids = self.ids()
        found, hit = self.store.get(ids)
        for sample_id, row in zip(ids[hit].tolist(), found, strict=True):
            assert sample_id not in self.gone
            assert torch.allclose(row, self.a_map(sample_id, self.cut), atol=0.6)

    def open(self) -> None:
        name = self.draw.choice(CODEC_NAMES)
        self.cut = self.draw.choice([1, 2, 3])
        self.store.open(
            self.cut, f"hash {self.cut}", codec(name, BIG), onward=self.draw.random() < 0.7
        )

    def pass_on(self) -> None:
        older = self.store.older
        if older is None:
            return
        ids = np.array(older.first_on_page()[:8], np.int64)
        assert not self.gone & set(ids.tolist())
        if len(ids) and self.store.codec is not None:
            read = older.codec.decode(older.read(ids.tolist(), CPU))
            wanted = torch.stack([self.a_map(i, older.key.cut) for i in ids.tolist()])
            assert torch.allclose(read, wanted, atol=0.6)
            self.store.put(ids, torch.stack([self.a_map(i, self.cut) for i in ids.tolist()]))
        older.forget(ids.tolist())
        if not len(older) and not older.drop_page():
            self.store.close_older()

    def forget(self) -> None:
        ids = self.ids().tolist()
        self.gone |= set(ids)
        self.store.forget(ids)
        self.next = max(self.next, max(ids) + 1)  # it never comes again

    def restart(self) -> None:
        tensors = {n: t.clone() for n, t in self.store.tensors().items()}
        data = self.store.to_json()
        made = {name: codec(data[name]["key"][2], BIG) for name in ("now", "older") if data[name]}
        before = {i: self.store.holds(np.arange(self.next)).tolist() for i in (0,)}
        self.store.clear()
        self.store = self.new()
        self.store.load(tensors, data, made)
        assert {0: self.store.holds(np.arange(self.next)).tolist()} == before

    def check(self) -> None:
        for tier, budget in zip(self.store.tiers, self.budgets, strict=True):
            assert 0 <= tier.nbytes <= budget
        assert self.store.nbytes <= sum(t.nbytes for t in self.store.tiers)
        assert len(self.store) <= self.samples


@pytest.mark.parametrize("seed", range(24))
def test_no_order_of_operations_passes_a_budget_or_shows_a_wrong_map(
    seed: int, tmp_path: Path
) -> None:
    played = Played(seed, tmp_path)
    played.open()
    for _ in range(150):
        kind = played.draw.choices(
            [played.put, played.get, played.open, played.pass_on, played.forget, played.restart],
            [8, 8, 1, 3, 2, 1],
        )[0]
        kind()
        played.check()
    played.store.clear()
    assert [t.nbytes for t in played.store.tiers] == [0, 0]


@pytest.mark.parametrize("tier", ["device", "file"])
def test_a_forgotten_map_is_blank_where_it_lay(tier: str, tmp_path: Path) -> None:
    budgets = {"device": (10**4, 0), "file": (0, 10**4)}[tier]
    store = FeatureStore(budgeted(tmp_path, *budgets), 100, CPU)
    store.open(1, "hash", codec())
    store.put(np.arange(4), maps(4, value=1.0))
    store.open(2, "deeper", codec(), onward=True)
    store.put(np.arange(2), maps(2, value=1.0))
    pages = [p.data for s in (store._now, store.older) if s is not None for p in s._pages if p]
    written = [(page, row) for page in pages for row in range(len(page))]
    before = sum(bool(page[row].any()) for page, row in written)
    assert store.forget([0, 3]) == 3
    assert sum(bool(page[row].any()) for page, row in written) <= before - 3
    assert not store.holds(np.array([0])).any()
    assert store.older is not None and store.older.ids.tolist() == [1, 2]


def test_goes_on_identically_after_save_and_load() -> None:
    one, other = make_store(4), empty_store(4 * ROW_BYTES)
    one.put(np.arange(6), maps(6))
    one.put(np.array([10]), maps(1))
    other.load(one.tensors(), one.to_json(), {"now": codec()})
    for store in (one, other):
        store.put(np.array([11]), maps(1, 5.0))
    ids = np.arange(12)
    assert one.holds(ids).tolist() == other.holds(ids).tolist()
    assert torch.equal(one.get(ids)[0], other.get(ids)[0])


def test_a_smaller_budget_after_a_restart_starts_empty() -> None:
    one, other = make_store(4), empty_store(2 * ROW_BYTES)
    one.put(np.arange(4), maps(4))
    other.load(one.tensors(), one.to_json(), {"now": codec()})
    assert len(other) == 0 and other.key is None
