"""What the service tells: state, models, limits, probes, metrics, OpenAPI, problems."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from deploy.embedded import EmbeddedRedis
from learndrop.disk.registry import Registry
from learndrop.events import Event
from learndrop.server.board import WorkerBoard
from learndrop.server.keys import Keys
from learndrop.settings import load_settings
from learndrop.stream.publisher import RedisPublisher
from service import durability
from service.app import create_app
from service.durability import Durability
from service.problems import KINDS
from tests.published import CLASSES, publish
from tests.servers import client_of, require_server, server, settings_on, token
from tests.services import NPZ, ingress, is_problem, npz, parts_of, pixels

__all__ = ["server"]

ACCOUNT = ("accepted", "learned", "buried", "deleted", "pending")
TOLD = {
    "samples_learned": 64,
    "prequential": {"accuracy": 0.75, "window": 512},
    "drop": {
        "depth": 1,
        "total": 2,
        "units": [
            {"name": "conv1", "position": 0, "state": "dropped", "scores": {"motion": 0.1},
             "why": "motion 0.1 of its peak"},
            {"name": "fc", "position": 1, "state": "training", "scores": {}, "why": ""},
        ],
    },
    "flops": {"done": 1e9, "full": 2e9, "saved_ratio": 0.5},
    "classes": ["a", "b"],
    "model": {"version": 999},
}  # fmt: skip
EVENTS = [
    Event("drop", 100.0, 32, "conv1 has settled", 1),
    Event("drift", 101.0, 48, "error 0.2 to 0.6", 1, {"p": 0.01}),
]


@pytest.fixture
def http(server: EmbeddedRedis, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings_on(server, data_dir=tmp_path))) as opened:
        yield opened


def test_before_the_workers_first_word_every_promised_name_is_there(http: TestClient) -> None:
    state = http.get("/v1/state").json()
    assert state["samples"] == dict.fromkeys(ACCOUNT, 0)
    assert state["prequential"]["accuracy"] is None
    assert (state["drop"]["depth"], state["drop"]["units"]) == (0, [])
    assert state["events"] == []
    assert state["flops"] == {"done": 0, "full": 0}
    assert state["model"]["version"] is None
    assert state["model"]["seconds_since_version"] is None
    assert state["samples_per_s"] is None


def test_state_is_what_the_worker_told_with_the_account_of_now(
    http: TestClient, tmp_path: Path
) -> None:
    board = WorkerBoard(parts_of(http).settings, token(parts_of(http).settings))
    board.put_state(TOLD)
    board.add_events(EVENTS)
    board.close()
    body = npz(images=pixels(3), labels=[1, 2, 3])
    assert http.post("/v1/samples", content=body, headers=NPZ).status_code == 202
    state = http.get("/v1/state").json()
    assert state["samples"] == dict.fromkeys(ACCOUNT, 0) | {"accepted": 3, "pending": 3}
    for name in ("prequential", "drop", "flops", "classes", "samples_learned"):
        assert state[name] == TOLD[name]
    assert [e["type"] for e in state["events"]] == ["drift", "drop"]  # newest first
    assert state["events"][0] == EVENTS[1].to_json()
    assert state["model"]["version"] is None  # what answers, not what the worker says
    assert len(http.get("/v1/state?events=1").json()["events"]) == 1
    assert http.get("/v1/state?events=0").json()["events"] == []
    is_problem(http.get("/v1/state?events=-1"), 422, "bad-parameter", item="events", limit=0)


def test_samples_per_second_come_from_what_was_learned_between_two_looks(
    http: TestClient,
) -> None:
    board = WorkerBoard(parts_of(http).settings, token(parts_of(http).settings))
    for learned in (100, 300):
        board.put_state(TOLD | {"samples_learned": learned})
        state = http.get("/v1/state").json()
    board.close()
    assert state["samples_per_s"] > 0


def test_the_model_that_answers_is_named_with_its_age(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    publish(tmp_path)
    with TestClient(create_app(settings_on(server, data_dir=tmp_path))) as http:
        model = http.get("/v1/state").json()["model"]
    assert model["version"] == 1
    assert 0 <= model["seconds_since_version"] < 60
    assert model["trouble"] is None


def test_models_are_listed_newest_first_and_found_by_number(tmp_path: Path) -> None:
    for seed in range(3):
        publish(tmp_path, seed=seed)
    with ingress(tmp_path) as door:
        settings = door.app.state.parts.settings
        told = door.http.get("/v1/models").json()
        assert [one["version"] for one in told["versions"]] == [3, 2, 1]
        assert (told["current"], told["serving"]) == (3, 3)
        one = door.http.get("/v1/models/2").json()
        assert (one["version"], one["current"], one["pinned"]) == (2, False, False)
        assert one["about"]["classes"] == list(CLASSES)
        assert one["published_s"] > 1.7e9
        Registry(settings.models_dir).pin(2)
        assert door.http.get("/v1/models/2").json()["pinned"] is True
        is_problem(door.http.get("/v1/models/9"), 404, "not-kept")
        is_problem(door.http.get("/v1/models/x"), 422, "bad-parameter", item="version")
        (settings.models_dir / "versions" / "000002.json").write_text("{}")
        assert door.http.get("/v1/models/2").json()["problem"]


def test_limits_are_those_that_hold(tmp_path: Path) -> None:
    with ingress(tmp_path, max_batch=3) as door:
        limits = door.http.get("/v1/limits").json()
        assert limits["max_batch"] == 3
        assert limits["max_body_bytes"] == 32 * 1024 * 1024
        body = npz(images=pixels(4), labels=[1] * 4)
        answer = door.http.post("/v1/samples", content=body, headers=NPZ)
        assert answer.json()["limit"] == limits["max_batch"]


def test_ready_without_a_model_because_samples_come_first(http: TestClient) -> None:
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {
        "status": "ready",
        "model": None,
        "keys": "no keys: whoever reaches this address may do anything",
        "trouble": None,
        "warnings": [],
    }


def test_a_server_that_could_lose_data_is_named_by_readyz(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    own = EmbeddedRedis(tmp_path / "redis")
    own.start()
    try:
        with TestClient(create_app(settings_on(own, data_dir=tmp_path))) as http:
            assert http.get("/readyz").status_code == 200
            with client_of(own) as redis:
                redis.config_set("appendfsync", "everysec")
                redis.config_set("maxmemory-policy", "allkeys-lru")
            problem = is_problem(http.get("/readyz"), 503, "not-ready")
            assert len(problem["reasons"]) == 2
            assert "everysec" in problem["reasons"][0]
            own.kill()
            problem = is_problem(http.get("/readyz"), 503, "not-ready")
            assert "away" in problem["reasons"][0]
            is_problem(http.get("/v1/state"), 503, "stream-away")
            assert http.get("/healthz").status_code == 200
    finally:
        own.stop()


def test_nothing_is_accepted_that_a_restart_of_redis_could_lose(
    server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durability, "AGAIN_S", 0.2)
    body = npz(images=pixels(1), labels=[1])
    with EmbeddedRedis(tmp_path / "redis") as own, client_of(own) as redis:
        redis.config_set("appendonly", "no")
        settings = settings_on(own, data_dir=tmp_path)
        with TestClient(create_app(settings)) as http, capture_logs() as logs:
            (reason,) = http.get("/v1/state").json()["not_durable"]
            assert "appendonly" in reason
            refused = http.post("/v1/samples", content=body, headers=NPZ)
            assert "appendonly" in is_problem(refused, 503, "not-durable")["detail"]
            label = {"prediction": "1-1", "label": "cat"}
            is_problem(http.post("/v1/labels", json=label), 503, "not-durable")
            assert redis.xlen(Keys(settings.name).stream) == 0
            redis.config_set("appendonly", "yes")
            time.sleep(0.3)
            assert http.post("/v1/samples", content=body, headers=NPZ).status_code == 202
            assert http.get("/v1/state").json()["not_durable"] == []
            redis.config_set("appendonly", "no")
            time.sleep(0.3)
            is_problem(http.post("/v1/samples", content=body, headers=NPZ), 503, "not-durable")
        assert [one["log_level"] for one in logs if one["event"] == "stream_not_durable"] == [
            "warning"
        ]
        with TestClient(create_app(settings.model_copy(update={"fsync": "no"}))) as http:
            assert http.post("/v1/samples", content=body, headers=NPZ).status_code == 202
            (warning,) = http.get("/readyz").json()["warnings"]
            assert "LEARNDROP_FSYNC=no" in warning and "appendonly" in warning


async def test_at_start_the_log_names_a_server_that_could_lose_data(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    with ingress(tmp_path, fsync="always") as door:
        publisher = door.stream
    with capture_logs() as logs:
        await Durability(publisher).start()
        away = RedisPublisher(load_settings(redis_url="redis://127.0.0.1:1/0"))
        await Durability(away).start()  # and does not keep the service from starting
        await away.close()
    assert [(one["event"], one["log_level"]) for one in logs] == [
        ("stream_not_durable", "warning"),
        ("stream_not_checked", "warning"),
    ]


def test_at_start_the_log_names_what_a_setting_allows_to_be_lost(tmp_path: Path) -> None:
    require_server()
    with EmbeddedRedis(tmp_path / "redis", fsync="everysec") as own, client_of(own) as redis:
        redis.config_set("maxmemory", 0)
        with capture_logs() as logs:
            with TestClient(create_app(settings_on(own, data_dir=tmp_path, fsync="everysec"))):
                pass
        (told,) = [one["warnings"] for one in logs if one["event"] == "stream_warnings"]
        assert [w for w in told if "everysec" in w and "killed server" in w]
        assert [w for w in told if "no maxmemory" in w]


def test_memory_that_runs_short_is_warned_of_before_samples_are_refused(
    server: EmbeddedRedis, tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "redis", memory_bytes=64 * 1024 * 1024) as own:
        settings = settings_on(own, data_dir=tmp_path)
        with TestClient(create_app(settings)) as http, client_of(own) as redis:
            assert http.get("/readyz").json()["warnings"] == []
            used = int(redis.info("memory")["used_memory"])
            redis.config_set("maxmemory", int(used * 1.12))  # more than 85 % of it
            ready = http.get("/readyz")
            assert ready.status_code == 200  # nothing is refused yet
            (warning,) = ready.json()["warnings"]
            assert "maxmemory" in warning and str(int(used * 1.12)) in warning
            body = npz(images=pixels(1), labels=[1])
            assert http.post("/v1/samples", content=body, headers=NPZ).status_code == 202
            assert http.get("/metrics").status_code == 200
            series = parts_of(http).metrics.registry
            limit = series.get_sample_value("learndrop_redis_memory_limit_bytes")
            assert limit == int(used * 1.12)
            taken = series.get_sample_value("learndrop_redis_memory_bytes")
            assert taken is not None and taken > 0.85 * limit
            redis.config_set("maxmemory", 0)
            (warning,) = http.get("/readyz").json()["warnings"]
            assert "no maxmemory" in warning


def test_everysec_is_allowed_by_a_setting_that_is_warned_of(tmp_path: Path) -> None:
    require_server()
    with EmbeddedRedis(tmp_path / "redis", fsync="everysec") as own:
        with TestClient(create_app(settings_on(own, data_dir=tmp_path))) as http:
            problem = is_problem(http.get("/readyz"), 503, "not-ready")
            assert "everysec" in problem["reasons"][0]
        allowed = settings_on(own, data_dir=tmp_path, fsync="everysec")
        with TestClient(create_app(allowed)) as http, client_of(own) as redis:
            (warning,) = http.get("/readyz").json()["warnings"]
            assert "everysec" in warning and "lose" in warning
            redis.config_set("appendfsync", "no")  # that is less than was allowed
            is_problem(http.get("/readyz"), 503, "not-ready")
            redis.config_set("appendfsync", "always")
            assert http.get("/readyz").status_code == 200


def test_the_stream_in_memory_is_told_as_well(tmp_path: Path) -> None:
    with ingress(tmp_path, fsync="always") as door:
        is_problem(door.http.get("/readyz"), 503, "not-ready")


SERIES = [
    "learndrop_http_requests_total", "learndrop_http_request_seconds_bucket",
    "learndrop_samples_accepted_total", "learndrop_predictions_total",
    "learndrop_prediction_queue", "learndrop_model_version", "learndrop_model_swaps_total",
    "learndrop_swap_seconds_bucket", "learndrop_stream_pending", "learndrop_build_info",
    "process_resident_memory_bytes",
]  # fmt: skip


def test_metrics_have_every_series(http: TestClient) -> None:
    http.post("/v1/samples", content=npz(images=pixels(2), labels=[1, 2]), headers=NPZ)
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    for name in SERIES:
        assert re.search(rf"^{name}(\{{.*\}})? ", answer.text, re.M), name
    assert re.search(r"^learndrop_stream_pending 2.0$", answer.text, re.M)
    refused = http.post("/v1/samples", content=b"x", headers=NPZ)
    assert refused.status_code == 400
    assert 'learndrop_samples_refused_total{reason="bad-body"} 1.0' in http.get("/metrics").text
    openmetrics = http.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_metrics_answer_without_redis(tmp_path: Path) -> None:
    own = EmbeddedRedis(tmp_path / "redis")
    own.start()
    with TestClient(create_app(settings_on(own, data_dir=tmp_path))) as http:
        own.kill()
        assert re.search(r"^learndrop_stream_pending NaN$", http.get("/metrics").text, re.M)


# -- OpenAPI and problems --------------------------------------------------------------------


def test_every_operation_has_a_name_of_its_own_and_names_no_error_of_the_framework(
    http: TestClient,
) -> None:
    told = http.get("/openapi.json").json()
    operations = [o for path in told["paths"].values() for o in path.values()]
    names = [o["operationId"] for o in operations]
    assert len(names) == len(set(names)) == len(operations)
    assert {"learn", "predict", "prediction", "predictions", "state", "models"} <= set(names)
    for operation in operations:
        assert operation["summary"]
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert set(answer["content"]) == {"application/problem+json"}, operation
    assert "HTTPValidationError" not in str(told)
    assert set(re.findall(r"#/components/schemas/(\w+)", str(told))) <= set(
        told["components"]["schemas"]
    )


def test_every_example_of_a_request_works(server: EmbeddedRedis, tmp_path: Path) -> None:
    publish(tmp_path)
    with TestClient(create_app(settings_on(server, data_dir=tmp_path))) as http:
        paths = http.get("/openapi.json").json()["paths"]
        for path, status in (("/v1/samples", 202), ("/v1/predictions", 200)):
            content = paths[path]["post"]["requestBody"]["content"]
            assert set(content) == {
                "application/json", "multipart/form-data", "application/x-npz"
            }  # fmt: skip
            answer = http.post(path, json=content["application/json"]["example"])
            assert answer.status_code == status, answer.text


def test_the_type_of_every_problem_is_an_address_that_explains_it(http: TestClient) -> None:
    answer = http.get("/nothing/here")
    is_problem(answer, 404, "no-such-path")
    explained = http.get(answer.json()["type"]).json()
    assert (explained["status"], explained["title"]) == (404, answer.json()["title"])
    assert [one["name"] for one in http.get("/problems").json()] == list(KINDS)
    is_problem(http.get("/problems/none"), 404, "not-kept")


def test_errors_of_the_framework_are_problems_too(http: TestClient) -> None:
    answer = http.request("PUT", "/v1/samples", content=b"x" * 1000)
    is_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"
    told = answer.json()
    assert (told["item"], told["limit"], told["value"]) == ("method", ["POST"], "PUT")
    assert "POST may be" in told["detail"]
    both = http.put("/v1/dead-letters/1-0")
    is_problem(both, 405, "method-not-allowed", limit=["DELETE", "GET"])
    assert both.headers["allow"] == "DELETE, GET"
    is_problem(http.get("/v1/state/"), 404, "no-such-path")
    is_problem(http.delete("/v1/dead-letters/"), 404, "no-such-path")  # an id that is empty
    assert "/openapi.json" in http.get("/").json()["detail"]
    is_problem(http.get("/docs"), 404, "no-such-path")  # it would load scripts from elsewhere


def test_a_fault_is_a_problem_that_tells_nothing_of_the_inside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ingress(tmp_path) as door:

        async def broken(*args: object) -> None:
            raise KeyError("/secret/path")

        monkeypatch.setattr(door.stream, "take", broken)
        body = npz(images=pixels(), labels=[1])
        answer = door.http.post("/v1/samples", content=body, headers=NPZ)
        is_problem(answer, 500, "internal")
        assert "secret" not in answer.text
        assert door.metric(
            "learndrop_http_requests_total", route="/v1/samples", method="POST", status="500"
        )
