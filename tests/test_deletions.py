"""A deleted sample leaves stream, replay, maps, predictions, dead letters and checkpoints."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deploy.embedded import EmbeddedRedis
from deploy.ports import free_port
from learndrop.answers.kept import Answers
from learndrop.answers.late_labels import LateLabels
from learndrop.client import AsyncClient, Client
from learndrop.disk import checkpoint_files
from learndrop.errors import NotFound, NotLeading, ServerRefused, StreamAway
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.account import Counts
from learndrop.stream.consumer import RedisConsumer
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.upkeep.dead_letters import DeadLetters
from learndrop.upkeep.deleting import Deleting
from learndrop.upkeep.forget_requests import ForgetRequests
from learndrop.upkeep.receipts import Receipt
from service.app import create_app
from tests.commands import learndrop
from tests.learning import QUICK
from tests.processes import Processes, processes
from tests.servers import client_of, server, settings_on, token
from tests.services import listening_app, pixels

__all__ = ["processes", "server"]

SIZE = 16


class Place:
    """Every part of the service that holds images, and a worker's hand."""

    def __init__(self, settings: Settings, server: EmbeddedRedis) -> None:
        self.settings, self.keys = settings, Keys(settings.name)
        self.publisher, self.answers = RedisPublisher(settings), Answers(settings)
        self.letters, self.labels = DeadLetters(settings), LateLabels(settings)
        self.deleting = Deleting(settings, self.publisher, self.answers, self.letters)
        lead = token(settings)
        self.worker, self.asks = RedisConsumer(settings, lead), ForgetRequests(settings, lead)
        self.redis = client_of(server)

    async def publish(self, count: int) -> list[str]:
        return await self.publisher.publish([sample(n) for n in range(count)])

    def learn(self) -> list[str]:
        """Learn what waits, without a checkpoint; the ids."""
        entries = self.worker.claim(100, 0)
        ids = [e.id for e in entries]
        gone = self.worker.hold(ids) if ids else set()
        self.worker.release()
        return [i for i in ids if i not in gone]

    async def adds_up(self) -> Counts:
        counts = await self.publisher.counts()
        assert counts.missing == 0
        return counts

    async def close(self) -> None:
        for part in (self.publisher, self.answers, self.letters, self.labels, self.deleting):
            await part.close()
        self.worker.close()
        self.asks.close()
        self.redis.close()


@pytest.fixture
async def place(server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[Place]:
    opened = Place(settings_on(server, data_dir=tmp_path), server)
    yield opened
    await opened.close()


def sample(number: int) -> Sample:
    return Sample(np.full((SIZE, SIZE, 3), number, np.uint8), f"label {number % 3}", 1.0)


# -- what Redis holds ------------------------------------------------------------------------


async def test_a_sample_that_waits_is_never_learned(place: Place) -> None:
    ids = await place.publish(3)
    receipt = await place.deleting.delete(ids[1])
    assert (receipt.stream, receipt.learned) == ("waiting", "no")
    assert "not learned" in receipt.said(None)
    assert place.learn() == [ids[0], ids[2]]
    assert await place.adds_up() == Counts(3, 0, 0, 2, deleted=1)


async def test_one_that_the_learner_has_seen_is_told_to_be_in_weights(place: Place) -> None:
    ids = await place.publish(2)
    place.learn()
    receipt = await place.deleting.delete(ids[0])
    assert (receipt.stream, receipt.learned) == ("seen", "yes")
    assert await place.deleting.first_version(receipt) is None
    place.worker.published(7, ids[1])
    again, first = await place.deleting.receipt(ids[0])
    assert first == 7
    assert "model version 7 and all after it have learned from it" in again.said(first)
    assert await place.adds_up() == Counts(2, 0, 0, 1, deleted=1)


async def test_one_that_is_in_a_checkpoint_is_told_with_its_first_version(place: Place) -> None:
    ids = await place.publish(2)
    place.learn()
    place.worker.published(3, ids[1])
    place.worker.ack(ids[1])
    receipt = await place.deleting.delete(ids[0])
    assert (receipt.stream, receipt.learned) == ("gone", "yes")
    assert await place.deleting.first_version(receipt) == 3
    assert await place.adds_up() == Counts(2, 2, 0, 0)


async def test_asking_again_is_harmless_and_tells_the_same_of_its_weights(place: Place) -> None:
    ids = await place.publish(2)
    place.learn()
    first = await place.deleting.delete(ids[0])
    again = await place.deleting.delete(ids[0])
    assert (first.learned, again.learned, again.stream) == ("yes", "yes", "seen")
    assert await place.adds_up() == Counts(2, 0, 0, 1, deleted=1)


async def test_asking_again_keeps_what_the_first_request_found(place: Place) -> None:
    (asked,) = await place.answers.put([{"label": "cat", "model_version": 1}], pixels(1, side=SIZE))
    sample_id = str((await place.labels.give(asked, "cat")).sample_id)
    first = await place.deleting.delete(sample_id)
    place.asks.forgotten(place.asks.after("0-0"), {sample_id})
    again = await place.deleting.delete(sample_id)
    assert (again.stream, again.learned, again.prediction) == ("waiting", "no", asked)
    assert (again.asked_s, again.replayed) == (first.asked_s, True)
    requests = place.asks.after("0-0")
    place.asks.forgotten(requests[1:], set())
    place.asks.erased(requests)
    assert (await place.deleting.receipt(sample_id))[0].done
    third = await place.deleting.delete(sample_id)
    assert third.replayed is True and third.done
    assert await place.deleting.waiting() == 1  # asked all the same: a backup may have come back


async def test_the_dead_letter_that_a_first_request_threw_away_stays_told(place: Place) -> None:
    (sample_id,) = await place.publish(1)
    for entry in place.worker.claim(10, 0):
        place.worker.bury(entry, "wrong_size", "for the test")
    first = await place.deleting.delete(sample_id)
    again = await place.deleting.delete(sample_id)
    assert len(first.dead_letters) == 1 and again.dead_letters == first.dead_letters


async def test_something_found_later_is_forgotten_anew(place: Place) -> None:
    (sample_id,) = await place.publish(1)
    place.learn()
    place.worker.ack(sample_id)
    await place.deleting.delete(sample_id)
    old = place.asks.after("0-0")
    place.asks.forgotten(old, {sample_id})
    place.asks.erased(old)
    # Another hand has put it back under another id.
    (later,) = await place.publish(1)
    ms = sample_id.partition("-")[0]
    place.redis.zadd(place.keys.moved, {f"{sample_id} {later}": int(ms)})
    receipt = await place.deleting.delete(sample_id)
    assert (receipt.names, receipt.stream) == ([sample_id, later], "waiting")
    assert (receipt.replayed, receipt.done) == (True, False)
    place.asks.erased(old)  # which was about the first id only
    assert not (await place.deleting.receipt(sample_id))[0].done
    place.asks.erased(place.asks.after("0-0"))
    assert (await place.deleting.receipt(sample_id))[0].done


async def test_after_an_id_from_the_future_samples_can_still_be_deleted(place: Place) -> None:
    ahead = int(1000 * (time.time() + 3600))
    place.redis.xadd(place.keys.stream, {"by": "hand"}, id=f"{ahead}-0")
    (sample_id,) = await place.publish(1)
    assert sample_id == f"{ahead}-1"
    receipt = await place.deleting.delete(sample_id)
    assert receipt.stream == "waiting"
    with pytest.raises(NotFound):
        await place.deleting.delete(f"{ahead}-2")


async def test_a_dead_letter_of_the_sample_goes_too(place: Place) -> None:
    ids = await place.publish(2)
    for entry in place.worker.claim(10, 0):
        place.worker.bury(entry, "wrong_size", "for the test")
    receipt = await place.deleting.delete(ids[0])
    assert len(receipt.dead_letters) == 1
    assert receipt.learned == "no"
    assert [h.sample_id for h in (await place.letters.page(None, 10))[0]] == [ids[1]]
    assert await place.adds_up() == Counts(2, 0, 2, 0)


async def test_a_sample_that_was_replayed_is_found_by_its_first_id(place: Place) -> None:
    (first,) = await place.publish(1)
    name = first
    for _ in range(2):
        (entry,) = place.worker.claim(10, 0)
        place.worker.bury(entry, "too_many_classes", "for the test")
        (head,), _ = await place.letters.page(None, 10)
        name = await place.letters.replay(head.id)
    fate = await place.publisher.fate(first)
    assert (fate.id, fate.status, fate.replayed_as) == (first, "pending", name)
    receipt = await place.deleting.delete(first)
    assert receipt.names[0] == first and receipt.names[-1] == name and len(receipt.names) == 3
    assert (receipt.stream, receipt.learned) == ("waiting", "no")
    assert place.learn() == []
    assert await place.adds_up() == Counts(1, 0, 0, 0, deleted=1)
    assert (await place.publisher.fate(first)).status == "deleted"


async def test_the_prediction_that_it_was_made_of_goes_with_its_picture(place: Place) -> None:
    told = [{"label": "cat", "model_version": 1}] * 2
    asked = await place.answers.put(told, pixels(2, side=SIZE))
    given = await place.labels.give(asked[0], "cat")
    receipt = await place.deleting.delete(str(given.sample_id))
    assert receipt.prediction == asked[0]
    with pytest.raises(NotFound):
        await place.answers.picture(asked[0])
    assert (await place.answers.get(asked[1])).id == asked[1]


async def test_a_corrected_label_makes_the_worker_forget_the_wrong_one(place: Place) -> None:
    (asked,) = await place.answers.put([{"label": "cat", "model_version": 1}], pixels(1, side=SIZE))
    wrong = await place.labels.give(asked, "dog")
    place.learn()
    await place.labels.give(asked, "cat", correct=True)
    (request,) = place.asks.after("0-0")
    assert (request.sample_id, request.receipt) == (wrong.sample_id, "")
    place.asks.forgotten([request], set())
    place.asks.erased([request])
    assert place.asks.after("0-0") == []


@pytest.mark.parametrize("sample_id", ["x", "", "9" * 15 + "-0", "+", "1"])
async def test_what_can_be_no_sample_is_not_found(place: Place, sample_id: str) -> None:
    with pytest.raises(NotFound):
        await place.deleting.delete(sample_id)
    with pytest.raises(NotFound):
        await place.deleting.receipt(sample_id)
    assert await place.deleting.waiting() == 0


async def test_one_that_ended_long_ago_is_deleted_all_the_same(place: Place) -> None:
    receipt = await place.deleting.delete("1700000000000-0")
    assert (receipt.stream, receipt.learned) == ("gone", "unknown")
    assert "unknown" in receipt.said(None)
    assert [r.sample_id for r in place.asks.after("0-0")] == ["1700000000000-0"]


async def test_the_workers_side_fills_in_the_receipt(place: Place) -> None:
    ids = await place.publish(2)
    for sample_id in ids:
        await place.deleting.delete(sample_id)
    requests = place.asks.after("0-0")
    assert [r.sample_id for r in requests] == ids
    assert [r.sample_id for r in place.asks.after(requests[0].id)] == [ids[1]]
    place.asks.forgotten(requests, {ids[0]})
    first, second = [(await place.deleting.receipt(i))[0] for i in ids]
    assert (first.replayed, second.replayed, first.done) == (True, False, False)
    place.asks.erased(requests)
    assert (await place.deleting.receipt(ids[0]))[0].done
    assert await place.deleting.waiting() == 0
    assert place.redis.ttl(place.keys.receipt(ids[0])) > 0


async def test_without_redis_it_says_so() -> None:
    settings = load_settings(redis_url="redis://127.0.0.1:1/0")
    publisher, answers = RedisPublisher(settings), Answers(settings)
    deleting = Deleting(settings, publisher, answers, DeadLetters(settings))
    for ask in (deleting.delete("1-1"), deleting.receipt("1-1"), deleting.waiting()):
        with pytest.raises(StreamAway):
            await ask


# -- what the worker holds -------------------------------------------------------------------


def settled(settings: Settings, id_: str) -> bool:
    """Whether every checkpoint on disk is without the sample, and there is one."""
    ms, number = map(int, id_.split("-"))
    folders = sorted(p for p in settings.checkpoints_dir.iterdir() if p.name.isdigit())
    held = []
    for folder in folders:
        _, tensors = checkpoint_files.read_checkpoint(folder)
        names = tensors["rehearsal/replay.stream_ids"]
        held.append(bool(((names[:, 0] == ms) & (names[:, 1] == number)).any()))
    return bool(held) and not any(held)


class Taught:
    """A real worker that has learned 64 samples, and everything that asks about them."""

    def __init__(self, place: Place, worker: subprocess.Popen[bytes], ids: list[str]) -> None:
        self.place, self.worker, self.ids = place, worker, ids

    @classmethod
    async def by(cls, processes: Processes, settings: Settings, server: EmbeddedRedis) -> Taught:
        place = Place(settings, server)
        worker = processes.start("worker", settings)
        taught = cls(place, worker, await place.publish(64))
        await processes.works_until(worker, lambda: taught.learned(64))
        return taught

    async def learned(self, number: int) -> bool:
        return (await self.place.publisher.counts()).learned >= number

    async def receipt(self) -> Receipt:
        return (await self.place.deleting.receipt(self.ids[5]))[0]

    async def forgotten(self) -> bool:
        return (await self.receipt()).forgotten_s is not None

    async def done(self) -> bool:
        return (await self.receipt()).done


def with_a_worker(server: EmbeddedRedis, folder: Path, **own: Any) -> Settings:
    quick: dict[str, Any] = {**QUICK, "window": 8, "checkpoint_s": 1.0, "batch_wait_s": 0.05}
    return settings_on(server, data_dir=folder, metrics_port=free_port(), **quick, **own)


async def test_a_real_worker_forgets_and_no_checkpoint_keeps_it(
    server: EmbeddedRedis, tmp_path: Path, processes: Processes
) -> None:
    settings = with_a_worker(server, tmp_path, erase_within_s=10.0)
    taught = await Taught.by(processes, settings, server)
    ids, place = taught.ids, taught.place
    assert not settled(settings, ids[5])
    receipt = await place.deleting.delete(ids[5])
    assert (receipt.stream, receipt.learned) == ("gone", "yes")
    # Nothing more arrives: the checkpoint that frees the older ones is made for it.
    await processes.works_until(taught.worker, taught.done)
    told, first = await place.deleting.receipt(ids[5])
    assert told.replayed is True
    assert first is not None
    assert told.erased_s is not None and told.erased_s - told.asked_s < settings.erase_within_s
    assert settled(settings, ids[5])
    assert not settled(settings, ids[6])
    await place.close()


async def test_a_worker_that_was_killed_forgets_again_what_its_checkpoint_has(
    server: EmbeddedRedis, tmp_path: Path, processes: Processes
) -> None:
    settings = with_a_worker(server, tmp_path, erase_within_s=600.0)
    taught = await Taught.by(processes, settings, server)
    ids, place = taught.ids, taught.place
    await place.deleting.delete(ids[5])
    await processes.works_until(taught.worker, taught.forgotten)
    taught.worker.kill()
    taught.worker.wait()
    assert not settled(settings, ids[5])  # killed before a newer checkpoint
    again = processes.start("worker", settings)
    for number in (128, 192, 256):  # enough to learn for two new checkpoints
        await place.publish(64)
        await processes.works_until(again, partial(taught.learned, number))
    await processes.works_until(again, taught.done)
    assert settled(settings, ids[5])
    await place.close()


# -- over HTTP and from the shell ------------------------------------------------------------


async def test_the_client_and_the_command_delete_and_show_the_receipt(place: Place) -> None:
    ids = await place.publish(3)
    with listening_app(create_app(place.settings)) as url, Client(url) as client:
        receipt = client.delete_sample(ids[0])
        assert receipt["weights"] == "It was not learned: no weights have seen it."
        assert len(receipt["not_reached"]) == 3
        assert receipt["done"] is False
        assert client.deletion(ids[0])["forgotten_s"] is None
        with pytest.raises(ServerRefused, match="404"):
            client.deletion(ids[1])
        with pytest.raises(ServerRefused, match="404"):
            client.delete_sample("x")
        async with AsyncClient(url) as same:
            assert (await same.delete_sample(ids[1]))["stream"] == "waiting"
            assert (await same.deletion(ids[1]))["sample_id"] == ids[1]
        assert client.sample(ids[0])["status"] == "deleted"

        def command(*arguments: str) -> subprocess.CompletedProcess[str]:
            return learndrop("delete", *arguments, "--url", url)

        said = command(ids[2]).stdout
        assert said.startswith("taken off the stream before it was learned\n")
        assert "no weights have seen it" in said and "not reached: copies and backups" in said
        assert command(ids[2], "--receipt").returncode == 0
        assert command("1-x").returncode == 3
        assert "learndrop_deletions_total 3.0" in client._http.get("/metrics").text.splitlines()
    assert await place.adds_up() == Counts(3, 0, 0, 0, deleted=3)


def test_torch_keeps_ids_of_the_stream_exactly() -> None:
    """Milliseconds and number are below 2^63, which a safetensors file keeps."""
    largest = np.array([[2**62, 2**62]], np.int64)
    assert torch.from_numpy(largest).tolist() == [[2**62, 2**62]]


async def test_a_worker_that_leads_no_more_closes_no_request(place: Place) -> None:
    await place.publish(1)
    (learned,) = place.learn()
    await place.deleting.delete(learned)
    requests = place.asks.after("0-0")
    place.redis.hset(place.keys.lease, "token", 999_999)  # another took over
    with pytest.raises(NotLeading):
        place.asks.forgotten(requests, set())
    with pytest.raises(NotLeading):
        place.asks.erased(requests)
    assert place.redis.delete(place.keys.lease) == 1
    with pytest.raises(StreamAway, match="NOLEASE"):
        place.asks.erased(requests)
    receipt, _ = await place.deleting.receipt(learned)
    assert (receipt.forgotten_s, receipt.erased_s) == (None, None)
    assert place.asks.after("0-0") == requests
