"""POST /v1/samples: three content types, one meaning; 202 means that the stream has them all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from fastapi.testclient import TestClient

from deploy.embedded import EmbeddedRedis
from learndrop.images.pictures import to_input
from learndrop.server.keys import Keys
from learndrop.stream.memory_consumer import MemoryConsumer
from learndrop.stream.messages import Sample
from service.app import create_app
from tests.servers import client_of, server, settings_on
from tests.services import (
    JSON,
    NPZ,
    Ingress,
    as_files,
    coded,
    encoded,
    ingress,
    is_problem,
    npz,
    pixels,
)  # fmt: skip

__all__ = ["server"]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Ingress]:
    with ingress(tmp_path) as opened:
        yield opened


def test_all_three_content_types_put_the_same_samples_on_the_stream(door: Ingress) -> None:
    images, labels = pixels(3), ["cat", "dog", "7"]
    files = [encoded(image) for image in images]
    answers = [
        door.http.post("/v1/samples", files=as_files(files), data={"labels": labels}),
        door.http.post(
            "/v1/samples", json={"images": [coded(f) for f in files], "labels": ["cat", "dog", 7]}
        ),
        door.http.post("/v1/samples", content=npz(images=images, labels=labels), headers=NPZ),
    ]
    assert [a.status_code for a in answers] == [202, 202, 202]
    assert [a.json()["accepted"] for a in answers] == [3, 3, 3]
    assert [i for a in answers for i in a.json()["ids"]] == list(door.stream.entries)
    taken = door.samples()
    assert [s.label for s in taken] == labels * 3
    for sample, image in zip(taken, [*images] * 3, strict=True):
        assert np.array_equal(sample.image, image)
        assert sample.accepted_s > 1.7e9


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_goes_through_the_one_function(door: Ingress, kind: str) -> None:
    file = encoded(pixels(side=70)[0], kind)
    door.http.post("/v1/samples", files=as_files([file]), data={"labels": "a"})
    assert np.array_equal(door.samples()[0].image, to_input(file, size=32))


@pytest.mark.parametrize(
    "labels,texts",
    [
        (np.array([3, -1, 2**40]), ["3", "-1", str(2**40)]),
        (np.array([3, 1, 2], np.uint8), ["3", "1", "2"]),
        (np.array([3, 1, 2], ">i4"), ["3", "1", "2"]),
        (np.array(["katze", "hund", "größe"]), ["katze", "hund", "größe"]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_npz_labels_are_numbers_or_names(
    door: Ingress, labels: Any, texts: list[str], packed: bool
) -> None:
    body = npz(images=pixels(3), labels=labels, packed=packed)
    assert door.http.post("/v1/samples", content=body, headers=NPZ).status_code == 202
    assert [s.label for s in door.samples()] == texts


def test_npz_pictures_may_be_grey_of_another_size_or_stored_by_column(door: Ingress) -> None:
    grey = pixels(2, side=28)[..., 0]
    other = np.asfortranarray(pixels(2, side=48))
    for images in (grey, other, np.asfortranarray(pixels(2))):
        body = npz(images=images, labels=[0, 1])
        assert door.http.post("/v1/samples", content=body, headers=NPZ).status_code == 202
    taken = door.samples()
    assert np.array_equal(taken[0].image, to_input(encoded(grey[0]), size=32))
    assert np.array_equal(
        taken[3].image, to_input(encoded(np.ascontiguousarray(other[1])), size=32)
    )
    assert np.array_equal(taken[5].image, pixels(2)[1])


def test_form_labels_may_come_as_one_json_list(door: Ingress) -> None:
    files = as_files([encoded(i) for i in pixels(3)])
    data = {"labels": orjson.dumps(["a,b", 4, "[c]"]).decode()}
    assert door.http.post("/v1/samples", files=files, data=data).status_code == 202
    assert [s.label for s in door.samples()] == ["a,b", "4", "[c]"]


def test_labels_that_look_the_same_are_the_same(door: Ingress) -> None:
    labels = ["caf\u00e9", "cafe\u0301", "  caf\u00e9 "]
    images = [coded(encoded(i)) for i in pixels(3)]
    door.http.post("/v1/samples", json={"images": images, "labels": labels})
    assert {s.label for s in door.samples()} == {"caf\u00e9"}


def test_a_charset_and_capitals_in_the_content_type_do_no_harm(door: Ingress) -> None:
    body = orjson.dumps({"images": [coded(encoded(pixels()[0]))], "labels": ["a"]})
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert door.http.post("/v1/samples", content=body, headers=headers).status_code == 202


def test_the_largest_batch_is_taken_and_one_more_is_not(tmp_path: Path) -> None:
    with ingress(tmp_path, max_batch=8) as door:
        for count, status in ((8, 202), (9, 413)):
            body = npz(images=pixels(count), labels=np.arange(count))
            answer = door.http.post("/v1/samples", content=body, headers=NPZ)
            assert answer.status_code == status
        assert len(door.stream.entries) == 8


def test_a_full_stream_is_429_with_retry_after_and_takes_nothing(tmp_path: Path) -> None:
    with ingress(tmp_path, max_pending=4) as door:
        body = npz(images=pixels(3), labels=np.arange(3))
        assert door.http.post("/v1/samples", content=body, headers=NPZ).status_code == 202
        answer = door.http.post("/v1/samples", content=body, headers=NPZ)
        is_problem(answer, 429, "stream-full", limit=4, value=6)
        assert int(answer.headers["retry-after"]) >= 1
        assert len(door.stream.entries) == 3
        assert door.metric("learndrop_samples_accepted_total") == 3
        assert door.metric("learndrop_samples_refused_total", reason="stream-full") == 1


def test_every_request_has_an_id_that_a_client_may_choose(door: Ingress) -> None:
    own = door.http.get("/healthz", headers={"x-request-id": "mine-1"})
    assert own.headers["x-request-id"] == "mine-1"
    ids = {door.http.get("/healthz").headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    bad = door.http.get("/healthz", headers={"x-request-id": "a b\tc" * 100})
    assert len(bad.headers["x-request-id"]) == 32


def test_requests_are_counted_by_route_and_not_by_path(door: Ingress) -> None:
    body = npz(images=pixels(), labels=[0])
    door.http.post("/v1/samples", content=body, headers=NPZ)
    door.http.get("/v1/models/12")
    door.http.get("/nothing/here")
    door.http.request("BREW", "/healthz")
    count = "learndrop_http_requests_total"
    assert door.metric(count, route="/v1/samples", method="POST", status="202") == 1
    assert door.metric(count, route="/v1/models/{version}", method="GET", status="404") == 1
    assert door.metric(count, route="unmatched", method="GET", status="404") == 1
    assert door.metric(count, route="/healthz", method="other", status="405") == 1


def test_202_means_that_redis_has_them(tmp_path: Path, server: EmbeddedRedis) -> None:
    settings = settings_on(server, data_dir=tmp_path)
    with TestClient(create_app(settings)) as http:
        body = npz(images=pixels(3), labels=["a", "b", "c"])
        answer = http.post("/v1/samples", content=body, headers=NPZ)
        assert answer.status_code == 202
        with client_of(server) as redis:
            entries = redis.xrange(Keys(settings.name).stream)
        assert [entry_id.decode() for entry_id, _ in entries] == answer.json()["ids"]
        assert [Sample.from_fields(f).label for _, f in entries] == ["a", "b", "c"]


def test_without_redis_503_and_the_service_comes_back_by_itself(tmp_path: Path) -> None:
    own = EmbeddedRedis(tmp_path / "redis")
    own.start()
    try:
        settings = settings_on(own, data_dir=tmp_path)
        body = orjson.dumps({"images": [coded(encoded(pixels()[0]))], "labels": ["a"]})
        with TestClient(create_app(settings)) as http:

            def post() -> Any:
                return http.post("/v1/samples", content=body, headers=JSON)

            assert post().status_code == 202
            own.kill()
            answer = post()
            is_problem(answer, 503, "stream-away")
            assert int(answer.headers["retry-after"]) >= 1
            is_problem(http.get("/readyz"), 503, "not-ready")
            assert http.get("/healthz").status_code == 200
            own.start()
            assert post().status_code == 202
            assert http.get("/readyz").status_code == 200
            assert http.get("/v1/state").json()["samples"]["accepted"] == 2
    finally:
        own.stop()


def test_a_sample_tells_what_became_of_it(door: Ingress) -> None:
    answer = door.http.post(
        "/v1/samples", content=npz(images=pixels(3), labels=[1, 2, 3]), headers=NPZ
    )
    first, second, third = answer.json()["ids"]
    waiting = {"status": "pending", "model_version": None, "reason": None, "why": None}
    waiting["replayed_as"] = None
    assert door.http.get(f"/v1/samples/{first}").json() == {"id": first, **waiting}
    worker = MemoryConsumer(door.stream)
    claimed = worker.claim(3, 0)
    worker.bury(claimed[1], "wrong_size", "8 x 8, not 32 x 32")
    worker.release()
    worker.published(7, worker.position)
    worker.ack(worker.position)
    told = [door.http.get(f"/v1/samples/{i}").json() for i in (first, second, third)]
    assert [t["status"] for t in told] == ["learned", "buried", "learned"]
    assert [t["model_version"] for t in told] == [7, None, 7]
    assert (told[1]["reason"], told[1]["why"]) == ("wrong_size", "8 x 8, not 32 x 32")
    assert door.http.get("/v1/limits").json()["fates_kept"] == 1_000_000
    for unknown in ("1-999", "cat"):
        is_problem(door.http.get(f"/v1/samples/{unknown}"), 404, "not-kept")
