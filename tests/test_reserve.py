"""The reserve: confirmed older samples, no key over the others, emptied by a believed change."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np

from learndrop.belief.reserve import CONFIRM, ONE_IN, Reserve


def add(reserve: Reserve, start: int, count: int, sender: int | None = None) -> None:
    ids = np.arange(start, start + count)
    images = (
        np.zeros((count, 2, 2, 3), np.uint8) + (ids % 256).astype(np.uint8)[:, None, None, None]
    )
    senders = np.full(count, sender) if sender is not None else ids // ONE_IN % 2
    reserve.add(images, ids % 10, ids, senders)


def test_a_sample_is_confirmed_once_others_have_come() -> None:
    reserve = Reserve((2, 2, 3), 100)
    told = []
    for start in (0, CONFIRM):
        add(reserve, start, CONFIRM)
        told.append((len(reserve), reserve.tells))
    assert told == [(0, False), (CONFIRM // ONE_IN, True)]
    images, targets = reserve.held()
    assert images.shape == (64, 2, 2, 3) and set(targets) <= set(range(10))
    assert (images[:, 0, 0, 0] == np.arange(0, CONFIRM, ONE_IN) % 256).all()


def test_what_a_key_sent_before_it_was_doubted_is_forgotten_unless_confirmed() -> None:
    reserve = Reserve((2, 2, 3), 100)
    add(reserve, 0, 2 * CONFIRM)
    held = len(reserve)
    reserve.disown(1)
    add(reserve, 2 * CONFIRM, CONFIRM, sender=0)
    kept = reserve.senders[reserve.confirmed]
    assert (kept == 1).sum() == held // 2  # those that were confirmed by then
    assert len(reserve) > held


def test_no_key_fills_it() -> None:
    reserve = Reserve((2, 2, 3), 40)
    add(reserve, 0, 2 * CONFIRM)
    add(reserve, 2 * CONFIRM, 40 * CONFIRM, sender=1)
    assert len(reserve) == 40
    assert (reserve.senders[reserve.confirmed] == 0).sum() == 20
    assert len(reserve.ids) <= 40 + CONFIRM // ONE_IN + 40 * CONFIRM // ONE_IN


def test_size_nothing_keeps_nothing() -> None:
    reserve = Reserve((2, 2, 3), 0)
    add(reserve, 0, 4 * CONFIRM)
    assert len(reserve.ids) == 0


def test_a_believed_change_empties_it() -> None:
    reserve = Reserve((2, 2, 3), 100)
    add(reserve, 0, 2 * CONFIRM)
    reserve.clear()
    assert len(reserve.ids) == 0
    add(reserve, 2 * CONFIRM, 2 * CONFIRM)
    assert reserve.tells


def test_it_goes_through_a_checkpoint() -> None:
    reserve = Reserve((2, 2, 3), 100)
    add(reserve, 0, 2 * CONFIRM)
    again = Reserve((2, 2, 3), 100)
    again.load(reserve.arrays())
    for one in (reserve, again):
        add(one, 2 * CONFIRM, CONFIRM)
    assert all(same(again, reserve, name) for name in reserve.arrays())


def test_a_batch_moves_its_own_pixels_only() -> None:
    side = 32
    reserve = Reserve((side, side, 3), 256)
    images = np.zeros((32, side, side, 3), np.uint8)
    for start in range(0, 32 * 100, 32):
        ids = np.arange(start, start + 32)
        if start == 32 * 99:  # full by now: samples give way
            tracemalloc.start()
        reserve.add(images, ids % 10, ids, ids * 0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(reserve) == 256
    assert most < 32 * images[0].nbytes  # of 320 that are held


def test_each_sample_keeps_its_own_pixels_whatever_gives_way() -> None:
    rng = np.random.default_rng(0)
    reserve, start = Reserve((2, 2, 3), 48), 0
    pictures: dict[int, Any] = {}
    for turn in range(200):
        ids = np.arange(start, start + int(rng.integers(1, 80)))
        start = int(ids[-1]) + 1
        images = rng.integers(0, 256, (len(ids), 2, 2, 3)).astype(np.uint8)
        pictures |= dict(zip(ids.tolist(), images, strict=True))
        reserve.add(images, ids % 10, ids, rng.integers(0, 3, len(ids)))
        if turn % 40 == 39:
            reserve.disown(1)
        if turn == 120:
            reserve.clear()
        assert len(reserve) <= 48 and reserve.ids.tolist() == sorted(reserve.ids.tolist())
        for sample_id, image in zip(reserve.ids.tolist(), reserve.images, strict=True):
            assert np.array_equal(image, pictures[sample_id])
        kept = reserve.ids[reserve.confirmed].tolist()
        for sample_id, image in zip(kept, reserve.held()[0], strict=True):
            assert np.array_equal(image, pictures[sample_id])


def same(a: Any, b: Any, name: str) -> bool:
    return np.array_equal(getattr(a, name), getattr(b, name))
