"""What is on the stream when a worker was killed: learned again, and the guilty buried."""

from __future__ import annotations

import pytest

from learndrop.server.ids import START
from learndrop.stream.account import Counts
from tests.servers import server
from tests.streams import (
    Place,
    Places,
    die_learning,
    ids,
    learn,
    make,
    numbers,
    place,
)

__all__ = ["make", "place", "server"]


async def test_what_no_checkpoint_holds_comes_again_in_order(place: Place) -> None:
    published = await place.publish(6)
    first = place.consumer()
    learn(first, 2)
    position = first.position  # the checkpoint
    learn(first, 2)
    first.claim(1, 0)
    second = place.consumer()
    second.open(position)
    assert ids(learn(second)) == published[2:]
    second.ack(second.position)
    assert await place.adds_up() == Counts(6, 6, 0, 0)


async def test_what_a_checkpoint_holds_is_counted_and_not_learned_again(place: Place) -> None:
    await place.publish(5)
    first = place.consumer()
    learn(first, 3)
    position = first.position  # checkpoint written, killed before the acknowledgement
    second = place.consumer()
    second.open(position)
    assert numbers(learn(second)) == [3, 4]
    assert await place.adds_up() == Counts(5, 3, 0, 2)


async def test_position_moves_only_when_the_batch_is_finished(place: Place) -> None:
    published = await place.publish(2)
    consumer = place.consumer()
    consumer.claim(1, 0)
    assert consumer.position == START
    consumer.release()
    assert consumer.position == published[0]


async def test_an_entry_that_kills_the_worker_is_buried_and_its_neighbours_learned(
    place: Place,
) -> None:
    published = await place.publish(8)
    poison = published[3]
    learned: list[str] = []
    deaths = 0
    while deaths < 10:
        worker = place.consumer()
        worker.open(START)
        learned = []
        while entries := worker.claim(8, 0):
            worker.hold(ids(entries))
            if poison in ids(entries):
                deaths += 1
                break
            worker.release()
            learned += ids(entries)
        else:
            break
    assert deaths == place.settings.max_deliveries == 3
    assert learned == [i for i in published if i != poison]
    assert [d[:2] for d in place.dead()] == [(poison, "killed_worker")]
    assert dict(worker.buried) == {"killed_worker": 1}
    worker.ack(worker.position)
    assert await place.adds_up() == Counts(8, 7, 1, 0)


@pytest.mark.parametrize("allowed", [1, 2])
async def test_fewer_deliveries_still_bury_only_the_guilty(make: Places, allowed: int) -> None:
    place = make(max_deliveries=allowed)
    published = await place.publish(3)
    for expected in (published, published[:1]):  # together, then one by one
        _, entries = die_learning(place, 10)
        assert ids(entries) == expected
    worker = place.consumer()
    assert ids(learn(worker)) == published[1:2]
    assert [d[:2] for d in place.dead()] == [(published[0], "killed_worker")]


async def test_entries_that_only_waited_when_the_worker_died_are_innocent(place: Place) -> None:
    await place.publish(4)
    for _ in range(6):
        worker = place.consumer()
        worker.open(START)
        assert len(worker.claim(4, 0)) == 4  # killed before it learned
    assert place.dead() == []


async def test_a_worker_that_died_between_batches_blames_nobody(place: Place) -> None:
    await place.publish(1)
    for _ in range(6):
        worker = place.consumer()
        worker.open(START)
        assert len(learn(worker)) == 1
        assert worker.claim(1, 0) == []
    assert place.dead() == []


async def test_a_suspect_that_lives_through_it_is_cleared(place: Place) -> None:
    await place.publish(3)
    for deaths in (1, 2, 1, 2, 1, 2):  # never three in a row
        for _ in range(deaths):
            die_learning(place, 3)
        worker = place.consumer()
        sizes = [len(learn(worker)) for _ in range(4)]
        assert sizes == ([3, 0, 0, 0] if deaths == 1 else [1, 1, 1, 0])
    assert place.dead() == []
    assert len(learn(place.consumer())) == 3
