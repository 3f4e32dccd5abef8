"""The same request again over HTTP: answered as before, and never taken twice."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services import NPZ, Ingress, as_files, coded, encoded, ingress, is_problem, npz, pixels


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Ingress]:
    with ingress(tmp_path, max_pending=100) as opened:
        yield opened


def post(door: Ingress, key: str = "", seed: int = 0, **more: Any) -> Any:
    body = npz(images=pixels(3, seed=seed), labels=["a", "b", "c"], **more)
    headers = NPZ | ({"idempotency-key": key} if key else {})
    return door.http.post("/v1/samples", content=body, headers=headers)


def test_the_same_key_and_body_get_the_same_answer(door: Ingress) -> None:
    first, again = post(door, "one"), post(door, "one")
    assert first.status_code == again.status_code == 202
    assert first.json() == again.json()
    assert len(door.stream.entries) == 3
    assert door.metric("learndrop_samples_accepted_total") == 3
    assert door.metric("learndrop_samples_known_total") == 3


def test_the_same_content_in_another_format_is_the_same_batch(door: Ingress) -> None:
    files = [encoded(image) for image in pixels(3)]
    labels = ["a", "b", "c"]
    once = {"idempotency-key": "one"}
    answers = [
        post(door, "one"),
        door.http.post("/v1/samples", files=as_files(files), data={"labels": labels}, headers=once),
        door.http.post("/v1/samples", files=as_files(files), data={"labels": labels}, headers=once),
        door.http.post(
            "/v1/samples",
            json={"images": [coded(f) for f in files], "labels": labels},
            headers=once,
        ),
    ]
    assert len({str(a.json()) for a in answers}) == 1
    assert len(door.stream.entries) == 3


def test_the_same_key_with_another_body_is_refused(door: Ingress) -> None:
    post(door, "one")
    is_problem(post(door, "one", seed=1), 422, "other-content", item="Idempotency-Key")
    assert len(door.stream.entries) == 3
    assert door.metric("learndrop_refusals_total", reason="other-content") == 1


@pytest.mark.parametrize("key", ["a b", "x" * 256, "ä"])
def test_a_key_that_cannot_be_one_is_refused(door: Ingress, key: str) -> None:
    body = npz(images=pixels(1), labels=["a"])
    headers = [(b"idempotency-key", key.encode()), (b"content-type", b"application/x-npz")]
    answer = door.http.post("/v1/samples", content=body, headers=headers)
    is_problem(answer, 422, "bad-parameter", item="Idempotency-Key")
    assert not door.stream.entries


def test_a_refused_batch_may_come_again_under_its_key(door: Ingress) -> None:
    for n in range(33):
        post(door, f"fill-{n}", seed=n)
    is_problem(post(door, "one"), 429, "stream-full")
    door.stream.entries.clear()
    assert post(door, "one").status_code == 202
    assert len(door.stream.entries) == 3


def test_samples_with_ids_are_taken_once_in_every_format(door: Ingress) -> None:
    files = [encoded(image) for image in pixels(3)]
    labels = ["a", "b", "c"]
    first = post(door, ids=["s-1", "s-2", "s-3"]).json()
    assert first["accepted"] == 3 and first["duplicates"] == []
    as_json = door.http.post(
        "/v1/samples",
        json={"images": [coded(f) for f in files], "labels": labels, "ids": ["s-3", "new", "s-1"]},
    ).json()
    assert as_json["duplicates"] == [0, 2] and as_json["accepted"] == 1
    assert as_json["ids"][0] == first["ids"][2] and as_json["ids"][2] == first["ids"][0]
    form = door.http.post(
        "/v1/samples", files=as_files(files), data={"labels": labels, "ids": ["new", "s-2", "4"]}
    ).json()
    assert form["duplicates"] == [0, 1] and form["ids"][0] == as_json["ids"][1]
    listed = door.http.post(
        "/v1/samples", files=as_files(files), data={"labels": labels, "ids": '["s-1", "x", 4]'}
    ).json()
    assert listed["duplicates"] == [0, 2]
    assert len(door.stream.entries) == 6
    assert [s.name for s in door.samples()] == ["s-1", "s-2", "s-3", "new", "4", "x"]


@pytest.mark.parametrize(
    ("ids", "item"),
    [(["a"], "ids"), (["a", "", "c"], "ids[1]"), (["a", None, "c"], "ids[1]"), ("abc", "ids"),
     (["a", "b", "x" * 129], "ids[2]"), (["a", "\n", "c"], "ids[1]"), ([True, "b", "c"], "ids[0]"),
     ([str(n) for n in range(300)], "ids")],
)  # fmt: skip
def test_ids_that_cannot_be_used_are_named(door: Ingress, ids: Any, item: str) -> None:
    images = [base64.b64encode(encoded(p)).decode() for p in pixels(3)]
    answer = door.http.post(
        "/v1/samples", json={"images": images, "labels": ["a", "b", "c"], "ids": ids}
    )
    assert answer.status_code in (413, 422) and answer.json()["item"] == item
    assert not door.stream.entries


def test_predictions_take_no_ids(door: Ingress) -> None:
    from tests.published import publish

    publish(door.app.state.parts.settings.data_dir)
    answer = door.http.post(
        "/v1/predictions", content=npz(images=pixels(1), ids=["a"]), headers=NPZ
    )
    assert answer.status_code in (422, 503)
    assert not door.stream.entries
