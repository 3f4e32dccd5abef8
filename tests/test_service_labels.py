"""Labels that come later, over HTTP: one or many, each with its own answer; which are wished."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from deploy.embedded import EmbeddedRedis
from learndrop.client import AsyncClient, Client
from learndrop.disk.keyring import create
from learndrop.errors import ServerRefused
from learndrop.server.keys import Keys
from learndrop.stream.messages import Sample
from service.app import create_app
from tests.commands import learndrop
from tests.published import CLASSES, publish
from tests.servers import client_of, leading, server, settings_on
from tests.services import NPZ, ingress, is_problem, listening_app, npz, parts_of, pixels

__all__ = ["server"]


@pytest.fixture
def http(server: EmbeddedRedis, tmp_path: Path) -> Iterator[TestClient]:
    """The application with a published version and keys of its own in Redis."""
    publish(tmp_path)
    settings = settings_on(server, data_dir=tmp_path, max_batch=20, max_pending=5)
    with TestClient(create_app(settings)) as opened:
        yield opened


def ask(http: Any, count: int, seed: int = 0) -> list[dict[str, Any]]:
    body = npz(images=pixels(count, seed=seed))
    answers: list[dict[str, Any]] = http.post("/v1/predictions", content=body, headers=NPZ).json()[
        "predictions"
    ]
    return answers


def give(http: Any, **body: Any) -> Any:
    return http.post("/v1/labels", json=body)


def metric(http: TestClient, name: str, **labels: str) -> float:
    registry = parts_of(http).metrics.registry
    return registry.get_sample_value(name, labels) or 0.0


def other(label: str) -> str:
    return next(name for name in CLASSES if name != label)


def test_a_label_makes_a_sample_that_the_worker_reads(http: TestClient) -> None:
    (answer,) = ask(http, 1)
    given = give(http, prediction=answer["id"], label=answer["label"])
    assert given.status_code == 200
    (result,) = given.json()["results"]
    assert result["outcome"] == "accepted"
    worker = leading(parts_of(http).settings)
    (entry,) = worker.claim(10, 0)
    worker.close()
    sample = Sample.from_fields(entry.fields)
    assert (entry.id, sample.label) == (result["sample_id"], answer["label"])
    assert np.array_equal(sample.image, pixels(1)[0])
    picture = http.get(f"/v1/predictions/{answer['id']}/picture")
    assert picture.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture.content))), pixels(1)[0])
    kept = http.get(f"/v1/predictions/{answer['id']}").json()
    assert (kept["true_label"], kept["sample_id"]) == (answer["label"], entry.id)
    assert http.get("/v1/predictions").json()["predictions"] == [kept]


def test_one_label_alone_is_refused_with_its_problem(http: TestClient) -> None:
    (answer,) = ask(http, 1)
    wrong = other(answer["label"])
    give(http, prediction=answer["id"], label=answer["label"])
    is_problem(
        give(http, prediction=answer["id"], label=wrong), 409, "contradiction",
        limit=answer["label"], value=wrong,
    )  # fmt: skip
    is_problem(give(http, prediction="9" * 15 + "-0", label="cat"), 404, "not-kept")
    is_problem(give(http, prediction="1-1", label="cat"), 410, "expired")
    is_problem(give(http, prediction=answer["id"], label=""), 422, "bad-input")
    corrected = give(http, prediction=answer["id"], label=wrong, correct=True).json()
    assert corrected["results"][0]["outcome"] == "corrected"
    again = give(http, prediction=answer["id"], label=wrong).json()
    assert again["results"][0]["outcome"] == "repeated"
    counted = {"contradicted": 1, "unknown": 1, "expired": 1, "bad": 1, "accepted": 1}
    for outcome, number in (counted | {"corrected": 1, "repeated": 1, "full": 0}).items():
        assert metric(http, "learndrop_labels_total", outcome=outcome) == number, outcome
    assert metric(http, "learndrop_samples_accepted_total") == 2


def test_what_one_key_asked_and_labelled_is_not_another_ones(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    publish(tmp_path)
    roles = {
        "camera": ["predict"], "rival": ["predict"], "viewer": ["predict", "read"],
        "alice": ["ingest"], "mallory": ["ingest"], "boss": ["admin"],
    }  # fmt: skip
    secrets = {name: create(tmp_path / "keys.json", name, some) for name, some in roles.items()}
    with TestClient(create_app(settings_on(server, data_dir=tmp_path))) as http:

        def by(name: str) -> TestClient:
            http.headers["x-api-key"] = secrets[name]
            return http

        (answer,) = ask(by("camera"), 1)
        path, right = f"/v1/predictions/{answer['id']}", answer["label"]
        for place in (path, f"{path}/picture"):
            for name in ("camera", "viewer", "boss"):
                assert by(name).get(place).status_code == 200
            is_problem(by("rival").get(place), 403, "role-needed", role="read")
        body = {"prediction": answer["id"], "label": other(right), "correct": True}
        assert give(by("alice"), prediction=answer["id"], label=right).status_code == 200
        is_problem(give(by("mallory"), **body), 403, "role-needed", role="admin")
        (result,) = give(by("mallory"), labels=[body]).json()["results"]
        assert (result["outcome"], result["status"]) == ("foreign", 403)
        assert metric(http, "learndrop_labels_total", outcome="foreign") == 2
        assert by("camera").get(path).json()["true_label"] == right
        assert give(by("boss"), **body).json()["results"][0]["outcome"] == "corrected"
        trail = by("boss").get("/v1/audit").json()["entries"]
        assert [(e["key"], e["allowed"]) for e in trail if e["corrects"] == [answer["id"]]] == [
            ("boss", True), ("mallory", False), ("mallory", False),
        ]  # fmt: skip


def test_a_label_under_a_key_is_given_once_and_answered_alike(http: TestClient) -> None:
    answer, second = ask(http, 2)
    right, wrong = answer["label"], other(answer["label"])
    body = {"prediction": answer["id"], "label": wrong}
    key = {"idempotency-key": "one"}
    given = [http.post("/v1/labels", json=body, headers=key) for _ in range(2)]
    assert given[0].json() == given[1].json()
    assert given[1].json()["results"][0]["outcome"] == "accepted"
    is_problem(
        http.post("/v1/labels", json=body | {"label": right}, headers=key), 422, "other-content"
    )
    first = {"idempotency-key": "first"}
    fixed = body | {"label": right, "correct": True}
    many = {"labels": [fixed, {"prediction": second["id"], "label": second["label"]}]}
    told = http.post("/v1/labels", json=many, headers=first).json()
    assert [r["outcome"] for r in told["results"]] == ["corrected", "accepted"]
    give(http, **body, correct=True)
    # Its answer was lost, and the retry comes late: what was corrected since stays.
    assert http.post("/v1/labels", json=many, headers=first).json() == told
    assert http.get(f"/v1/predictions/{answer['id']}").json()["true_label"] == wrong
    assert metric(http, "learndrop_labels_total", outcome="corrected") == 2


def test_a_label_that_was_refused_may_come_again_under_its_key(http: TestClient) -> None:
    rows = [{"prediction": a["id"], "label": "cat"} for a in ask(http, 6)]
    give(http, labels=rows[:5])
    key = {"idempotency-key": "one"}
    is_problem(http.post("/v1/labels", json=rows[5], headers=key), 429, "stream-full")
    worker = leading(parts_of(http).settings)
    worker.claim(10, 0)
    worker.release()
    worker.ack(worker.position)
    worker.close()
    again = http.post("/v1/labels", json=rows[5], headers=key)
    assert again.json()["results"][0]["outcome"] == "accepted"


def test_a_long_answer_is_remembered_whole(http: TestClient) -> None:
    rows = [{"prediction": f"1-{n}", "label": "cat"} for n in range(1, 20)]
    key = {"idempotency-key": "one"}
    given = [http.post("/v1/labels", json={"labels": rows}, headers=key).json() for _ in range(2)]
    assert given[0] == given[1] and len(given[0]["results"]) == 19


def test_in_a_batch_each_label_stands_for_itself(http: TestClient) -> None:
    answers = ask(http, 7)
    rows = [{"prediction": a["id"], "label": "cat"} for a in answers]
    rows[1] = {"prediction": "1-1", "label": "cat"}
    rows[2] = {"prediction": answers[2]["id"], "label": None}
    results = give(http, labels=rows).json()["results"]
    assert [r["outcome"] for r in results] == ["accepted", "expired", "bad", *["accepted"] * 4]
    assert results[2]["detail"].startswith("label 2 ")
    assert [r["status"] for r in results[:3]] == [None, 410, 422]
    assert results[1]["problem"] == "/problems/expired"
    again = give(http, labels=rows).json()["results"]
    assert [r["outcome"] for r in again] == ["repeated", "expired", "bad", *["repeated"] * 4]
    assert [r["sample_id"] for r in again] == [r["sample_id"] for r in results]


MOST = 2**64 - 1


@pytest.mark.parametrize("number", [MOST + 1, 10**20 - 1])
@pytest.mark.parametrize("form", ["{}-0", "1-{}"])
def test_an_id_that_no_server_writes_is_unknown_everywhere(
    http: TestClient, number: int, form: str
) -> None:
    unknown = form.format(number)
    answers = ask(http, 2)
    rows = [
        {"prediction": i, "label": "cat"} for i in (answers[0]["id"], unknown, answers[1]["id"])
    ]
    results = give(http, labels=rows).json()["results"]
    assert [r["outcome"] for r in results] == ["accepted", "unknown", "accepted"]
    for path in ("samples", "predictions", "dead-letters", "deletions"):
        is_problem(http.get(f"/v1/{path}/{unknown}"), 404, "not-kept")
    for path in ("samples", "predictions", "dead-letters"):
        is_problem(http.delete(f"/v1/{path}/{unknown}"), 404, "not-kept")
    is_problem(http.post(f"/v1/dead-letters/{unknown}/replay"), 404, "not-kept")


@pytest.mark.parametrize("path", ["predictions", "dead-letters", "audit"])
def test_cursors_at_the_ends_of_what_a_server_writes(http: TestClient, path: str) -> None:
    for cursor in ("0-0", f"{MOST + 1}-0", f"0-{MOST + 1}", "01-1"):
        is_problem(http.get(f"/v1/{path}?cursor={cursor}"), 422, "bad-input", item="cursor")
    for cursor in (f"{MOST}-{MOST}", "0-1"):
        assert http.get(f"/v1/{path}?cursor={cursor}").status_code == 200


@pytest.mark.parametrize("kept", [f"{MOST}-{MOST}", "0-0", "0-1"])
def test_the_first_and_last_ids_of_all_are_asked_for_without_harm(
    http: TestClient, kept: str
) -> None:
    for path in ("samples", "predictions", "dead-letters"):
        assert http.get(f"/v1/{path}/{kept}").status_code in (404, 410), path
    assert give(http, prediction=kept, label="cat").status_code in (404, 410)
    assert http.delete(f"/v1/samples/{kept}").status_code in (202, 404)


def test_a_batch_for_which_there_is_no_room_at_all_is_429_and_half_of_one_is_told(
    http: TestClient,
) -> None:
    rows = [{"prediction": a["id"], "label": "cat"} for a in ask(http, 7)]
    results = give(http, labels=rows).json()["results"]
    assert [r["outcome"] for r in results] == [*["accepted"] * 5, "full", "full"]
    refused = give(http, labels=rows[5:])
    is_problem(refused, 429, "stream-full", limit=5)
    assert int(refused.headers["retry-after"]) >= 1
    is_problem(give(http, **rows[5]), 429, "stream-full")


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "bad-body"),
        (b"{", 400, "bad-body"),
        (b"[]", 422, "bad-input"),
        (b"{}", 422, "bad-input"),
        (b'{"labels": []}', 422, "bad-input"),
        (b'{"labels": {}}', 422, "bad-input"),
        (b'{"labels": [1]}', 422, "bad-input"),
        (b'{"labels": [{"prediction": "1-1"}]}', 422, "bad-input"),
        (b'{"labels": [], "label": "x"}', 422, "bad-input"),
        (b'{"prediction": 1, "label": "x"}', 422, "bad-input"),
        (b'{"prediction": "1-1", "label": "x", "correct": 1}', 422, "bad-input"),
        (b'{"prediction": "1-1", "label": "x", "more": 1}', 422, "bad-input"),
        (json.dumps({"labels": [{"prediction": "1-1", "label": "x"}] * 21}), 413, "too-large"),
        (b"[" * 100_000, 413, "too-large"),
    ],
)
def test_a_body_that_is_none_of_labels_is_refused(
    http: TestClient, body: bytes, status: int, kind: str
) -> None:
    answer = http.post("/v1/labels", content=body, headers={"content-type": "application/json"})
    is_problem(answer, status, kind)


def test_only_json_is_taken(http: TestClient) -> None:
    answer = http.post("/v1/labels", content=b"x", headers=NPZ)
    is_problem(answer, 415, "unknown-format", limit=["application/json"])


def test_accuracy_by_version_is_in_state_and_metrics(http: TestClient, tmp_path: Path) -> None:
    assert http.get("/v1/state").json()["labels"]["accuracy"] is None
    first = ask(http, 2)
    give(http, prediction=first[0]["id"], label=first[0]["label"])
    give(http, prediction=first[1]["id"], label=other(first[1]["label"]))
    told = http.get("/v1/state").json()["labels"]
    assert (told["labelled"], told["right"], told["accuracy"]) == (2, 1, 0.5)
    assert told["versions"] == [{"version": 1, "labelled": 2, "right": 1, "accuracy": 0.5}]
    line = 'learndrop_labelled_accuracy_ratio{version="1"} 0.5'
    assert line in http.get("/metrics").text.splitlines()


def test_a_correction_after_the_scores_are_lost_divides_by_nothing(
    server: EmbeddedRedis, http: TestClient
) -> None:
    (answer,) = ask(http, 1)
    give(http, prediction=answer["id"], label=answer["label"])
    keys = Keys(parts_of(http).settings.name)
    with client_of(server) as redis:
        redis.delete(keys.scores)
        give(http, prediction=answer["id"], label=other(answer["label"]), correct=True)
        assert http.get("/metrics").status_code == 200
        assert http.get("/v1/state").json()["labels"]["versions"] == []
        redis.hset(keys.scores, "1", "-1 0")  # as it was written before
        assert http.get("/metrics").status_code == 200


def test_a_deleted_prediction_is_gone_with_its_picture(http: TestClient) -> None:
    answers = ask(http, 2)
    (result,) = give(http, prediction=answers[0]["id"], label="cat").json()["results"]
    path = f"/v1/predictions/{answers[0]['id']}"
    assert http.delete(path).json() == {
        "deleted": answers[0]["id"],
        "sample_id": result["sample_id"],
    }
    for answer in (http.get(path), http.get(f"{path}/picture"), http.delete(path)):
        is_problem(answer, 404, "not-kept")
    assert http.delete(f"/v1/predictions/{answers[1]['id']}").json()["sample_id"] is None


def test_without_redis_labels_are_asked_to_come_later(tmp_path: Path) -> None:
    with ingress(tmp_path) as place:
        refused = place.http.post("/v1/labels", json={"prediction": "1-1", "label": "x"})
        is_problem(refused, 503, "stream-away")
        is_problem(place.http.get("/v1/label-requests"), 503, "stream-away")


# -- which are wished ------------------------------------------------------------------------


def test_the_most_unsure_is_wished_first_and_what_has_a_label_no_more(http: TestClient) -> None:
    answers = ask(http, 15, seed=3)

    def margin(answer: dict[str, Any]) -> float:
        first, second, *_ = answer["probabilities"].values()
        return float(first - second)

    told = http.get("/v1/label-requests?limit=15").json()
    assert told["looked_at"] == 15
    wishes = told["requests"]
    assert {w["prediction"] for w in wishes} == {a["id"] for a in answers}
    assert wishes[0]["prediction"] == min(answers, key=margin)["id"]
    assert [w["worth"] for w in wishes] == sorted((w["worth"] for w in wishes), reverse=True)
    assert wishes[0]["why"].startswith("torn between ")
    assert http.get(wishes[0]["picture"]).status_code == 200
    give(http, prediction=wishes[0]["prediction"], label="cat")
    left = http.get("/v1/label-requests?limit=3").json()["requests"]
    assert len(left) == 3
    assert wishes[0]["prediction"] not in {w["prediction"] for w in left}
    assert "unlike the nearest" in left[0]["why"]
    is_problem(http.get("/v1/label-requests?limit=101"), 422, "bad-parameter")


def test_without_kept_pixels_nothing_is_wished(server: EmbeddedRedis, tmp_path: Path) -> None:
    publish(tmp_path)
    settings = settings_on(server, data_dir=tmp_path, predictions_pixels=False)
    with TestClient(create_app(settings)) as http:
        (answer,) = ask(http, 1)
        assert http.get("/v1/label-requests").json() == {"requests": [], "looked_at": 1}
        assert http.get(f"/v1/predictions/{answer['id']}").json()["picture"] is None
        (result,) = give(http, prediction=answer["id"], label="cat").json()["results"]
        assert result["outcome"] == "scored"


# -- client and command ----------------------------------------------------------------------


async def test_the_client_and_the_command_give_labels(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    publish(tmp_path)
    settings = settings_on(server, data_dir=tmp_path, max_batch=2)
    with listening_app(create_app(settings)) as url, Client(url) as client:
        ids = [a["id"] for a in client.predict(pixels(6))]
        assert client.label(ids[0], "cat")["outcome"] == "accepted"
        with pytest.raises(ServerRefused, match="409"):
            client.label(ids[0], "dog")
        many = client.label_many({ids[0]: "cat", ids[1]: 7, "1-1": "dog"})
        assert [one["outcome"] for one in many] == ["repeated", "accepted", "expired"]
        assert len(client.label_requests(3)) == 3
        assert client.prediction_picture(ids[5]).startswith(b"\x89PNG")
        assert client.delete_prediction(ids[5])["deleted"] == ids[5]
        async with AsyncClient(url) as same:
            assert (await same.label(ids[2], "cat"))["outcome"] == "accepted"
            assert [o["outcome"] for o in await same.label_many({ids[2]: "cat"})] == ["repeated"]
            assert len(await same.label_requests()) == 2

        def command(*arguments: str) -> subprocess.CompletedProcess[str]:
            return learndrop("labels", *arguments, "--url", url)

        listed = command("wished", "--pictures", str(tmp_path / "wished")).stdout.splitlines()
        assert {line.split("\t")[0] for line in listed[1:]} == {ids[3], ids[4]}
        assert len(list((tmp_path / "wished").glob("*.png"))) == 2
        assert command("give", ids[3], "dog").stdout.startswith("accepted: sample ")
        assert command("give", ids[3], "cat").returncode == 1
        assert command("give", ids[3], "cat", "--correct").stdout.startswith("corrected: ")
        assert command("give", "1-1", "cat").returncode == 3
