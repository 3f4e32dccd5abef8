"""What became of a sample."""

from __future__ import annotations

from learndrop.errors import NotFound
from learndrop.server.ids import START
from learndrop.stream.fates import Fate
from tests.servers import server
from tests.streams import (
    OnServer,
    Place,
    Places,
    ids,
    learn,
    make,
    place,
)

__all__ = ["make", "place", "server"]


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


async def test_many_fates_set_aside_are_moved_in_pieces_and_in_order(make: Places) -> None:
    place = make(fates_kept=10_000)
    published = [i for _ in range(8) for i in await place.publish(60)]
    await place.publisher.discard(published[10:230])
    consumer = place.consumer()
    for entry in consumer.claim(40, 0):
        consumer.bury(entry, "wrong_size", "8 x 8, not 32 x 32")
    consumer.release()
    learn(consumer, 1000)
    assert consumer.ack(consumer.position) == 480 - 220 - 40
    if isinstance(place, OnServer):
        assert place.client.zcard(place.keys.aside) == 0
        assert [i.decode() for i, _ in place.client.xrange(place.keys.fates)] == published
    told = [(await place.publisher.fate(i)).status for i in published]
    assert told == ["buried"] * 10 + ["deleted"] * 220 + ["buried"] * 30 + ["learned"] * 220
    await place.adds_up()


async def test_what_is_set_aside_is_bounded_also_without_a_worker(make: Places) -> None:
    place = make()
    if not isinstance(place, OnServer):
        return  # there the fates are one list, bounded as such
    old = {f"{n}-0 deleted": n for n in range(1, 100_001)}
    place.client.zadd(place.keys.aside, old)
    published = await place.publish(5)
    await place.publisher.discard(published)
    assert place.client.zcard(place.keys.aside) == 100_000
    assert [(await place.publisher.fate(i)).status for i in published] == ["deleted"] * 5
