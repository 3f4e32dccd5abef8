"""Predictions: the network's own answers, named by version, kept for later."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from deploy.embedded import EmbeddedRedis
from service.app import create_app
from tests.published import CLASSES, probabilities, publish
from tests.servers import server, settings_on
from tests.services import (
    NPZ,
    as_files,
    coded,
    encoded,
    ingress,
    is_problem,
    npz,
    parts_of,
    pixels,
)  # fmt: skip

__all__ = ["server"]

Asked = Callable[..., Any]


@pytest.fixture(scope="module")
def http(server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The application with one published version and a real Redis."""
    folder = tmp_path_factory.mktemp("data")
    publish(folder)
    with TestClient(create_app(settings_on(server, data_dir=folder, max_batch=70))) as opened:
        yield opened


def ask(http: TestClient, images: Any, query: str = "") -> Any:
    body = npz(images=np.asarray(images))
    return http.post(f"/v1/predictions{query}", content=body, headers=NPZ)


def test_the_answer_is_the_networks(http: TestClient) -> None:
    images = pixels(3)
    answer = ask(http, images)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["model_version"], told["stored"]) == (1, True)
    expected = probabilities(parts_of(http).settings, 0, images)
    for one, row in zip(told["predictions"], expected, strict=True):
        assert one["model_version"] == 1
        assert one["label"] == CLASSES[row.argmax()]
        assert set(one["probabilities"]) == set(CLASSES)
        shares = list(one["probabilities"].values())
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        for label, share in zip(CLASSES, row, strict=True):
            assert one["probabilities"][label] == pytest.approx(share, abs=1e-5)


def test_one_picture_or_many_in_all_three_content_types(http: TestClient) -> None:
    images = pixels(3, seed=5)
    files = [encoded(image) for image in images]
    by_form = http.post("/v1/predictions", files=as_files(files)).json()
    by_json = http.post("/v1/predictions", json={"images": [coded(f) for f in files]}).json()
    by_npz = ask(http, images).json()
    alone = [http.post("/v1/predictions", files=as_files([f])).json() for f in files]
    answers = [by_form["predictions"], by_json["predictions"], by_npz["predictions"]]
    answers.append([one["predictions"][0] for one in alone])
    for row in zip(*answers, strict=True):
        assert len({one["label"] for one in row}) == 1
        for one in row[1:]:
            assert one["probabilities"] == pytest.approx(row[0]["probabilities"], abs=1e-5)
    assert len({one["id"] for answer in answers for one in answer}) == 12


def test_two_files_that_show_the_same_picture_get_the_same_answer(http: TestClient) -> None:
    picture = pixels(1, side=50, seed=9)[0]
    turned = np.ascontiguousarray(np.rot90(picture))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees to the right, which undoes rot90
    files = [
        encoded(picture),
        encoded(picture, "WEBP", lossless=True),
        encoded(turned, exif=exif),
        encoded(np.dstack([picture, np.full((50, 50), 255, np.uint8)])),
    ]
    answers = http.post("/v1/predictions", files=as_files(files)).json()["predictions"]
    assert len({str(one["probabilities"]) for one in answers}) == 1


def test_a_batch_beyond_one_pass_is_answered_in_order(http: TestClient) -> None:
    images = pixels(70, seed=2)
    answers = ask(http, images).json()["predictions"]
    expected = probabilities(parts_of(http).settings, 0, images)
    assert [a["label"] for a in answers] == [CLASSES[row.argmax()] for row in expected]


def test_top_cuts_the_probabilities_and_keeps_the_greatest(http: TestClient) -> None:
    whole = ask(http, pixels()).json()["predictions"][0]
    short = ask(http, pixels(), "?top=1").json()["predictions"][0]
    assert short["probabilities"] == {whole["label"]: whole["probabilities"][whole["label"]]}
    is_problem(ask(http, pixels(), "?top=0"), 422, "bad-parameter", item="top", limit=1)


def test_an_answer_can_be_asked_for_again(http: TestClient) -> None:
    given = ask(http, pixels(2)).json()["predictions"]
    for one in given:
        kept = http.get(f"/v1/predictions/{one['id']}").json()
        assert kept == one | {
            "true_label": None,
            "sample_id": None,
            "picture": f"/v1/predictions/{one['id']}/picture",
        }
        assert one["time"] > 1.7e9
    is_problem(http.get("/v1/predictions/1-1"), 404, "not-kept")
    is_problem(http.get("/v1/predictions/nonsense"), 404, "not-kept")


def test_answers_are_paged_newest_first(http: TestClient) -> None:
    ids = [one["id"] for one in ask(http, pixels(5)).json()["predictions"]]
    page = http.get("/v1/predictions?limit=3").json()
    assert [one["id"] for one in page["predictions"]] == ids[:1:-1]
    following = http.get(f"/v1/predictions?limit=2&cursor={page['next_cursor']}").json()
    assert [one["id"] for one in following["predictions"]] == ids[1::-1]
    is_problem(http.get("/v1/predictions?cursor=x"), 422, "bad-input", item="cursor")
    for query in ("limit=0", "limit=x", "limit=100000"):
        is_problem(http.get(f"/v1/predictions?{query}"), 422, "bad-parameter", item="limit")


def test_labels_with_a_prediction_are_refused(http: TestClient) -> None:
    answer = http.post(
        "/v1/predictions", files=as_files([encoded(pixels()[0])]), data={"labels": "a"}
    )
    is_problem(answer, 422, "bad-input", item="labels")


@pytest.mark.parametrize("index", [0, 1])
def test_one_bad_picture_is_named(http: TestClient, index: int) -> None:
    files = [encoded(pixels()[0])] * 2
    files[index] = files[index][:-300]
    answer = http.post("/v1/predictions", files=as_files(files))
    is_problem(answer, 422, "bad-picture", index=index)


def test_a_cut_form_is_not_answered_in_part(http: TestClient) -> None:
    request = http.build_request(
        "POST", "/v1/predictions", files=as_files([encoded(pixels()[0])] * 2)
    )
    headers = {"content-type": request.headers["content-type"]}
    answer = http.post("/v1/predictions", content=request.read()[:-20], headers=headers)
    is_problem(answer, 400, "bad-body", item="body")


def test_without_redis_predictions_are_answered_and_not_stored(tmp_path: Path) -> None:
    publish(tmp_path)
    with ingress(tmp_path) as door:
        answer = ask(door.http, pixels(2))
        assert answer.status_code == 200
        told = answer.json()
        assert told["stored"] is False
        assert [one["id"] for one in told["predictions"]] == [None, None]
        assert told["predictions"][0]["label"] in CLASSES
        assert door.metric("learndrop_predictions_total") == 2
        assert door.metric("learndrop_predictions_unstored_total") == 2
        recent = f"{1000 * int(time.time())}-0"  # one over its age is known to be gone
        is_problem(door.http.get(f"/v1/predictions/{recent}"), 503, "stream-away")


def test_a_picture_is_fitted_as_the_version_asks(tmp_path: Path) -> None:
    """Settings that were changed since a version was published do not change its input."""
    publish(tmp_path, image_size=16)
    with ingress(tmp_path, image_size=32) as door:
        images = pixels(2, side=16)
        answers = ask(door.http, images).json()["predictions"]
        expected = probabilities(door.app.state.parts.settings, 0, images)
        assert [a["label"] for a in answers] == [CLASSES[row.argmax()] for row in expected]
