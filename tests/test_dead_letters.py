"""Dead letters can be read, put back and thrown away, and the account adds up throughout."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image

from deploy.embedded import EmbeddedRedis
from learndrop.client import AsyncClient, Client
from learndrop.errors import BadInput, NotFound, ServerRefused, StreamAway, StreamFull
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.account import Counts
from learndrop.stream.contract import Reason
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.upkeep.dead_letters import DeadLetters, Replayed
from service.app import create_app
from tests.commands import learndrop
from tests.places import Places, places_of
from tests.servers import client_of, leading, server
from tests.services import is_problem, listening_app

__all__ = ["server"]


class Place:
    """A stream with a worker's hand and the dead letters, on a real server."""

    def __init__(self, settings: Settings, server: EmbeddedRedis) -> None:
        self.settings, self.keys = settings, Keys(settings.name)
        self.publisher, self.letters = RedisPublisher(settings), DeadLetters(settings)
        self.worker, self.redis = leading(settings), client_of(server)

    async def bury(self, *reasons: str) -> list[str]:
        """Publish and bury a sample for each reason; the letters' ids, oldest first."""
        await self.publisher.publish([sample(n) for n in range(len(reasons))])
        for entry, reason in zip(self.worker.claim(1000, 0), reasons, strict=True):
            self.worker.bury(entry, cast(Reason, reason), f"because {reason}")
        return [i.decode() for i, _ in self.redis.xrange(self.keys.dead)][-len(reasons) :]

    async def adds_up(self) -> Counts:
        counts = await self.publisher.counts()
        assert counts.accepted == counts.learned + counts.buried + counts.deleted + counts.pending
        return counts

    async def close(self) -> None:
        await self.publisher.close()
        await self.letters.close()
        self.worker.close()
        self.redis.close()


Many = Places[Place]
make = places_of(Place)


@pytest.fixture
def place(make: Many) -> Place:
    return make()


def sample(number: int) -> Sample:
    return Sample(np.full((4, 5, 3), number, np.uint8), f"label {number}", 1.5)


# -- looked at -------------------------------------------------------------------------------


async def test_a_letter_tells_what_it_held_and_why_it_lies_there(place: Place) -> None:
    (letter_id,) = await place.bury("wrong_size")
    head, fields = await place.letters.get(letter_id)
    assert (head.reason, head.why, head.label) == ("wrong_size", "because wrong_size", "label 0")
    assert (head.shape, head.bytes, head.replayable) == ("4x5", 60, True)
    assert np.array_equal(Sample.from_fields(fields).image, sample(0).image)
    assert (await place.letters.page(None, 10))[0] == [head]


@pytest.mark.parametrize("letter_id", ["", "1-1", "x", "-", "+", "9" * 30])
async def test_an_unknown_letter_is_not_found(place: Place, letter_id: str) -> None:
    await place.bury("unreadable")
    for ask in (place.letters.get, place.letters.replay, place.letters.delete):
        with pytest.raises(NotFound):
            await ask(letter_id)


async def test_pages_go_from_new_to_old_and_end(place: Place) -> None:
    ids = await place.bury(*["unreadable"] * 40)
    seen, cursor = [], None
    for _ in range(4):
        heads, cursor = await place.letters.page(cursor, 10)
        seen += [h.id for h in heads]
    assert seen == ids[::-1]
    assert cursor is None
    with pytest.raises(BadInput, match="cursor"):
        await place.letters.page("x", 10)


async def test_a_page_of_one_reason_has_no_other(place: Place) -> None:
    ids = await place.bury(*["unreadable", "wrong_size"] * 20)
    heads, cursor = await place.letters.page(None, 15, "wrong_size")
    rest, end = await place.letters.page(cursor, 15, "wrong_size")
    assert [h.id for h in heads + rest] == ids[::-1][::2]
    assert end is None


async def test_letters_are_counted_by_reason_and_never_more_than_the_bound(
    make: Many,
) -> None:
    place = make(dead_letters_kept=10)
    await place.bury(*["unreadable"] * 6, *["wrong_size"] * 8)
    numbers = await place.letters.numbers()
    assert (numbers["unreadable"], numbers["wrong_size"], numbers["vanished"]) == (2, 8, 0)
    assert place.redis.xlen(place.keys.dead) == 10
    assert await place.adds_up() == Counts(14, 0, 14, 0)


async def test_numbers_are_right_again_after_another_hand(place: Place) -> None:
    ids = await place.bury("unreadable", "unreadable", "wrong_size")
    place.redis.xdel(place.keys.dead, ids[0])
    numbers = await place.letters.numbers()
    assert (numbers["unreadable"], numbers["wrong_size"]) == (1, 1)
    place.redis.delete(place.keys.dead_reasons)  # as a version wrote that did not count
    assert (await place.letters.numbers())["unreadable"] == 1


BY_HAND: list[dict[bytes | str, bytes | str]] = [
    {"a": "b"},
    {"label": "cat", "image": b"123", "shape": "1x1", "by": "learndrop", "at": "1"},
    {"dead-id": "no id", "dead-reason": "unreadable", "dead-why": "w", "dead-at": "1", "a": "b"},
]


@pytest.mark.parametrize("fields", BY_HAND)
async def test_a_letter_that_another_hand_wrote_stops_nobody(
    make: Many, tmp_path: Path, fields: dict[bytes | str, bytes | str]
) -> None:
    place = make(data_dir=tmp_path)
    (ours,) = await place.bury("wrong_size")
    foreign = place.redis.xadd(place.keys.dead, fields).decode()
    head, _ = await place.letters.get(ours)
    with listening_app(create_app(place.settings)) as url, Client(url) as client:
        page = client.dead_letters.page()
        assert [(d["id"], d["reason"]) for d in page["dead_letters"]] == [
            (foreign, ""),
            (ours, "wrong_size"),
        ]
        assert (page["kept"]["wrong_size"], page["kept"][""]) == (1, 1)
        assert client._http.get(f"/v1/dead-letters/{foreign}").status_code == 200
        assert client._http.get("/metrics").status_code == 200
        answer = client._http.post(f"/v1/dead-letters/{foreign}/replay")
        is_problem(answer, 422, "bad-input")
        assert client._http.delete(f"/v1/samples/{head.sample_id}").status_code == 202
        (left,) = client.dead_letters.page()["dead_letters"]
        assert left["id"] == foreign
        assert client._http.post("/v1/dead-letters/replay").json()["replayed"] == 0
        assert client._http.delete("/v1/dead-letters").json() == {"purged": 1, "left": 0}
    assert await place.adds_up() == Counts(1, 0, 1, 0)


# -- put back --------------------------------------------------------------------------------


async def test_a_replayed_sample_is_pending_again_and_was_accepted_once(place: Place) -> None:
    (letter_id,) = await place.bury("too_many_classes")
    head, fields = await place.letters.get(letter_id)
    new_id = await place.letters.replay(letter_id)
    assert new_id != head.sample_id
    assert await place.adds_up() == Counts(1, 0, 0, 1)
    assert (await place.letters.numbers())["too_many_classes"] == 0
    (entry,) = place.worker.claim(10, 0)
    assert (entry.id, dict(entry.fields)) == (new_id, fields)
    place.worker.release()
    assert place.worker.ack(place.worker.position) == 1
    assert await place.adds_up() == Counts(1, 1, 0, 0)
    assert int(place.redis.hget(place.keys.counters, "bytes")) == 0
    with pytest.raises(NotFound):
        await place.letters.replay(letter_id)


async def test_an_entry_written_by_hand_is_accepted_once_however_often_it_is_replayed(
    place: Place,
) -> None:
    place.redis.xadd(place.keys.stream, {"image": b"1234", "dead-reason": b"a trap"})
    for _ in range(3):
        (entry,) = place.worker.claim(10, 0)
        place.worker.bury(entry, "unreadable", "written by hand")
        assert await place.adds_up() == Counts(1, 0, 1, 0)
        (head,), _ = await place.letters.page(None, 10)
        assert head.reason == "unreadable"
        await place.letters.replay(head.id)
        assert await place.adds_up() == Counts(1, 0, 0, 1)
    (entry,) = place.worker.claim(10, 0)
    assert dict(entry.fields) == {b"image": b"1234", b"dead-reason": b"a trap"}


async def test_all_of_one_reason_are_put_back_in_their_order(place: Place) -> None:
    await place.bury(*["unreadable", "wrong_size"] * 40)
    done = await place.letters.replay_all("wrong_size")
    assert (len(done.moved), done.left, done.full) == (40, 0, None)
    entries = place.worker.claim(1000, 0)
    assert [e.fields[b"image"][0] for e in entries] == list(range(1, 80, 2))
    assert [e.id for e in entries] == list(done.moved.values())
    assert await place.adds_up() == Counts(80, 0, 40, 40)


async def test_what_the_stream_has_no_room_for_stays_a_letter(make: Many) -> None:
    place = make(max_pending=50)
    await place.bury(*["unreadable"] * 40)
    await place.publisher.publish([sample(n) for n in range(20)])
    done = await place.letters.replay_all()
    assert (len(done.moved), done.left) == (30, 10)
    assert isinstance(done.full, StreamFull)
    assert await place.adds_up() == Counts(60, 0, 10, 50)
    (head, *_), _ = await place.letters.page(None, 1)
    with pytest.raises(StreamFull):
        await place.letters.replay(head.id)
    assert (await place.letters.numbers())["unreadable"] == 10


async def test_a_letter_of_vanished_entries_cannot_be_put_back(place: Place) -> None:
    (entry_id,) = await place.publisher.publish([sample(1)])
    place.redis.xdel(place.keys.stream, entry_id)
    place.worker.claim(1, 0)
    place.worker.ack(entry_id)
    (head,), _ = await place.letters.page(None, 10)
    assert (head.reason, head.replayable) == ("vanished", False)
    with pytest.raises(BadInput, match="vanished"):
        await place.letters.replay(head.id)
    assert await place.letters.replay_all() == Replayed({}, 0)
    assert await place.adds_up() == Counts(1, 0, 1, 0)


# -- thrown away -----------------------------------------------------------------------------


async def test_what_is_thrown_away_stays_counted_as_buried(place: Place) -> None:
    ids = await place.bury(*["unreadable"] * 3, *["wrong_size"] * 40)
    await place.letters.delete(ids[0])
    with pytest.raises(NotFound):
        await place.letters.get(ids[0])
    assert await place.letters.purge("wrong_size") == (40, 0)
    assert (await place.letters.numbers())["unreadable"] == 2
    assert await place.letters.purge() == (2, 0)
    assert place.redis.xlen(place.keys.dead) == 0
    assert await place.adds_up() == Counts(43, 0, 43, 0)


async def test_without_redis_every_way_says_so() -> None:
    letters = DeadLetters(load_settings(redis_url="redis://127.0.0.1:1/0"))
    for ask in (letters.numbers(), letters.page(None, 5), letters.replay_all(), letters.purge()):
        with pytest.raises(StreamAway):
            await ask
    await letters.close()


# -- over HTTP -------------------------------------------------------------------------------


async def test_the_client_lists_shows_replays_and_purges(make: Many, tmp_path: Path) -> None:
    place = make(data_dir=tmp_path)
    ids = await place.bury("wrong_size", "unreadable", "unreadable")
    app = create_app(place.settings)
    with listening_app(app) as url, Client(url, patience_s=0.1) as client:
        page = client.dead_letters.page(limit=2)
        assert [one["id"] for one in page["dead_letters"]] == ids[:0:-1]
        assert page["kept"]["unreadable"] == 2
        assert client.dead_letters.page(cursor=page["next_cursor"])["next_cursor"] is None
        letter = client.dead_letters.show(ids[0])
        assert letter["fields"]["label"] == "label 0"
        assert letter["picture"] == f"/v1/dead-letters/{ids[0]}/picture"
        picture = Image.open(io.BytesIO(client.dead_letters.picture(ids[0])))
        assert np.array_equal(np.asarray(picture), sample(0).image)
        done = client.dead_letters.replay(ids[0])
        assert (done["replayed"], list(done["ids"])) == (1, [ids[0]])
        with pytest.raises(ServerRefused, match="404"):
            client.dead_letters.replay(ids[0])
        assert client.dead_letters.delete(ids[1]) == {"purged": 1, "left": 0}
        async with AsyncClient(url) as same:
            assert (await same.dead_letters.replay_all("unreadable"))["replayed"] == 1
            assert (await same.dead_letters.purge())["purged"] == 0
            assert (await same.dead_letters.page())["dead_letters"] == []
        with pytest.raises(ServerRefused, match="422"):
            client.dead_letters.page("no such reason")
        metrics = client._http.get("/metrics").text
        for line in (
            'learndrop_dead_letters{reason="unreadable"} 0.0',
            "learndrop_dead_letters_replayed_total 2.0",
            "learndrop_dead_letters_purged_total 1.0",
        ):
            assert line in metrics.splitlines()
    assert await place.adds_up() == Counts(3, 0, 1, 2)


async def test_a_letter_that_holds_no_picture_says_so(make: Many, tmp_path: Path) -> None:
    place = make(data_dir=tmp_path)
    place.redis.xadd(place.keys.stream, {"image": b"1234", "odd": b"\xff\x00"})
    (entry,) = place.worker.claim(1, 0)
    place.worker.bury(entry, "unreadable", "no version")
    with listening_app(create_app(place.settings)) as url, Client(url) as client:
        (one,) = client.dead_letters.page()["dead_letters"]
        letter = client.dead_letters.show(one["id"])
        assert letter["picture"] is None
        assert letter["fields"] == {"odd": "(2 bytes)"}
        answer = client._http.get(f"/v1/dead-letters/{one['id']}/picture")
        is_problem(answer, 404, "not-kept")


async def test_a_full_stream_is_told_with_429(make: Many, tmp_path: Path) -> None:
    place = make(data_dir=tmp_path, max_pending=1)
    (letter_id,) = await place.bury("unreadable")
    await place.publisher.publish([sample(1)])
    with listening_app(create_app(place.settings)) as url, Client(url) as client:
        for path in (f"/v1/dead-letters/{letter_id}/replay", "/v1/dead-letters/replay"):
            is_problem(client._http.post(path), 429, "stream-full", limit=1)


# -- from the shell --------------------------------------------------------------------------


async def test_the_command_does_all_of_it(make: Many, tmp_path: Path) -> None:
    place = make(data_dir=tmp_path)
    ids = await place.bury("wrong_size", "unreadable", "unreadable")
    with listening_app(create_app(place.settings)) as url:

        def command(*arguments: str) -> subprocess.CompletedProcess[str]:
            return learndrop("dead-letters", *arguments, "--url", url)

        listed = command("list").stdout.splitlines()
        assert listed[0] == "2 unreadable, 1 wrong_size"
        assert [line.split("\t")[0] for line in listed[2:]] == ids[::-1]
        first = command("list", "--reason", "unreadable", "--limit", "1").stdout.splitlines()
        assert first[-1].startswith("more: learndrop dead-letters list --reason unreadable --limit")
        following = command(*first[-1].split()[3:]).stdout.splitlines()
        assert following[2].split("\t")[0] == ids[1]
        shown = command("show", ids[0], "--picture", str(tmp_path / "a.png"))
        assert "field label\tlabel 0" in shown.stdout
        with Image.open(tmp_path / "a.png") as picture:
            assert picture.size == (5, 4)
        assert command("replay", ids[0]).stdout == "1 put back\n"
        assert command("replay", ids[0]).returncode == 3
        assert command("purge").returncode == 2
        done = command("purge", "--reason", "unreadable", "--json")
        assert json.loads(done.stdout) == {"purged": 2, "left": 0}
        assert command("list").stdout == "no dead letters\n"
        assert command("replay", "--all").stdout == "0 put back\n"
    assert await place.adds_up() == Counts(3, 0, 2, 1)
