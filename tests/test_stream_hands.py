"""Another's hand in the stream, and deletion by request: the account goes on."""

from __future__ import annotations

import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.errors import BadInput, StreamAway, StreamFull
from learndrop.stream.account import Counts
from learndrop.stream.consumer import RedisConsumer
from tests.servers import require_server, server, settings_on
from tests.streams import (
    BY_HAND,
    OnServer,
    Place,
    Places,
    ids,
    learn,
    make,
    numbers,
    place,
)

__all__ = ["make", "place", "server"]


# -- hands in the stream ---------------------------------------------------------------------


async def test_an_entry_written_by_hand_is_in_the_account(place: Place) -> None:
    await place.publish(1)
    by_hand = [place.write_by_hand(BY_HAND) for _ in range(3)]
    assert await place.adds_up() == Counts(4, 0, 0, 4)  # before any worker has seen them
    consumer = place.consumer()
    entries = consumer.claim(10, 0)
    assert ids(entries)[1:] == by_hand
    assert await place.adds_up() == Counts(4, 0, 0, 4)
    consumer.bury(entries[1], "unreadable", "no version")
    assert await place.adds_up() == Counts(4, 0, 1, 3)
    consumer = place.consumer()
    consumer.claim(10, 0)  # seen once more by a restarted worker, counted once
    consumer.release()
    consumer.ack(consumer.position)
    assert await place.adds_up() == Counts(4, 3, 1, 0)


async def test_deleted_entries_are_counted_as_vanished(place: Place) -> None:
    published = await place.publish(20)
    consumer = place.consumer()
    learn(consumer, 2)
    # One is learned but in no checkpoint; one waits, beyond the few that are read ahead (those
    # are learned all the same, and as the first one they count as vanished).
    place.delete(published[1], published[15])
    consumer.ack(consumer.position)
    assert await place.adds_up() == Counts(20, 1, 2, 17)
    assert dict(consumer.buried) == {"vanished": 2}
    assert place.dead() == [("", "vanished", None)]
    rest = [n for _ in range(9) for n in numbers(learn(consumer, 2))]
    assert rest == [n for n in range(2, 20) if n != 15]
    consumer.ack(consumer.position)
    assert await place.adds_up() == Counts(20, 18, 2, 0)


async def test_deleted_entries_give_their_bytes_back(make: Places) -> None:
    place = make(max_pending_bytes=1024)
    published = await place.publish(5, size=8)
    place.delete(*published)
    consumer = place.consumer()
    consumer.ack(consumer.position)
    await place.publish(5, size=8)
    assert await place.adds_up() == Counts(10, 0, 5, 5)


async def test_what_waits_is_counted_anew_when_the_account_was_lost(server: EmbeddedRedis) -> None:
    require_server()
    place = OnServer(settings_on(server, max_pending=1000), server)
    try:
        consumer = place.consumer()
        await place.publish(150, key="camera")
        learn(consumer, 10)
        assert consumer.ack(consumer.position) == 10
        place.client.delete(place.keys.counters)  # the stream stays
        await place.publish(5, key="camera")
        by_hand = place.write_by_hand(BY_HAND)
        with pytest.raises(StreamAway):
            consumer.ack(consumer.position)
        assert ids(learn(consumer, 200))[-1] == by_hand
        assert await place.adds_up() == Counts(156, 10, 0, 146)
        assert (await place.publisher.waiting()).bytes == 145 * 4 * 4 * 3 + 4
        assert place.client.hget(place.keys.counters, "waiting:camera") == b"145"

        place.client.delete(place.keys.stream, place.keys.counters, place.keys.foreign)
        await place.publish(70, key="camera")
        with pytest.raises(StreamAway):
            consumer.ack(consumer.position)
        learn(consumer, 1)
        waiting = await place.publisher.waiting()
        assert (waiting.samples, waiting.bytes) == (70, 70 * 4 * 4 * 3)
        assert place.client.hget(place.keys.counters, "waiting:camera") == b"70"
        learn(consumer, 100)
        consumer.ack(consumer.position)
        assert (await place.publisher.waiting()).bytes == 0
    finally:
        await place.publisher.close()
        place.client.close()
        place.consumers[0].close()


async def test_what_was_just_acknowledged_is_known_though_the_account_is_lost_at_once(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_server()
    place = OnServer(settings_on(server), server)
    try:
        consumer = place.consumer()
        await place.publish(30)
        learn(consumer, 30)
        asked = RedisConsumer._reconcile

        def lost_before(self: RedisConsumer, rate: str) -> Counts:
            monkeypatch.undo()
            place.client.delete(place.keys.counters)
            return asked(self, rate)

        monkeypatch.setattr(RedisConsumer, "_reconcile", lost_before)
        with pytest.raises(StreamAway):
            consumer.ack(consumer.position)
        assert consumer.claim(1, 0) == []
        assert await place.adds_up() == Counts(30, 30, 0, 0)
        assert dict(consumer.buried) == {}
    finally:
        await place.publisher.close()
        place.client.close()
        place.consumers[0].close()


# -- deletion by request ---------------------------------------------------------------------


async def test_a_deleted_sample_is_never_learned_and_counts_as_deleted(place: Place) -> None:
    published = await place.publish(6)
    assert await place.publisher.discard([published[1], published[4]]) == ["waiting", "waiting"]
    assert await place.adds_up() == Counts(6, 0, 0, 4, deleted=2)
    consumer = place.consumer()
    assert numbers(learn(consumer)) == [0, 2, 3, 5]
    consumer.ack(consumer.position)
    assert await place.adds_up() == Counts(6, 4, 0, 0, deleted=2)
    assert dict(consumer.buried) == {}  # nothing vanished


async def test_a_sample_deleted_after_its_claim_is_not_learned(place: Place) -> None:
    published = await place.publish(6)
    consumer = place.consumer()
    claimed = consumer.claim(3, 0)  # more of them are read ahead
    await place.publisher.discard([published[1], published[4]])
    assert consumer.hold(ids(claimed)) == {published[1]}
    consumer.release()
    claimed = consumer.claim(3, 0)
    gone = consumer.hold(ids(claimed))
    assert set(ids(claimed)) - gone == {published[3], published[5]}
    consumer.release()
    consumer.ack(consumer.position)
    assert await place.adds_up() == Counts(6, 4, 0, 0, deleted=2)


async def test_deletion_says_what_the_learner_had_already(place: Place) -> None:
    published = await place.publish(5)
    consumer = place.consumer()
    learn(consumer, 2)
    consumer.hold(ids(consumer.claim(1, 0)))
    said = await place.publisher.discard([*published[:4], "1-7", published[3]])
    assert said == ["seen", "seen", "seen", "waiting", "gone", "gone"]
    consumer.release()
    consumer.ack(consumer.position)
    assert await place.adds_up() == Counts(5, 0, 0, 1, deleted=4)
    assert await place.publisher.discard([published[0]]) == ["gone"]
    # A worker that comes back from an older checkpoint has not seen what it learned after it.
    learn(consumer, 1)
    (last,) = await place.publish(1)
    learn(consumer, 1)
    place.consumer().claim(1, 0)
    assert await place.publisher.discard([last]) == ["waiting"]


async def test_deleting_by_something_that_is_no_id_is_refused(place: Place) -> None:
    for wrong in ("", "1", "-", "+", "1-", "01-0", "1-0 2-0", "(1-0"):
        with pytest.raises(BadInput) as caught:
            await place.publisher.discard([wrong])
        assert caught.value.item == "id"
    assert await place.publisher.discard([]) == []


async def test_deleted_samples_make_room_for_others(make: Places) -> None:
    place = make(max_pending=3)
    published = await place.publish(3)
    await place.publisher.discard(published[:1])
    await place.publish(1)
    with pytest.raises(StreamFull):
        await place.publish(1)
    assert await place.adds_up() == Counts(4, 0, 0, 3, deleted=1)
