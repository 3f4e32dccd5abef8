"""The client against a real service: packing, waiting as it is told, errors that say what to do."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import pytest
from pydantic import SecretStr

from deploy.embedded import EmbeddedRedis, free_port
from learndrop.client import AsyncClient, Client
from learndrop.client.asking import Goal, Trying
from learndrop.client.parcels import MOST_BYTES, parcels
from learndrop.disk.keyring import create
from learndrop.errors import BadInput, ServerAway, ServerRefused, Unavailable
from learndrop.server.board import WorkerBoard
from learndrop.server.ids import START
from learndrop.stream.memory_consumer import MemoryConsumer
from learndrop.stream.memory_stream import MemoryStream
from learndrop.stream.messages import Sample
from service.app import create_app
from tests.published import CLASSES, probabilities, publish
from tests.servers import server, settings_on, token
from tests.services import encoded, listening_app, memory_app, pixels

__all__ = ["server"]


LIMITS = b"HTTP/1.0 200 OK\r\n\r\n" + b'{"max_batch": 256, "max_body_bytes": 33554432}'


@dataclass
class Served:
    """A service behind a socket, and its stream."""

    url: str
    stream: MemoryStream
    folder: Path

    def samples(self) -> list[Sample]:
        return [Sample.from_fields(fields) for fields in self.stream.entries.values()]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    publish(tmp_path)
    app, stream, _ = memory_app(tmp_path, max_pending=1000)
    with listening_app(app) as url:
        yield Served(url, stream, tmp_path)


def test_pixels_files_and_paths_arrive_in_order_as_what_they_are(
    served: Served, tmp_path: Path
) -> None:
    images = pixels(5)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(images[2]))
    mixed = [images[0], encoded(images[1]), path, images[3], images[4][:20, :20]]
    with Client(served.url) as client:
        ids = client.learn(mixed, ["a", 7, np.int64(8), "größe", "e"])
    assert ids == list(served.stream.entries)
    taken = served.samples()
    assert [s.label for s in taken] == ["a", "7", "8", "größe", "e"]
    for sample, image in zip(taken[:4], images[:4], strict=True):
        assert np.array_equal(sample.image, image)


def test_arrays_of_any_length_are_sent_in_batches_that_the_service_takes(served: Served) -> None:
    images, labels = pixels(600), np.arange(600) % 10
    with Client(served.url) as client:
        assert len(client.learn(images, labels)) == 600
    taken = served.samples()
    assert [int(s.label) for s in taken] == labels.tolist()
    assert all(np.array_equal(s.image, i) for s, i in zip(taken, images, strict=True))


def test_a_client_keeps_to_the_limits_of_the_service_that_it_talks_to(tmp_path: Path) -> None:
    app, stream, _ = memory_app(tmp_path, max_batch=7, max_body_bytes=80_000)
    with listening_app(app) as url, Client(url) as client:
        assert len(client.learn(pixels(30), [1] * 30)) == 30
    assert stream.accepted == 30


def test_a_parcel_stays_under_its_bytes() -> None:
    files = [bytes(3 * 1024 * 1024)] * 12
    sizes = [len(body) for _, body in parcels(files, list(range(12)))]
    assert len(sizes) == 3 and max(sizes) < MOST_BYTES + 100_000


@pytest.mark.parametrize(
    "images,labels",
    [([], []), (pixels(2), ["a"]), ([3], ["a"]), (pixels(1), [True]), (pixels(1), [1.5]),
     (pixels(1).astype(float), [1]), (pixels(1)[0][0], [1] * 32), ("text", list("abcd"))],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_before_it_is_sent(
    served: Served, images: list[bytes], labels: list[int]
) -> None:
    with Client(served.url) as client, pytest.raises(BadInput):
        client.learn(images, labels)
    assert not served.stream.entries


def test_one_picture_that_is_in_no_list_is_not_answered_row_by_row(served: Served) -> None:
    with Client(served.url) as client, pytest.raises(BadInput, match="is one picture"):
        client.predict(np.zeros((32, 32, 3), np.uint8))


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "localhost:8000", "ftp://127.0.0.1", ""])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_address_that_is_none_is_refused_at_once(kind: type, url: str) -> None:
    with pytest.raises(BadInput, match="http://"):
        kind(url)


def test_predictions_come_back_in_order(served: Served) -> None:
    images = pixels(300)
    with Client(served.url) as client:
        answers = client.predict(images)
        one = client.predict([encoded(images[0])])
        assert client.models()["serving"] == 1
        assert client.limits()["max_batch"] == 256
    expected = probabilities(served.stream.settings, 0, images)
    assert [a["label"] for a in answers] == [CLASSES[row.argmax()] for row in expected]
    assert one[0]["label"] == answers[0]["label"]


def test_a_refusal_carries_the_problem_and_is_not_tried_again(served: Served) -> None:
    with Client(served.url, sleep=never) as client, pytest.raises(ServerRefused) as refused:
        client.learn([b"no picture"], ["a"])
    assert refused.value.status == 422
    assert refused.value.problem["index"] == 0
    assert "not a JPEG" in str(refused.value)


def never(seconds: float) -> None:
    raise AssertionError(f"waited {seconds} s")


def test_a_full_stream_is_waited_for_as_it_says(tmp_path: Path) -> None:
    app, stream, _ = memory_app(tmp_path, max_pending=10)
    waits: list[float] = []
    consumer = MemoryConsumer(stream)
    consumer.open(START)

    def learn_meanwhile(seconds: float) -> None:
        waits.append(seconds)
        entries = consumer.claim(10, 0)
        consumer.release()
        consumer.ack(entries[-1].id)

    with listening_app(app) as url, Client(url, sleep=learn_meanwhile) as client:
        for _ in range(3):
            assert len(client.learn(pixels(10), [1] * 10)) == 10
    assert stream.accepted == 30
    assert waits == [5.0, 5.0]  # what the stream's Retry-After says while nothing was learned yet


def test_patience_has_an_end(tmp_path: Path) -> None:
    app, stream, _ = memory_app(tmp_path, max_pending=10)
    with listening_app(app) as url, Client(url, patience_s=3, sleep=never) as client:
        client.learn(pixels(10), [1] * 10)
        with pytest.raises(ServerRefused) as refused:
            client.learn(pixels(1), [1])
    assert refused.value.status == 429
    assert refused.value.problem["limit"] == 10
    assert len(stream.entries) == 10


def test_nobody_at_the_address_is_told_with_the_address() -> None:
    waits: list[float] = []
    url = f"http://127.0.0.1:{free_port()}"
    with Client(url, patience_s=1, sleep=waits.append) as client:
        with pytest.raises(ServerAway, match=url):
            client.state()
    assert waits and all(wait <= 2 for wait in waits)


def test_a_service_that_starts_anew_late_in_a_wait_is_still_waited_for() -> None:
    """Nobody listens for a while: that is counted from then, not from the request's beginning."""
    now_s = 0.0
    trying = Trying(60.0, lambda: now_s)
    busy = httpx2.Response(503, headers={"retry-after": "20"}, json={})
    away = httpx2.ConnectError("no", request=httpx2.Request("GET", "http://x"))
    assert trying.after_answer(busy) == 20.0
    now_s = 20.0
    assert trying.after_failure(away) < 2.0
    now_s = 24.0
    assert trying.after_answer(busy) == 20.0  # it is there again
    now_s = 44.0
    assert trying.after_failure(away) < 5.0
    now_s = 49.0
    with pytest.raises(ServerAway):
        trying.after_failure(away)


def test_an_id_is_one_part_of_the_path_whatever_signs_it_has(served: Served) -> None:
    with Client(served.url, sleep=never) as client:
        for strange in ("a/b?limit=1", "../limits", "#", "?events=1", "%2e"):
            with pytest.raises(ServerRefused) as refused:
                client.sample(strange)
            assert refused.value.status == 404
        calls = [client.sample, client.prediction, client.delete_prediction, client.deletion]
        for call in (*calls, client.delete_sample, client.dead_letters.delete):
            with pytest.raises(BadInput, match="an id is empty"):
                call("")


def test_ids_may_be_numbers(served: Served) -> None:
    with Client(served.url) as client:
        client.learn([encoded(pixels()[0])], ["a"], ids=[7])  # type: ignore[list-item]
        with pytest.raises(BadInput, match="an id is a text"):
            client.learn([encoded(pixels()[0])], ["a"], ids=[None])  # type: ignore[list-item]
    assert [s.name for s in served.samples()] == ["7"]


def test_what_was_not_answered_is_sent_again_and_samples_under_the_same_key() -> None:
    """A server that answers one question and then reads and closes."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def close_each() -> None:
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return
                with raw:
                    got.append(raw.recv(65536))
                    if b"/v1/limits" in got[-1]:
                        raw.sendall(LIMITS)

        thread = threading.Thread(target=close_each, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, patience_s=1, sleep=time.sleep) as client:
            for _ in range(2):
                with pytest.raises(ServerAway, match="lost"):
                    client.learn(pixels(1), [1])
            with pytest.raises(ServerAway):
                client.state()
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    sent = [raw.lower() for raw in got if b"/v1/samples" in raw]
    keys = [raw.split(b"idempotency-key: ")[1].split(b"\r\n")[0] for raw in sent]
    assert len(keys) > len(set(keys)) == 2, "one key for each batch, and each was sent again"
    asked = [raw for raw in got if b"/v1/state" in raw]
    assert len(asked) > 1 and b"idempotency-key" not in asked[0].lower()


def test_a_key_is_shown_and_never_told(tmp_path: Path) -> None:
    secret = create(tmp_path / "keys.json", "camera", ["ingest"])
    app, stream, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        for key in (secret, SecretStr(secret)):
            with Client(url, key=key) as client:
                assert len(client.learn(pixels(2), [1, 2], ids=["x", "y"])) == 2
                with pytest.raises(ServerRefused) as refused:
                    client.state()
                told = f"{refused.value!r} {refused.value} {refused.value.problem} {client!r}"
                assert secret not in told + repr(vars(client)) + str(client._http.headers)
        with Client(url) as client, pytest.raises(ServerRefused, match="401"):
            client.learn(pixels(1), [1])
    assert [s.get(b"name") for s in stream.entries.values()] == [b"x", b"y"]
    gone = Client(url, key=secret, patience_s=0.1)
    with gone, pytest.raises(ServerAway) as away:
        gone.state()
    assert secret not in f"{away.value!r} {away.value.__cause__!r}"


def test_a_service_that_is_started_a_moment_later_is_found(tmp_path: Path) -> None:
    app, _, _ = memory_app(tmp_path)
    with listening_app(app) as url:
        pass  # its port is free again
    later, _, _ = memory_app(tmp_path)
    port = int(url.rsplit(":", 1)[1])
    tried = threading.Event()

    def wait(seconds: float) -> None:
        tried.set()
        time.sleep(0.05)

    found: list[object] = []
    with Client(url, sleep=wait) as client:
        asking = threading.Thread(target=lambda: found.append(client.limits()))
        asking.start()
        assert tried.wait(10)
        with listening_app(later, port=port):
            asking.join(20)
    assert found


def test_waiting_ends_when_all_is_learned_or_time_is_over(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    settings = settings_on(server, data_dir=tmp_path)
    board = WorkerBoard(settings, token(settings))
    learned: list[int] = []

    def learn_meanwhile(seconds: float) -> None:
        learned.append(16)
        board.put_state({"samples_learned": min(40, sum(learned))})

    with listening_app(create_app(settings)) as url:
        with Client(url, sleep=learn_meanwhile) as client:
            assert client.wait_learned(timeout_s=0)["samples"]["accepted"] == 0
            client.learn(pixels(40), [1] * 40)
            state = client.wait_learned(timeout_s=60)
            assert state["samples_learned"] == 40 and len(learned) == 3
            client.learn(pixels(40), [1] * 40)
            with pytest.raises(Unavailable, match="not learned within 0 s"):
                client.wait_learned(timeout_s=0)
    board.close()


@pytest.mark.parametrize("gap", [None, {"waiting": True}])
def test_what_a_learner_has_learned_elsewhere_ends_no_waiting(gap: dict[str, bool] | None) -> None:
    """As with a Redis that lost all beside a data folder that did not, until somebody decides."""
    counts = {"accepted": 5, "learned": 0, "buried": 0, "deleted": 0, "pending": 5}
    ahead = 5 if gap else 95
    state = {"samples": counts, "samples_learned": ahead, "stream": {"gap": gap}}
    assert not Goal(state, 60.0).reached(state)
    assert Goal(state, 60.0).reached(state | {"samples": counts | {"learned": 5}})
    known = state | {"samples_learned": 5, "stream": {"gap": None}}
    assert Goal(known, 60.0).reached(known)


async def test_the_async_client_does_the_same(server: EmbeddedRedis, tmp_path: Path) -> None:
    publish(tmp_path)
    settings = settings_on(server, data_dir=tmp_path)
    images = pixels(5)
    with listening_app(create_app(settings)) as url:
        async with AsyncClient(url) as client:
            ids = await client.learn(images, [1, 2, 3, 4, 5])
            assert len(ids) == 5
            assert (await client.sample(ids[0]))["status"] == "pending"
            assert (await client.state())["samples"]["accepted"] == 5
            answers, more = await asyncio.gather(client.predict(images), client.predict(images[:2]))
            assert [a["label"] for a in more] == [a["label"] for a in answers[:2]]
            kept = await client.prediction(answers[0]["id"])
            assert answers[0].items() <= kept.items() and kept["true_label"] is None
            page = await client.predictions(limit=4)
            rest = await client.predictions(limit=4, cursor=page["next_cursor"])
            assert len(page["predictions"] + rest["predictions"]) == 7
            assert (await client.models())["current"] == 1
            assert (await client.limits())["image_size"] == 32
            with pytest.raises(Unavailable):
                await client.wait_learned(timeout_s=0)
            with pytest.raises(ServerRefused) as refused:
                await client.prediction("1-1")
            assert refused.value.status == 404
    async with AsyncClient(url, patience_s=0.1) as client:
        with pytest.raises(ServerAway):
            await client.state()


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)
