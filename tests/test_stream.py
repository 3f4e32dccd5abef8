"""The stream's promises, asked of the one in memory and of a real server alike."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest

from learndrop.errors import StreamFull, TooLarge
from learndrop.stream.account import Counts
from learndrop.stream.contract import Entry
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from tests.servers import server
from tests.streams import InMemory, Place, Places, ids, learn, make, place, sample

__all__ = ["make", "place", "server"]


# -- the way of a sample ---------------------------------------------------------------------


async def test_entries_are_what_their_samples_say_whatever_they_have_alike(place: Place) -> None:
    wide = np.arange(60, dtype=np.uint8).reshape(2, 10, 3)
    batches = [
        [sample(1)],
        [sample(7), sample(7), sample(7)],
        [sample(1), sample(2, size=6, label="ü 12"), Sample(wide[:, ::2], "3 4", 2.5, name="b")],
        [Sample(wide, "x", 3.0, "camera", ""), Sample(wide.transpose(1, 0, 2), "y", 3.0, "camera")],
    ]
    for batch in batches:
        await place.publisher.publish(batch)
    entries = place.consumer().claim(100, 0)
    sent = [{**s.to_fields(), b"by": b"learndrop"} for batch in batches for s in batch]
    told = [{name: value for name, value in e.fields.items() if value} for e in entries]
    assert told == sent


async def test_what_waits_is_told(place: Place) -> None:
    await place.publish(5)
    waiting = await place.publisher.waiting()
    assert (waiting.samples, waiting.bytes, waiting.rate) == (5, 5 * 4 * 4 * 3, 0.0)
    worker = place.consumer()
    learn(worker, 3)
    worker.ack(worker.position)
    waiting = await place.publisher.waiting()
    assert (waiting.samples, waiting.bytes) == (2, 2 * 4 * 4 * 3)
    assert waiting.rate > 0 or isinstance(place, InMemory)


async def test_samples_come_out_as_they_went_in(place: Place) -> None:
    sent = [sample(n, label=f"label {n} ü") for n in range(5)]
    published = await place.publisher.publish(sent)
    entries = place.consumer().claim(100, 0)
    assert ids(entries) == published
    got = [Sample.from_fields(e.fields) for e in entries]
    assert [(g.label, g.accepted_s) for g in got] == [(s.label, s.accepted_s) for s in sent]
    assert all(np.array_equal(g.image, s.image) for g, s in zip(got, sent, strict=True))


async def test_publishing_nothing_is_nothing(place: Place) -> None:
    assert await place.publisher.publish([]) == []
    assert await place.adds_up() == Counts(0, 0, 0, 0)


async def test_claims_are_bounded_and_in_order(place: Place) -> None:
    published = await place.publish(10)
    consumer = place.consumer()
    taken = [consumer.claim(4, 0) for _ in range(4)]
    assert [len(t) for t in taken] == [4, 4, 2, 0]
    assert [i for t in taken for i in ids(t)] == published


async def test_a_claim_waits_for_its_batch_to_fill(place: Place) -> None:
    consumer = place.consumer()
    assert consumer.claim(1, 0) == []
    later = threading.Timer(0.05, lambda: asyncio.run(_publish_one(place)))
    later.start()
    entries = consumer.claim(2, 0.3)
    later.join()
    assert len(entries) == 1


async def _publish_one(place: Place) -> None:
    own = place.publisher if isinstance(place, InMemory) else RedisPublisher(place.settings)
    await own.publish([sample(1)])
    if own is not place.publisher:
        await own.close()


async def test_a_waiting_claim_ends_when_the_worker_stops(place: Place) -> None:
    await place.publish(1)
    began = time.monotonic()
    assert len(place.consumer().claim(2, 60, stopping=lambda: True)) == 1
    assert time.monotonic() - began < 30


async def test_learned_entries_leave_the_stream_when_acknowledged(place: Place) -> None:
    await place.publish(150)
    consumer = place.consumer()
    learn(consumer, 120)
    assert await place.adds_up() == Counts(150, 0, 0, 150)
    assert consumer.ack(consumer.position) == 120
    assert await place.adds_up() == Counts(150, 120, 0, 30)
    assert consumer.counts() == Counts(150, 120, 0, 30)


async def test_acknowledging_twice_counts_once(place: Place) -> None:
    await place.publish(3)
    consumer = place.consumer()
    learn(consumer)
    assert [consumer.ack(consumer.position) for _ in range(2)] == [3, 0]
    assert await place.adds_up() == Counts(3, 3, 0, 0)


async def test_a_buried_entry_is_kept_with_its_reason(place: Place) -> None:
    first, second, third = await place.publish(3)
    consumer = place.consumer()
    entries = consumer.claim(10, 0)
    consumer.bury(entries[1], "wrong_size", "4 x 4, not 32 x 32")
    consumer.bury(entries[1], "wrong_size", "again changes nothing")
    assert await place.adds_up() == Counts(3, 0, 1, 2)
    assert place.dead() == [(second, "wrong_size", entries[1].fields[b"image"])]
    assert dict(consumer.buried) == {"wrong_size": 1}
    assert ids(learn_again(place)) == [first, third]


def learn_again(place: Place) -> list[Entry]:
    return learn(place.consumer())


async def test_dead_letters_are_bounded(make: Places) -> None:
    place = make(dead_letters_kept=5)
    await place.publish(400, size=40)
    consumer = place.consumer()
    for entry in consumer.claim(400, 0):
        consumer.bury(entry, "wrong_size", "40 x 40")
    assert await place.adds_up() == Counts(400, 0, 400, 0)
    assert len(place.dead()) <= 5 + 100  # trimming is by whole nodes of the stream


async def test_a_dead_letter_may_be_huge_and_binary(place: Place) -> None:
    place.write_by_hand({b"\xff%d" % n: b"\x00\r\n" for n in range(9000)})
    consumer = place.consumer()
    (entry,) = consumer.claim(10, 0)
    consumer.bury(entry, "unreadable", "9000 fields")
    assert await place.adds_up() == Counts(1, 0, 1, 0)


# -- bounds ----------------------------------------------------------------------------------


async def test_a_full_stream_takes_all_or_nothing(make: Places) -> None:
    place = make(max_pending=10)
    await place.publish(8)
    with pytest.raises(StreamFull) as told:
        await place.publish(3)
    assert (told.value.limit, told.value.value) == (10, 11)
    assert 1 <= told.value.retry_after_s <= 60
    assert await place.adds_up() == Counts(8, 0, 0, 8)
    await place.publish(2)
    assert await place.adds_up() == Counts(10, 0, 0, 10)


async def test_bytes_are_bounded_and_freed_again(make: Places) -> None:
    place = make(max_pending_bytes=1024, image_size=8)
    await place.publish(5, size=8)  # 192 bytes each
    with pytest.raises(StreamFull):
        await place.publish(1, size=8)
    consumer = place.consumer()
    entries = consumer.claim(2, 0)
    consumer.bury(entries[0], "wrong_size", "so")
    consumer.release()
    consumer.ack(consumer.position)
    await place.publish(2, size=8)
    with pytest.raises(StreamFull):
        await place.publish(1, size=8)


async def test_what_could_never_fit_is_refused_for_good(make: Places) -> None:
    place = make(max_pending=10, max_pending_bytes=1024)
    with pytest.raises(TooLarge, match="11 samples"):
        await place.publish(11)
    with pytest.raises(TooLarge, match="1200 bytes"):
        await place.publish(1, size=20)
    assert await place.adds_up() == Counts(0, 0, 0, 0)


async def test_many_publishers_at_once_never_pass_the_limit(make: Places) -> None:
    place = make(max_pending=50)
    outcomes = await asyncio.gather(*(place.publish(7) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(o, list) for o in outcomes) == 7
    assert sum(isinstance(o, StreamFull) for o in outcomes) == 13
    assert await place.adds_up() == Counts(49, 0, 0, 49)
