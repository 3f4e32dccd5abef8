"""The stream and what only a server can do: lose a group, be moved, go away, be full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import redis

from deploy.embedded import EmbeddedRedis
from learndrop.errors import BadSettings, StreamAway, StreamFull
from learndrop.events import Event
from learndrop.server.board import WorkerBoard
from learndrop.server.ids import START
from learndrop.server.keys import GROUP
from learndrop.server.lease import Lease
from learndrop.settings import load_settings
from learndrop.stream.account import Counts
from learndrop.stream.consumer import RedisConsumer
from learndrop.stream.publisher import RedisPublisher
from tests.servers import leading, require_server, server, settings_on
from tests.streams import (
    OnServer,
    Places,
    die_learning,
    ids,
    learn,
    numbers,
)

__all__ = ["server"]


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
        assert waiting.ack(ahead) == 0
    # The two that waited lie before the checkpoint's position; nothing is taken off unless told.
    assert await here.adds_up() == Counts(6, 4, 0, 2)
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


async def test_the_right_checkpoint_after_a_wrong_one_has_nothing_to_wait_for(
    here: OnServer,
) -> None:
    published = await here.publish(6)
    consumer = here.consumer()
    learn(consumer, 4)
    consumer.ack(consumer.position)
    wrong = here.consumer()
    wrong.open("99999999999999-5", learned=9)
    assert wrong.claim(10, 0) == []
    assert wrong.gap is not None
    right = here.consumer()
    right.open(published[3], learned=4)
    assert ids(right.claim(10, 0)) == published[4:]
    assert right.gap is None


async def test_a_lost_end_is_noticed_though_more_was_accepted_since(here: OnServer) -> None:
    published = await here.publish(6)
    consumer = here.consumer()
    learn(consumer, 4)
    consumer.ack(consumer.position)
    await here.publish(50)
    behind = here.consumer()
    behind.open(published[5], learned=9)  # three between the fifth and the sixth were lost
    assert behind.claim(10, 0) == []
    assert behind.gap is not None
    assert (behind.gap.kind, behind.gap.samples) == ("stream_behind", 3)
    assert await here.adds_up() == Counts(56, 4, 0, 52)


@pytest.mark.parametrize("when", ["before the end", "after the end"])
async def test_another_data_folder_takes_nothing_off_that_it_has_not_learned(
    here: OnServer, when: str
) -> None:
    published = await here.publish(6)
    consumer = here.consumer("mine")
    consumer.open(START)
    learn(consumer, 2)
    consumer.ack(consumer.position)
    where = published[4] if when == "before the end" else "99999999999999-5"
    for _ in range(2):
        foreign = here.consumer("another")
        foreign.open(where, learned=9)
        assert foreign.claim(10, 0) == []
        assert foreign.gap is not None and foreign.gap.waiting
        assert (foreign.gap.kind, foreign.gap.samples) == ("checkpoint_behind", 2)
        assert foreign.ack(where) == 0
        assert foreign.position == where  # a checkpoint made meanwhile says what this one says
    assert await here.adds_up() == Counts(6, 2, 0, 4)
    right = here.consumer("mine")
    right.open(published[1], learned=2)
    assert ids(right.claim(10, 0)) == published[2:]
    assert right.gap is None
    told = leading(here.settings.model_copy(update={"on_gap": "go_on"}), "another")
    here.consumers.append(told)
    for _ in range(2):  # also when it dies before its first checkpoint from here
        told.open(where, learned=9)
        assert ids(learn(told)) == published[2:]
        told.ack(where)  # as the loop does where it has no newer checkpoint
    assert told.ack(told.position) == 4
    # The nine that only this folder has count as accepted and learned, once.
    assert await here.adds_up() == Counts(13, 13, 0, 0)
    again = here.consumer("another")
    again.open(told.position, learned=13)
    assert again.claim(10, 0) == []
    assert again.gap is None


@pytest.mark.parametrize("written_since", [0, 3, 12])
async def test_a_server_that_lost_all_while_the_worker_was_down_is_noticed(
    here: OnServer, written_since: int
) -> None:
    await here.publish(8)
    consumer = here.consumer()
    learn(consumer)
    consumer.ack(consumer.position)
    position = consumer.position
    here.client.delete(*here.client.keys(f"learndrop:{here.settings.name}:*"))
    fresh = await here.publish(written_since)
    for _ in range(2):  # also after one more start
        restarted = here.consumer()
        restarted.open(position, learned=8)
        assert restarted.claim(20, 0) == []
        assert restarted.gap is not None and restarted.gap.waiting
        assert (restarted.gap.kind, restarted.gap.samples) == ("stream_behind", 8)
    assert await here.adds_up() == Counts(written_since, 0, 0, written_since)
    told = leading(here.settings.model_copy(update={"on_gap": "go_on"}))
    here.consumers.append(told)
    told.open(position, learned=8)
    fresh += await here.publish(1)
    assert ids(learn(told)) == fresh
    told.ack(told.position)
    assert await here.adds_up() == Counts(8 + len(fresh), 8 + len(fresh), 0, 0)
    well = here.consumer()
    well.open(told.position, learned=8 + len(fresh))
    assert well.claim(1, 0) == []
    assert well.gap is None


async def test_what_was_taken_since_the_last_acknowledgement_is_counted_as_gone_too(
    here: OnServer,
) -> None:
    consumer = here.consumer()
    learn(consumer)
    await here.publish(8)
    learn(consumer, 3)
    assert consumer.counts() == Counts(8, 0, 0, 8)  # as the loop asks twice a second
    lease = dict(here.client.hgetall(here.keys.lease))
    here.client.delete(*here.client.keys(f"learndrop:{here.settings.name}:*"))
    here.client.hset(here.keys.lease, mapping=lease)  # renewed by its thread, before all else
    with pytest.raises(StreamAway, match="STRAYED"):
        consumer.ack(consumer.position)
    consumer.counts()
    await here.publish(1)
    assert numbers(learn(consumer)) == [0]
    consumer.ack(consumer.position)
    assert await here.adds_up() == Counts(9, 1, 8, 0)


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


async def test_an_idle_hour_says_nothing_about_the_rate_of_learning(here: OnServer) -> None:
    consumer = here.consumer()
    for _ in range(3):
        assert consumer.claim(20, 0.5) == []  # nothing comes for a while
        await here.publish(20)
        learn(consumer)
        consumer.ack(consumer.position)
        assert float(here.client.hget(here.keys.counters, "rate")) > 50


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
    await here.publish(1)  # whoever meets it sets it aside
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
    for call in (place.publish(2), place.publisher.check()):
        with pytest.raises(StreamAway, match="OOM|OutOfMemory"):
            await call
    place.client.config_set("maxmemory", "0")
    await place.publish(2)
    assert await place.adds_up() == Counts(2, 0, 0, 2)
    await place.publisher.close()
    place.client.close()


async def test_a_worker_goes_on_where_the_server_is_out_of_memory_and_so_frees_some(
    own_server: EmbeddedRedis,
) -> None:
    place = OnServer(settings_on(own_server), own_server)
    published = await place.publish(80)
    by_hand = place.write_by_hand({b"hello": b"world"})
    place.client.config_set("maxmemory", "1mb")
    with pytest.raises(StreamAway, match="OOM|OutOfMemory"):
        await place.publish(1)
    lease = Lease(place.settings)
    worker, board = RedisConsumer(place.settings, lease.take()), WorkerBoard(place.settings, 1)
    place.consumers.append(worker)
    lease.renew()
    assert ids(worker.claim(80, 0)) == published
    assert worker.hold(published) == set()
    worker.release()
    (last,) = worker.claim(1, 0)
    assert last.id == by_hand
    worker.bury(last, "unreadable", "no sample")
    worker.release()
    worker.published(1, published[-1])
    assert worker.ack(worker.position) == 80
    board.put_state({"well": True})
    board.add_events([Event("publish", 0.0, 80, "version 1", 0)])
    assert await place.adds_up() == Counts(81, 80, 1, 0)
    assert (await place.publisher.fate(published[0])).model_version == 1
    board.close()
    worker.close()
    lease.close()
    await place.publisher.close()
    place.client.close()


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_a_server_that_takes_no_writes_is_not_ready(
    own_server: EmbeddedRedis, fsync: str
) -> None:
    place = OnServer(settings_on(own_server, fsync=fsync), own_server)
    assert await place.publisher.check() == []
    place.client.config_set("min-replicas-to-write", "1")  # refused as where a disk is full
    with pytest.raises(StreamAway, match="(?i)NOREPLICAS|replicas"):
        await place.publisher.check()
    assert place.client.keys(place.keys.probe) == []
    await place.publisher.close()
    place.client.close()


async def test_a_server_that_could_lose_samples_is_named(own_server: EmbeddedRedis) -> None:
    place = OnServer(settings_on(own_server), own_server)
    assert await place.publisher.check() == []
    for option, value in [
        ("appendfsync", "everysec"),
        ("appendonly", "no"),
        ("no-appendfsync-on-rewrite", "yes"),
        ("maxmemory-policy", "allkeys-lru"),
    ]:
        place.client.config_set(option, value)
    named = await place.publisher.check()
    options = ["appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"]
    assert [n.split()[0] for n in named] == options
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
