"""The stream's promises, asked of the one in memory and of a real server alike."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import redis

from deploy.embedded import EmbeddedRedis
from learndrop.account import Counts
from learndrop.consumer import RedisConsumer
from learndrop.errors import BadInput, BadSettings, NotFound, StreamAway, StreamFull, TooLarge
from learndrop.fates import Fate
from learndrop.ids import START
from learndrop.keys import GROUP, Keys
from learndrop.lease import Lease
from learndrop.memory_stream import MemoryStream
from learndrop.messages import Sample
from learndrop.settings import Settings, load_settings
from learndrop.stream import Consumer, Entry, Publisher, RedisPublisher
from tests.servers import client_of, leading, require_server, server, settings_on

__all__ = ["server"]

BY_HAND = {b"image": b"1234", b"label": b"cat"}


class Place:
    """A stream with both its sides, and the hands of an operator."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self.settings, self.publisher = settings, publisher

    def consumer(self) -> Consumer:
        raise NotImplementedError

    def write_by_hand(self, fields: Mapping[bytes, bytes]) -> str:
        raise NotImplementedError

    def delete(self, *ids: str) -> None:
        raise NotImplementedError

    def dead(self) -> list[tuple[str, str, bytes | None]]:
        """Id, reason and image of every dead letter."""
        raise NotImplementedError

    async def publish(self, number: int, **fields: Any) -> list[str]:
        return await self.publisher.publish([sample(n, **fields) for n in range(number)])

    async def adds_up(self) -> Counts:
        counts = await self.publisher.counts()
        assert counts.missing == 0
        return counts


class InMemory(Place):
    def __init__(self, settings: Settings) -> None:
        self.stream = MemoryStream(settings)
        super().__init__(settings, self.stream)

    def consumer(self) -> Consumer:
        return self.stream.consumer()

    def write_by_hand(self, fields: Mapping[bytes, bytes]) -> str:
        return self.stream.write_by_hand(fields)

    def delete(self, *ids: str) -> None:
        for entry_id in ids:
            del self.stream.entries[entry_id]

    def dead(self) -> list[tuple[str, str, bytes | None]]:
        return [(i, reason, fields.get(b"image")) for i, reason, _, fields in self.stream.dead]


class OnServer(Place):
    def __init__(self, settings: Settings, server: EmbeddedRedis) -> None:
        super().__init__(settings, RedisPublisher(settings))
        self.client = client_of(server)
        self.keys = Keys(settings.name)
        self.consumers: list[RedisConsumer] = []

    def consumer(self) -> Consumer:
        self.consumers.append(leading(self.settings))
        return self.consumers[-1]

    def write_by_hand(self, fields: Mapping[bytes, bytes]) -> str:
        return str(self.client.xadd(self.keys.stream, dict(fields)).decode())

    def delete(self, *ids: str) -> None:
        assert self.client.xdel(self.keys.stream, *ids) == len(ids)

    def dead(self) -> list[tuple[str, str, bytes | None]]:
        letters = self.client.xrange(self.keys.dead)
        return [
            (f[b"dead-id"].decode(), f[b"dead-reason"].decode(), f.get(b"image"))
            for _, f in letters
        ]


class Places:
    """Makes places and closes them."""

    def __init__(self, kind: str, server: EmbeddedRedis | None) -> None:
        self._kind, self._server = kind, server
        self.made: list[Place] = []

    def __call__(self, **overrides: Any) -> Place:
        place: Place
        if self._server is None:
            place = InMemory(load_settings(**overrides))
        else:
            place = OnServer(settings_on(self._server, **overrides), self._server)
        self.made.append(place)
        return place


@pytest.fixture(params=["memory", "redis"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Places]:
    if request.param == "redis":
        require_server()
    started = request.getfixturevalue("server") if request.param == "redis" else None
    places = Places(request.param, started)
    yield places
    for place in places.made:
        await place.publisher.close()
        if isinstance(place, OnServer):
            place.client.close()
            for consumer in place.consumers:
                consumer.close()


@pytest.fixture
def place(make: Places) -> Place:
    return make()


def sample(number: int, *, size: int = 4, label: str = "cat") -> Sample:
    return Sample(np.full((size, size, 3), number % 256, np.uint8), label, 1.0)


def ids(entries: list[Entry]) -> list[str]:
    return [e.id for e in entries]


def numbers(entries: list[Entry]) -> list[int]:
    """What was written into the pixels."""
    return [e.fields[b"image"][0] for e in entries]


def learn(consumer: Consumer, most: int = 100) -> list[Entry]:
    """Claim and learn as the loop does, without a checkpoint."""
    entries = consumer.claim(most, 0)
    if entries:
        consumer.hold(ids(entries))
        consumer.release()
    return entries


def die_learning(place: Place, most: int, position: str = START) -> tuple[Consumer, list[Entry]]:
    """A worker that starts, claims, and is killed while it learns."""
    worker = place.consumer()
    worker.open(position)
    entries = worker.claim(most, 0)
    if entries:
        worker.hold(ids(entries))
    return worker, entries


# -- the way of a sample ---------------------------------------------------------------------


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


# -- a worker that was killed ----------------------------------------------------------------


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


# -- what became of a sample -----------------------------------------------------------------


async def test_each_sample_tells_its_fate(place: Place) -> None:
    published = await place.publish(6)
    fate = place.publisher.fate
    assert [await fate(i) for i in published] == [Fate(i, "pending") for i in published]
    consumer = place.consumer()
    claimed = consumer.claim(6, 0)
    consumer.bury(claimed[4], "wrong_size", "8 x 8, not 32 x 32")
    await place.publisher.discard([published[1], published[5]])
    buried = Fate(published[4], "buried", None, "wrong_size", "8 x 8, not 32 x 32")
    assert await fate(published[4]) == buried  # before its turn, and after it
    consumer.hold([published[n] for n in (0, 2, 3)])
    consumer.release()
    assert await fate(published[0]) == Fate(published[0], "pending")  # in no checkpoint
    consumer.ack(published[2])
    assert (await fate(published[3])).status == "pending"
    consumer.ack(consumer.position)
    fates = [(await fate(i)).status for i in published]
    assert fates == ["learned", "deleted", "learned", "learned", "buried", "deleted"]
    assert await fate(published[4]) == buried
    assert (await fate(published[0])).model_version is None


async def test_a_learned_sample_names_the_first_version_that_has_it(place: Place) -> None:
    published = await place.publish(5)
    consumer = place.consumer()
    consumer.published(1, START)
    for version, until in ((2, 1), (3, 1), (4, 3)):
        if consumer.position != published[until]:
            learn(consumer, 2)
        consumer.published(version, published[until])
    learn(consumer)
    consumer.ack(consumer.position)
    versions = [(await place.publisher.fate(i)).model_version for i in published]
    assert versions == [2, 2, 4, 4, None]
    consumer.published(5, published[4])
    consumer.published(6, published[4])
    consumer.published(3, published[1])  # said again after a restart
    versions = [(await place.publisher.fate(i)).model_version for i in published]
    assert versions == [2, 2, 4, 4, 5]


async def test_a_fate_outlives_the_worker(place: Place) -> None:
    published = await place.publish(4)
    consumer = place.consumer()
    claimed = consumer.claim(4, 0)
    consumer.bury(claimed[2], "unreadable", "no\nlabel")
    again = place.consumer()  # died with nothing in a checkpoint
    assert ids(learn(again)) == [published[n] for n in (0, 1, 3)]
    again.ack(again.position)
    assert (await place.publisher.fate(published[2])).why == "no\nlabel"
    assert (await place.publisher.fate(published[3])).status == "learned"


async def test_what_is_unknown_or_too_long_ago_has_no_fate(make: Places) -> None:
    place = make(fates_kept=100)
    published = [i for _ in range(5) for i in await place.publish(100)]
    learn_all(place)
    kept = [i for i in published if await known(place, i)]
    assert kept == published[-len(kept) :]  # the newest
    assert 100 <= len(kept) < 300  # Redis trims its streams in blocks
    for wrong in ("1-0", "", "cat", "+", published[-1].replace("-", "-9")):
        assert not await known(place, wrong)


def learn_all(place: Place) -> None:
    consumer = place.consumer()
    while learn(consumer):
        pass
    consumer.ack(consumer.position)


async def known(place: Place, sample_id: str) -> bool:
    try:
        await place.publisher.fate(sample_id)
    except NotFound as exc:
        assert str(place.settings.fates_kept) in str(exc)
        return False
    return True


# -- what only a server can do ---------------------------------------------------------------


@pytest.fixture
async def here(server: EmbeddedRedis) -> AsyncIterator[OnServer]:
    places = Places("redis", server)
    place = places()
    assert isinstance(place, OnServer)
    yield place
    await place.publisher.close()
    place.client.close()
    for consumer in place.consumers:
        consumer.close()


@pytest.mark.parametrize("how", ["group", "all"])
async def test_a_destroyed_group_is_made_again_where_the_worker_was(
    here: OnServer, how: str
) -> None:
    await here.publish(4)
    lease = Lease(here.settings)
    consumer = RedisConsumer(here.settings, lease.take())
    here.consumers.append(consumer)
    learn(consumer, 2)
    if how == "group":
        here.client.xgroup_destroy(here.keys.stream, GROUP)
    else:
        here.client.delete(*here.client.keys(f"learndrop:{here.settings.name}:*"))
        await here.publish(1)
    with pytest.raises(StreamAway, match="NOGROUP|NOLEASE"):
        consumer.claim(10, 0)
    lease.renew()
    lease.close()
    assert numbers(learn(consumer)) == ([2, 3] if how == "group" else [0])
    consumer.ack(consumer.position)
    # What is gone is counted as gone, by what was known of the account.
    left = Counts(4, 4, 0, 0) if how == "group" else Counts(5, 1, 4, 0)
    assert await here.adds_up() == left


@pytest.mark.parametrize("where", ["0", "$"])  # as on another server, or by an operator's hand
async def test_a_group_that_was_moved_is_not_read_from(here: OnServer, where: str) -> None:
    await here.publish(6)
    consumer = here.consumer()
    learn(consumer, 2)
    consumer.ack(consumer.position)
    await here.publish(1)
    here.client.xgroup_setid(here.keys.stream, GROUP, where)
    with pytest.raises(StreamAway, match="STRAYED"):
        consumer.claim(100, 0)
    assert numbers(learn(consumer)) == [2, 3, 4, 5, 0]


async def test_a_stream_that_lost_its_end_is_claimed_from_only_as_told(here: OnServer) -> None:
    published = await here.publish(6)
    consumer = here.consumer()
    learn(consumer, 4)
    consumer.ack(consumer.position)
    ahead = "99999999999999-5"  # a checkpoint that has learned more than the stream ever had
    for _ in range(2):  # also after one more start
        waiting = here.consumer()
        waiting.open(ahead, learned=9)
        assert waiting.claim(10, 0) == []
        assert waiting.gap is not None and waiting.gap.waiting
        assert (waiting.gap.kind, waiting.gap.samples) == ("stream_behind", 3)
        assert published[-1] in waiting.gap.why and ahead in waiting.gap.why
    # The two that waited lie before the checkpoint's position: it has learned them, it says.
    assert await here.adds_up() == Counts(6, 6, 0, 0)
    told = leading(here.settings.model_copy(update={"on_gap": "go_on"}))
    here.consumers.append(told)
    told.open(ahead, learned=9)
    (new,) = await here.publish(1)
    assert ids(learn(told)) == [new]
    told.ack(told.position)
    assert told.gap is not None and not told.gap.waiting
    assert await here.adds_up() == Counts(10, 10, 0, 0)


async def test_a_checkpoint_that_lacks_what_was_acknowledged_waits_unless_it_is_known_why(
    here: OnServer,
) -> None:
    published = await here.publish(6)
    consumer = here.consumer()
    learn(consumer, 4)
    consumer.ack(consumer.position)
    foreign = here.consumer()
    foreign.open(published[1], learned=2)
    assert foreign.claim(10, 0) == []
    assert foreign.gap is not None and foreign.gap.waiting
    assert (foreign.gap.kind, foreign.gap.samples) == ("checkpoint_behind", 2)
    (warning,) = [w for w in await here.publisher.warnings() if "LEARNDROP_ON_GAP" in w]
    assert published[3] in warning
    known = here.consumer()  # the newest checkpoint is damaged: the one before it goes on
    known.open(published[1], learned=2, older=True)
    assert ids(known.claim(10, 0)) == published[4:]
    assert known.gap is not None and not known.gap.waiting
    right = here.consumer()
    right.open(published[3], learned=4)
    assert ids(right.claim(10, 0)) == published[4:]
    assert right.gap is None
    assert not [w for w in await here.publisher.warnings() if "LEARNDROP_ON_GAP" in w]


async def test_entries_pending_for_another_name_are_taken_over(here: OnServer) -> None:
    await here.publish(3)
    other = leading(here.settings.model_copy(update={"consumer": "worker-before"}))
    assert len(other.claim(2, 0)) == 2
    other.close()
    consumer = here.consumer()
    assert numbers(learn(consumer)) == [0, 1, 2]
    consumer.ack(consumer.position)
    assert here.client.xpending(here.keys.stream, GROUP)["pending"] == 0
    assert await here.adds_up() == Counts(3, 3, 0, 0)


async def test_a_deleted_consumer_loses_nothing(here: OnServer) -> None:
    await here.publish(3)
    here.consumer().claim(2, 0)
    here.client.xgroup_delconsumer(here.keys.stream, GROUP, here.settings.consumer)
    assert numbers(learn(here.consumer())) == [0, 1, 2]


async def test_ids_whose_entries_are_gone_do_not_stay_pending(here: OnServer) -> None:
    published = await here.publish(3)
    consumer = here.consumer()
    learn(consumer)
    here.delete(published[0])
    consumer.ack(consumer.position)
    fate = await here.publisher.fate(published[0])
    assert (fate.status, fate.reason) == ("buried", "vanished")
    assert here.client.xpending(here.keys.stream, GROUP)["pending"] == 0


async def test_after_the_stream_was_emptied_nothing_new_counts_as_old(here: OnServer) -> None:
    far = "99999999999999-5"  # a checkpoint from before, or from a clock that ran ahead
    consumer = here.consumer()
    consumer.open(far)
    assert consumer.claim(1, 0) == []
    (published,) = await here.publish(1)
    assert published == "99999999999999-6"
    assert ids(learn(consumer)) == [published]


async def test_a_learned_sample_takes_its_suspicion_with_it(here: OnServer) -> None:
    await here.publish(3)
    die_learning(here, 3)
    consumer = here.consumer()
    learn(consumer)
    consumer.ack(consumer.position)
    assert here.client.hgetall(here.keys.suspects) == {}


async def test_retry_after_follows_the_rate_of_learning(server: EmbeddedRedis) -> None:
    place = OnServer(settings_on(server, max_pending=20), server)
    await place.publish(20)
    consumer = place.consumer()
    learn(consumer)
    consumer.ack(consumer.position)
    place.client.hset(place.keys.counters, "rate", "0.5")
    await place.publish(20)
    with pytest.raises(StreamFull) as told:
        await place.publish(10)
    assert told.value.retry_after_s == 20
    await place.publisher.close()
    consumer.close()
    place.client.close()


async def test_a_cancelled_publish_leaves_no_answer_for_the_next(here: OnServer) -> None:
    outcomes = set()
    for turns in range(40):  # cut at every point of the way
        task = asyncio.create_task(here.publish(50))
        for _ in range(turns % 10):
            await asyncio.sleep(0)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        outcomes.add(type(outcome))
        assert isinstance(await here.publisher.counts(), Counts)
        assert len(await here.publish(2)) == 2
    assert asyncio.CancelledError in outcomes
    assert (await here.adds_up()).pending % 50 == 80 % 50  # whole batches only


async def test_a_key_of_a_wrong_type_is_said_and_not_suffered(here: OnServer) -> None:
    here.client.set(here.keys.stream, "mine")
    with pytest.raises(StreamAway, match="WRONGTYPE"):
        await here.publish(1)
    with pytest.raises(StreamAway, match="WRONGTYPE"):
        here.consumer().claim(1, 0)
    await here.publish(1)
    assert len(learn(here.consumer())) == 1
    await here.adds_up()
    assert here.client.get(f"{here.keys.stream}:set-aside") == b"mine"  # nobody's value is deleted


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    require_server()
    with EmbeddedRedis(tmp_path_factory.mktemp("own")) as started:
        yield started


async def test_both_sides_come_back_when_the_server_does(own_server: EmbeddedRedis) -> None:
    place = OnServer(settings_on(own_server), own_server)
    consumer = place.consumer()
    await place.publish(4)
    learn(consumer, 1)
    claimed = consumer.claim(1, 0)
    own_server.kill()
    with pytest.raises(StreamAway):
        await place.publish(1)
    with pytest.raises(StreamAway):
        consumer.hold(ids(claimed))
    with pytest.raises(StreamAway):
        consumer.claim(1, 0)
    own_server.start()
    await place.publish(1)
    assert numbers(learn(consumer)) == [1, 2, 3, 0]  # the claimed one comes again
    consumer.ack(consumer.position)
    assert await place.adds_up() == Counts(5, 5, 0, 0)
    await place.publisher.close()
    consumer.close()
    place.client.close()


async def test_a_server_out_of_memory_is_not_now(own_server: EmbeddedRedis) -> None:
    place = OnServer(settings_on(own_server), own_server)
    place.client.config_set("maxmemory", "1mb")
    with pytest.raises(StreamAway, match="OOM|OutOfMemory"):
        await place.publish(2)
    place.client.config_set("maxmemory", "0")
    await place.publish(2)
    assert await place.adds_up() == Counts(2, 0, 0, 2)
    await place.publisher.close()
    place.client.close()


async def test_a_server_that_could_lose_samples_is_named(own_server: EmbeddedRedis) -> None:
    place = OnServer(settings_on(own_server), own_server)
    assert await place.publisher.check() == []
    for option, value in [
        ("appendfsync", "everysec"),
        ("appendonly", "no"),
        ("maxmemory-policy", "allkeys-lru"),
    ]:
        place.client.config_set(option, value)
    named = await place.publisher.check()
    assert [n.split()[0] for n in named] == ["appendonly", "appendfsync", "maxmemory-policy"]
    place.client.acl_setuser("default", enabled=True, nopass=True, commands=["-config"])
    assert all("cannot be checked" in n for n in await place.publisher.check())
    await place.publisher.close()
    place.client.close()


async def test_a_url_that_is_none_is_a_bad_setting_without_its_password() -> None:
    settings = load_settings(redis_url="http://:secret@host:1/0")
    for side in (RedisPublisher, Lease, lambda known: RedisConsumer(known, token=1)):
        with pytest.raises(BadSettings) as told:
            side(settings)
        assert "secret" not in str(told.value)


def test_redis_errors_never_pass_the_border() -> None:
    settings = load_settings(redis_url="redis://127.0.0.1:1/0")
    consumer = RedisConsumer(settings, token=1)
    for call in (consumer.counts, lambda: consumer.claim(1, 0), lambda: consumer.ack(START)):
        with pytest.raises(StreamAway) as told:
            call()
        assert isinstance(told.value.__cause__, redis.RedisError)
    consumer.close()
