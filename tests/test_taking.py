"""Batches are taken once and samples by their names once; and no key takes more than its share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.errors import OtherContent, ShareFull, StreamFull, TooLarge
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.contract import Consumer
from learndrop.stream.memory_consumer import MemoryConsumer
from learndrop.stream.memory_stream import MemoryStream
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.stream.taking import Once, Taken
from tests.servers import client_of, leading, require_server, server, settings_on

__all__ = ["server"]


class Place:
    """A stream with both its sides, in memory or on a server."""

    def __init__(self, settings: Settings, on_server: bool) -> None:
        self.settings, self.on_server = settings, on_server
        self.publisher = RedisPublisher(settings) if on_server else MemoryStream(settings)

    def take(self, samples: list[Sample], key: str = "", content: str = "same") -> Taken:
        """One call with a connection of its own, as each request of a restarted service."""

        async def ask() -> Taken:
            publisher = RedisPublisher(self.settings) if self.on_server else self.publisher
            try:
                return await publisher.take(samples, Once(key, content) if key else None)
            finally:
                await publisher.close()

        return asyncio.run(ask())

    def consumer(self) -> Consumer:
        if isinstance(self.publisher, MemoryStream):
            return MemoryConsumer(self.publisher)
        # each begins anew on what the one before has acknowledged
        return leading(self.settings.model_copy(update={"on_gap": "go_on"}))

    def learn(self, number: int) -> None:
        """Take the next samples off the stream, as a worker after its checkpoint."""
        consumer = self.consumer()
        assert len(consumer.claim(number, 0.2)) == number
        consumer.release()
        assert consumer.ack(consumer.position) == number
        consumer.close()

    def pending(self) -> int:
        consumer = self.consumer()
        counts = consumer.counts()
        assert counts.missing == 0
        consumer.close()
        return counts.pending


Places = Callable[..., Place]


@pytest.fixture(params=["memory", "server"])
def places(request: pytest.FixtureRequest) -> Iterator[Places]:
    on_server = request.param == "server"
    if on_server:
        require_server()
        started: EmbeddedRedis = request.getfixturevalue("server")

    def make(**overrides: Any) -> Place:
        made = settings_on(started, **overrides) if on_server else load_settings(**overrides)
        return Place(made, on_server)

    yield make


def samples(number: int, key: str = "", names: list[str] | None = None) -> list[Sample]:
    image = np.zeros((8, 8, 3), np.uint8)
    named = names or [""] * number
    return [Sample(image, str(n), 1.0, key, named[n]) for n in range(number)]


def test_the_same_batch_again_gets_the_same_ids(places: Places) -> None:
    place = places()
    first = place.take(samples(3), "k-1")
    again = place.take(samples(3), "k-1")
    assert again.ids == first.ids and len(set(first.ids)) == 3
    assert (first.again, again.again, first.fresh, again.fresh) == (False, True, 3, 0)
    assert place.pending() == 3
    assert place.take(samples(3), "k-2").ids != first.ids
    assert place.take(samples(3)).fresh == 3, "without a key it is a new batch"


def test_the_same_key_with_other_content_is_refused(places: Places) -> None:
    place = places()
    place.take(samples(3), "k", content="a")
    with pytest.raises(OtherContent, match="Idempotency-Key"):
        place.take(samples(3), "k", content="b")
    assert place.pending() == 3


def test_it_is_known_again_after_its_samples_are_learned(places: Places) -> None:
    place = places()
    first = place.take(samples(3), "k")
    place.learn(3)
    assert place.take(samples(3), "k").ids == first.ids
    assert place.pending() == 0


def test_a_batchs_key_is_its_senders_own(places: Places) -> None:
    place = places()
    ids = [place.take(samples(2, key=who), "k").ids for who in ("a", "b", "")]
    assert len({i for two in ids for i in two}) == 6


def test_a_batch_that_is_sent_at_the_same_time_is_taken_once(server: EmbeddedRedis) -> None:
    settings = settings_on(server)

    async def both() -> list[Taken]:
        publishers = [RedisPublisher(settings) for _ in range(8)]
        taken = await asyncio.gather(*(p.take(samples(4), Once("k", "c")) for p in publishers))
        counts = await publishers[0].counts()
        for publisher in publishers:
            await publisher.close()
        assert counts.pending == 4
        return list(taken)

    taken = asyncio.run(both())
    assert len({tuple(t.ids) for t in taken}) == 1
    assert sum(t.fresh for t in taken) == 4


def test_batches_are_forgotten_after_their_time(places: Places) -> None:
    place = places(idempotency_ttl_s=1)
    first = place.take(samples(1), "k")
    deadline = 100
    while (later := place.take(samples(1), "k")).again and deadline:
        deadline -= 1
        asyncio.run(asyncio.sleep(0.05))
    assert later.ids != first.ids
    assert place.take(samples(1), "k").ids == later.ids, "the later one is remembered now"


def test_the_oldest_batches_go_first(places: Places) -> None:
    place = places(idempotency_kept=3)
    first = [place.take(samples(1), f"k-{n}").ids for n in range(5)]
    again = [place.take(samples(1), f"k-{n}").ids for n in (4, 3, 2)]
    assert again == [first[n] for n in (4, 3, 2)]
    assert place.take(samples(1), "k-0").ids != first[0]


def test_one_sender_does_not_make_others_be_forgotten(places: Places) -> None:
    place = places(idempotency_kept=6, sample_ids_kept=6)
    mine = [
        place.take(samples(1, key="a", names=[f"a{n}"]), f"k-{n}").ids for n in range(3)
    ]  # half of the room, which is its share
    place.take(samples(1, key="b", names=["known"]), "first")
    for n in range(20):  # nothing new: costs its sender nothing
        place.take(samples(1, key="b", names=["known"]), f"k-{n}")
        place.take(samples(1, key="b", names=[f"b{n}"]), f"l-{n}")
    again = [place.take(samples(1, key="a", names=[f"a{n}"]), f"k-{n}") for n in range(3)]
    assert [t.ids for t in again] == mine and all(t.again for t in again)
    assert [place.take(samples(1, key="a", names=[f"a{n}"])).ids for n in range(3)] == mine
    assert place.take(samples(1, key="b", names=["b19"]), "l-19").again
    assert not place.take(samples(1, key="b", names=["b0"]), "l-0").again


def test_a_name_that_was_taken_is_answered_with_its_first_id(places: Places) -> None:
    place = places()
    first = place.take(samples(3, names=["a", "b", ""]))
    later = place.take(samples(4, names=["c", "a", "", "b"]))
    assert later.ids[1] == first.ids[0] and later.ids[3] == first.ids[1]
    assert later.duplicates == [1, 3] and later.fresh == 2
    assert place.pending() == 5
    assert place.take(samples(2, names=["a", "c"])).fresh == 0
    assert place.take(samples(1, key="other", names=["a"])).fresh == 1, "names are the sender's own"


def test_a_name_twice_in_one_batch_is_one_sample(places: Places) -> None:
    place = places()
    taken = place.take(samples(3, names=["a", "b", "a"]))
    assert taken.duplicates == [2] and taken.ids[2] == taken.ids[0]
    assert place.pending() == 2


def test_names_and_a_key_together_answer_as_before(places: Places) -> None:
    place = places()
    place.take(samples(1, names=["a"]))
    first = place.take(samples(2, names=["a", "b"]), "k")
    again = place.take(samples(2, names=["a", "b"]), "k")
    assert (again.ids, again.duplicates, again.again) == (first.ids, [0], True)


def test_the_newest_names_are_known(places: Places) -> None:
    place = places(sample_ids_kept=3)
    place.take(samples(5, names=list("abcde")))
    assert place.take(samples(3, names=list("cde"))).fresh == 0
    assert place.take(samples(1, names=["a"])).fresh == 1


def test_a_full_stream_still_answers_what_it_has_taken(places: Places) -> None:
    place = places(max_pending=4)
    first = place.take(samples(4, names=list("abcd")), "k")
    with pytest.raises(StreamFull):
        place.take(samples(1))
    assert place.take(samples(4, names=list("abcd")), "k").ids == first.ids
    assert place.take(samples(2, names=["b", "a"])).ids == [first.ids[1], first.ids[0]]


def test_a_refused_batch_is_not_remembered(places: Places) -> None:
    place = places(max_pending=4)
    place.take(samples(3))
    with pytest.raises(StreamFull):
        place.take(samples(2, names=["a", "b"]), "k")
    place.learn(3)
    taken = place.take(samples(2, names=["a", "b"]), "k")
    assert taken.fresh == 2 and not taken.again


def test_one_key_never_takes_all_and_several_have_equal_parts(places: Places) -> None:
    place = places(max_pending=100, key_share=0.75)  # three times the room that is left
    waiting: list[str] = []

    def offer(who: str) -> bool:
        try:
            place.take(samples(1, key=who))
        except ShareFull:
            return False
        waiting.append(who)
        return True

    while offer("a"):
        pass
    assert len(waiting) == 75
    while offer("b"):
        pass
    assert waiting.count("b") == 18, "the room that a leaves is for others"
    for _ in range(8):
        place.learn(25)
        del waiting[:25]
        while any([offer("a"), offer("b")]):
            pass
    assert abs(waiting.count("a") - waiting.count("b")) <= 3
    assert 80 <= len(waiting) <= 86, "three sevenths each"


def test_a_share_tells_when_there_is_room_again(places: Places) -> None:
    place = places(max_pending=100, key_share=0.5)
    place.take(samples(40, key="a"))
    with pytest.raises(ShareFull, match="'a'") as caught:
        place.take(samples(20, key="a"))
    assert caught.value.limit == 40 and caught.value.value == 60
    assert caught.value.retry_after_s >= 1
    place.take(samples(10, key="b"))
    place.take(samples(10))  # without a key there is no share
    with pytest.raises(TooLarge, match="the stream holds 50"):
        place.take(samples(51, key="c"))
    assert place.pending() == 60


def test_the_share_is_of_the_tighter_limit(places: Places) -> None:
    place = places(max_pending=1000, max_pending_bytes=100 * 192, key_share=0.5)
    place.take(samples(50, key="a"))
    with pytest.raises(ShareFull):
        place.take(samples(1, key="a"))
    assert place.take(samples(20, key="b")).fresh == 20


def test_a_batch_that_is_over_a_keys_share_of_the_bytes_is_refused_for_good(
    places: Places,
) -> None:
    place = places(max_pending_bytes=10 * 192, key_share=0.5)
    with pytest.raises(TooLarge, match="6 samples at once, the stream holds 5"):
        place.take(samples(6, key="camera"))
    assert len(place.take(samples(5, key="camera")).ids) == 5


def test_a_share_of_one_is_no_bound(places: Places) -> None:
    place = places(max_pending=10, key_share=1.0)
    place.take(samples(10, key="a"))
    with pytest.raises(StreamFull) as caught:
        place.take(samples(1, key="a"))
    assert not isinstance(caught.value, ShareFull)


def test_what_leaves_the_stream_is_no_longer_counted_for_its_key(server: EmbeddedRedis) -> None:
    place = Place(settings_on(server), on_server=True)
    client, keys = client_of(server), Keys(place.settings.name)
    place.take([*samples(3, key="a"), *samples(0)])
    place.take(samples(2, key="b"))
    assert client.hget(keys.counters, "waiting:a") == b"3"
    place.learn(4)
    assert client.hget(keys.counters, "waiting:a") is None
    assert client.hget(keys.counters, "waiting:b") == b"1"
    client.xtrim(keys.stream, maxlen=0, approximate=False)  # another hand
    consumer = place.consumer()
    consumer.ack(consumer.position)
    assert client.hget(keys.counters, "waiting:b") is None


def test_the_digest_is_of_the_content_not_of_its_packing() -> None:
    one, other = samples(2), samples(2)
    assert Once.of("k", one) == Once.of("k", other)
    later = [Sample(s.image, s.label, 99.0, "who") for s in one]
    assert Once.of("k", later) == Once.of("k", one)
    changed = [
        [Sample(s.image, s.label + "x") for s in one],
        [Sample(s.image + 1, s.label) for s in one],
        [Sample(s.image, s.label, name="n") for s in one],
        [Sample(s.image.reshape(4, 16, 3), s.label) for s in one],
        one[:1],
    ]
    assert len({Once.of("k", c).content for c in [one, *changed]}) == 6
