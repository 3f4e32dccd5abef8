"""The replay buffer: bounded, class-balanced, aware of worlds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from learndrop.replay.buffer import DISOWNED, ReplayBuffer


def make_buffer(samples: int = 10, max_bytes: int = 10**9, old: float = 0.0) -> ReplayBuffer:
    return ReplayBuffer(
        (4, 4, 3), samples=samples, max_bytes=max_bytes, old_world_weight=old, seed=0
    )


def fill(buffer: ReplayBuffer, targets: list[int], first: int = 0) -> None:
    ids = np.arange(first, first + len(targets))
    images = np.zeros((len(targets), 4, 4, 3), np.uint8) + ids[:, None, None, None].astype(np.uint8)
    images[:, 0, 0, 0] = ids // 256  # no two alike
    buffer.add(images, np.array(targets), ids)


def test_never_holds_more_than_either_bound() -> None:
    by_count, by_bytes = make_buffer(7), make_buffer(1000, max_bytes=48 * 5)
    for buffer, bound in ((by_count, 7), (by_bytes, 5)):
        fill(buffer, [0] * 100)
        assert buffer.size == bound
    assert by_bytes.nbytes <= 48 * 5


def test_a_frequent_class_cannot_push_out_a_rare_one() -> None:
    buffer = make_buffer(10)
    fill(buffer, [1, 1, 1])
    fill(buffer, [0] * 500, first=3)
    assert buffer.by_class() == {0: 7, 1: 3}


def test_classes_become_even_when_all_keep_coming() -> None:
    buffer = make_buffer(12)
    fill(buffer, [0, 1, 2] * 100)
    assert buffer.by_class() == {0: 4, 1: 4, 2: 4}


def test_after_a_drift_the_old_world_gives_way_first_and_weighs_less() -> None:
    buffer = make_buffer(10)
    fill(buffer, [0] * 10)
    buffer.new_world(since=10)
    fill(buffer, [0] * 4, first=10)
    assert sorted(buffer.ids[buffer.worlds == 1]) == [10, 11, 12, 13]
    drawn = buffer.draw(50)
    assert set(buffer.ids[drawn].tolist()) == {10, 11, 12, 13}


def test_samples_that_came_just_before_the_alarm_belong_to_the_new_world() -> None:
    buffer = make_buffer(10)
    fill(buffer, [0] * 6)
    buffer.new_world(since=4)
    assert buffer.ids[buffer.newest(10)].tolist() == [5, 4]


def test_draw_keeps_to_the_places_it_is_given() -> None:
    buffer = make_buffer(10)
    fill(buffer, [0] * 8)
    among = np.zeros(8, bool)
    among[[2, 5]] = True
    assert sorted(buffer.draw(8, among=among).tolist()) == [2, 5]


def test_a_balanced_draw_takes_of_every_class_alike_even_of_those_of_an_old_world() -> None:
    buffer = make_buffer(400, old=0.1)
    fill(buffer, [0] * 90 + [1] * 30)
    buffer.new_world(since=1_000)
    fill(buffer, [2] * 200, first=1_000)
    shares = {}
    for balanced in (False, True):
        drawn = np.concatenate([buffer.draw(12, balanced=balanced) for _ in range(200)])
        shares[balanced] = np.bincount(buffer.targets[drawn], minlength=3) / len(drawn)
    assert shares[False][2] > 0.9
    assert np.abs(shares[True] - 1 / 3).max() < 0.05


def test_an_empty_buffer_draws_nothing() -> None:
    assert len(make_buffer().draw(3)) == 0


@pytest.mark.parametrize("samples", [10, 4])
def test_goes_on_identically_after_save_and_load(samples: int) -> None:
    one = make_buffer(10, old=0.5)
    fill(one, [0, 1] * 20)
    other = make_buffer(samples, old=0.5)
    other.load(one.arrays(), json.loads(json.dumps(one.to_json())))
    assert other.size == samples
    if samples == 10:
        assert other.draw(5).tolist() == one.draw(5).tolist()
        assert np.array_equal(other.images[:10], one.images[:10])
    else:
        assert sorted(other.ids[:4]) == sorted(one.ids[:10])[-4:]


def test_old_samples_under_old_names_are_drawn_no_more_until_their_world_is_back() -> None:
    buffer = make_buffer(20, old=1.0)
    fill(buffer, [0, 1, 2] * 4)
    buffer.new_world(since=12)
    fill(buffer, [0, 1, 2], first=12)
    buffer.misname({0, 1})  # they are each other's names now
    drawn = buffer.draw(50)
    assert sorted(zip(buffer.worlds[drawn], buffer.targets[drawn], strict=True)) == (
        [(0, 2)] * 4 + [(1, 0), (1, 1), (1, 2)]
    )
    again = make_buffer(20, old=1.0)
    again.load(buffer.arrays(), buffer.to_json())
    assert len(again.draw(50)) == 7
    buffer.rejoin(0)
    assert len(buffer.draw(50)) == 15


def test_earlier_samples_are_those_that_can_be_believed_and_have_the_same_names() -> None:
    buffer = make_buffer(20)
    fill(buffer, [0, 1, 2, 3])
    buffer.new_world(since=4)
    fill(buffer, [0, 1], first=4)
    assert buffer.ids[buffer.earlier(3)].tolist() == [3, 2, 1]  # the newest of them first
    buffer.misname({2})
    buffer.senders[buffer.ids == 1] = DISOWNED
    assert buffer.ids[buffer.earlier(9)].tolist() == [3, 0]


def test_spread_over_the_world_are_samples_of_all_its_time() -> None:
    buffer = make_buffer(100)
    fill(buffer, [0] * 10)
    buffer.new_world(since=10)
    fill(buffer, [1] * 40 + [2] * 40, first=10)
    places = buffer.spread(9)
    assert buffer.ids[places].tolist() == [89, 79, 69, 59, 49, 40, 30, 20, 10]
    assert set(buffer.targets[buffer.newest(9)].tolist()) == {2}
    assert len(buffer.spread(500)) == 80
