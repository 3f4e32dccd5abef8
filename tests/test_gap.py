"""A stream and a checkpoint that do not belong together are noticed, counted and waited over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.errors import StreamAway
from learndrop.server.board import ServiceBoard
from learndrop.server.keys import Keys
from learndrop.stream.account import Counts
from learndrop.stream.messages import Sample
from tests.processes import Processes, processes, wait_until
from tests.servers import client_of, leading, require_server, settings_on
from tests.test_worker_kills import Service
from tests.tiny_worker import EAGER, number_of, saved

__all__ = ["processes"]


class Pair:
    """A server and its replica; `promote` lets the replica answer at the address of the first."""

    def __init__(self, folder: Path) -> None:
        self.first, self.replica = EmbeddedRedis(folder / "first"), EmbeddedRedis(folder / "other")
        self.first.start()
        self.replica.start()
        with client_of(self.replica) as redis:
            redis.execute_command("REPLICAOF", "127.0.0.1", self.first.port)

    def caught_up(self) -> bool:
        with client_of(self.first) as first, client_of(self.replica) as replica:
            written = int(first.info("replication")["master_repl_offset"])
            heard = replica.info("replication")
            up = heard["master_link_status"] == "up"
            return up and int(heard["slave_repl_offset"]) >= written

    def cut(self) -> None:
        """From now on the replica hears nothing."""
        with client_of(self.replica) as redis:
            redis.execute_command("REPLICAOF", "NO", "ONE")

    def promote(self) -> None:
        self.first.kill()
        self.replica.stop()
        self.replica.port = self.first.port
        self.replica.start()

    def kill(self) -> None:
        self.first.kill()
        self.replica.kill()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    require_server()
    pair = Pair(tmp_path)
    yield pair
    pair.kill()


async def test_what_was_learned_and_not_acknowledged_is_no_part_of_the_gap(
    pair: Pair, tmp_path: Path
) -> None:
    settings = settings_on(pair.first, data_dir=tmp_path, on_gap="go_on", redis_timeout_s=1.0)
    service, consumer = Service(settings), leading(settings)

    async def learn(number: int) -> None:
        await service.publish(number)
        consumer.hold([e.id for e in consumer.claim(number, 5.0)])
        consumer.release()

    async def caught_up() -> bool:
        return pair.caught_up()

    await learn(40)
    await wait_until(caught_up)
    pair.cut()
    await learn(30)
    pair.promote()
    with pytest.raises(StreamAway):
        consumer.claim(10, 0.1)
    assert consumer.claim(10, 0.1) == []
    assert consumer.gap and (consumer.gap.kind, consumer.gap.samples) == ("stream_behind", 30)
    assert consumer.counts() == Counts(70, 30, 0, 40)
    assert consumer.ack(consumer.position) == 40
    assert consumer.counts() == Counts(70, 70, 0, 0)
    consumer.close()
    await service.publisher.close()


@pytest.mark.parametrize("of_the_lost", [20, 0])
async def test_what_waited_and_is_lost_counts_as_vanished_under_a_worker_that_knew_of_it(
    pair: Pair, tmp_path: Path, of_the_lost: int
) -> None:
    settings = settings_on(pair.first, data_dir=tmp_path, on_gap="go_on", redis_timeout_s=1.0)
    service, consumer = Service(settings), leading(settings)

    async def caught_up() -> bool:
        return pair.caught_up()

    def learn(number: int) -> list[int]:
        entries = consumer.claim(number, 1.0)
        consumer.hold([e.id for e in entries])
        consumer.release()
        return [number_of(Sample.from_fields(e.fields)) for e in entries]

    await service.publish(40)
    learn(40)
    consumer.ack(consumer.position)
    await wait_until(caught_up)
    pair.cut()
    await service.publish(30)
    assert len(learn(of_the_lost)) == of_the_lost
    assert consumer.counts() == Counts(70, 40, 0, 30)
    pair.promote()
    for _ in range(5):  # lets the publisher's pool see that its connection is closed
        await asyncio.sleep(0)
    if of_the_lost:  # without, what comes before the worker does would hide as much of the loss
        await service.publish(3)
    consumer.counts()  # the client comes to the other server unnoticed
    came = learn(10)
    await service.publish(78 - service.sent)
    assert came + learn(10) == list(range(70, 78))  # all that comes, and once
    consumer.ack(consumer.position)
    assert await service.counts() == Counts(78, 48 + of_the_lost, 30 - of_the_lost, 0)
    assert consumer.buried["vanished"] == 30 - of_the_lost
    with client_of(pair.replica) as redis:
        keys = Keys(settings.name)
        ((_, letter),) = redis.xrange(keys.dead)
        assert redis.hget(keys.counters, "vanished") == b"%d" % (30 - of_the_lost)
    assert letter[b"dead-reason"] == b"vanished"
    assert letter[b"dead-why"].startswith(b"%d entries were lost" % (30 - of_the_lost))
    again = leading(settings)  # nothing is counted a second time
    again.open(consumer.position, learned=48 + of_the_lost)
    assert again.claim(1, 0.1) == [] and again.gap is None
    assert (await service.counts()).accepted == 78
    again.close()
    consumer.close()
    await service.publisher.close()


async def test_a_worker_told_to_go_on_learns_all_that_comes_after_each_loss_once(
    pair: Pair, processes: Processes, tmp_path: Path
) -> None:
    settings = settings_on(
        pair.first,
        data_dir=tmp_path / "data",
        on_gap="go_on",
        **EAGER,
    )
    service = Service(settings)
    worker = processes.start("tests.tiny_worker", settings)

    async def learned(more: int) -> None:
        await service.publish(more)
        await processes.works_until(worker, lambda: service.learned_or_buried(service.sent))

    await learned(40)
    await processes.works_until(worker, pair.caught_up)
    pair.cut()
    await learned(30)
    pair.promote()  # without the 30
    await processes.works_until(worker, lambda: "stream_gap" in processes.said(worker))
    await learned(10)
    assert await service.counts() == Counts(80, 80, 0, 0)
    with client_of(pair.replica) as redis:
        redis.flushall()
    await learned(10)  # the worker knew of them all
    assert await service.counts() == Counts(90, 90, 0, 0)
    worker.terminate()
    assert worker.wait(20) == 0
    with client_of(pair.replica) as redis:
        redis.flushall()
    await service.publish(5)
    assert await service.counts() == Counts(5, 0, 0, 5)
    worker = processes.start("tests.tiny_worker", settings)
    await processes.works_until(worker, lambda: service.learned_or_buried(95))
    await learned(5)
    assert await service.counts() == Counts(100, 100, 0, 0)
    worker.terminate()
    assert worker.wait(20) == 0
    assert saved(settings.data_dir)[0] == list(range(100))
    await service.publisher.close()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_promoted_replica_without_the_end_is_noticed_and_learned_from_only_as_told(
    pair: Pair, processes: Processes, tmp_path: Path, restarted: bool
) -> None:
    settings = settings_on(
        pair.first,
        data_dir=tmp_path / "data",
        **EAGER,
    )
    service, board = Service(settings), ServiceBoard(settings)
    worker = processes.start("tests.tiny_worker", settings)
    await service.publish(40)
    await processes.works_until(worker, lambda: service.learned_or_buried(40))
    await processes.works_until(worker, pair.caught_up)
    pair.cut()
    await service.publish(30)
    await processes.works_until(worker, lambda: service.learned_or_buried(70))
    if restarted:
        worker.terminate()
        assert worker.wait(20) == 0
    pair.promote()
    if restarted:
        worker = processes.start("tests.tiny_worker", settings)
    await processes.works_until(worker, lambda: "stream_gap" in processes.said(worker))

    await service.publish(10)  # accepted, and kept for whoever decides
    (warning,) = [w for w in await service.publisher.warnings() if "LEARNDROP_ON_GAP" in w]
    assert "30 samples that the checkpoint has learned" in warning

    async def told() -> bool:
        state = await board.state()
        gap = state and state["stream"]["gap"]
        return bool(gap and gap["kind"] == "stream_behind" and gap["samples"] == 30)

    await processes.works_until(worker, told)
    assert await service.counts() == Counts(50, 40, 0, 10)
    worker.terminate()
    assert worker.wait(20) == 0
    assert saved(settings.data_dir)[0] == list(range(70))  # nothing was learned meanwhile

    going = processes.start("tests.tiny_worker", settings.model_copy(update={"on_gap": "go_on"}))
    await processes.works_until(going, lambda: service.learned_or_buried(80))
    assert await service.counts() == Counts(80, 80, 0, 0)  # the 30 are in the account again
    assert saved(settings.data_dir)[0] == list(range(80))
    assert not [w for w in await service.publisher.warnings() if "LEARNDROP_ON_GAP" in w]
    going.terminate()
    assert going.wait(20) == 0
    again = processes.start("tests.tiny_worker", settings)  # nothing left to wait for
    await service.publish(5)
    await processes.works_until(again, lambda: service.learned_or_buried(85))
    await service.publisher.close()
    await board.close()
