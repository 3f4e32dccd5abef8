"""/metrics and /healthz of the worker, over a real socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from deploy.embedded import free_port
from learndrop.errors import DidNotStart
from learndrop.settings import load_settings
from learndrop.stream.account import Counts
from learndrop.stream.gap import Gap
from worker.account_series import AccountSeries
from worker.health import MOST_THREADS, answering
from worker.metrics import WorkerMetrics


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> WorkerMetrics:
    return WorkerMetrics(CollectorRegistry(), version="1.2.3", clock=clock, wall=clock)


@pytest.fixture
def port(metrics: WorkerMetrics) -> Iterator[int]:
    with answering(load_settings(metrics_port=free_port(), stall_s=60.0), metrics) as port:
        yield port


def get(port: int, path: str, **headers: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


def health(port: int) -> tuple[int, Any]:
    status, _, body = get(port, "/healthz")
    return status, json.loads(body)


def test_a_worker_is_well_while_its_loop_comes_round(
    port: int, metrics: WorkerMetrics, clock: Clock
) -> None:
    assert health(port) == (503, {"status": "starting"})
    metrics.alive(redis_up=True)
    clock.now += 59
    assert health(port) == (
        200,
        {"status": "ok", "progress_age_s": 59.0, "redis": "up", "leading": False},
    )
    clock.now += 2
    assert health(port) == (
        503,
        {"status": "stalled", "progress_age_s": 61.0, "redis": "up", "leading": False},
    )


def test_redis_away_does_not_make_the_worker_unwell(port: int, metrics: WorkerMetrics) -> None:
    metrics.alive(redis_up=False)  # to start it again would help nobody
    status, body = health(port)
    assert (status, body["redis"]) == (200, "away")


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_metrics_are_what_prometheus_reads(port: int, accept: str) -> None:
    status, kind, body = get(port, "/metrics?x=1", Accept=accept)
    assert status == 200
    assert ("openmetrics" in kind) == bool(accept)
    if not accept:
        names = {f.name for f in text_string_to_metric_families(body.decode())}
        assert {"learndrop_samples_learned", "learndrop_build_info", "process_cpu_seconds"} <= names


def test_another_path_is_404(port: int) -> None:
    assert get(port, "/admin")[0] == 404


def test_idle_connections_take_no_more_than_their_share(port: int, metrics: WorkerMetrics) -> None:
    metrics.alive(redis_up=True)
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_THREADS)]
    refused = socket.create_connection(("127.0.0.1", port), timeout=10)
    assert refused.recv(1) == b""
    for connection in [*idle, refused]:
        connection.close()
    for _ in range(1000):
        try:
            assert health(port)[0] == 200
            break
        except (OSError, http.client.HTTPException):
            continue
    else:
        pytest.fail("threads of closed connections were not given back")


def test_a_busy_port_is_a_clear_error(port: int, metrics: WorkerMetrics) -> None:
    with pytest.raises(DidNotStart, match=str(port)):
        with answering(load_settings(metrics_port=port), metrics):
            pass


def state(**changes: Any) -> dict[str, Any]:
    units = [
        {"name": "conv1", "position": 0, "state": "dropped", "scores": {"motion": 0.1}},
        {"name": "layer1", "position": 1, "state": "returned", "scores": {"motion": None}},
        {"name": "fc", "position": 2, "state": "training", "scores": {}},
    ]
    return {
        "prequential": {"accuracy": 0.75},
        "drop": {"depth": 1, "total": 3, "units": units},
        "flops": {"done": 10.0, "full": 40.0, "saved_ratio": 0.75},
        "features": {
            "bytes": 5,
            "budget_bytes": 50,
            "codec": "klt",
            "tiers": {"device": {"bytes": 4}, "file": {"bytes": 2}},
            "hits": 3,
            "misses": 1,
            "gate": {"accuracy_fall": 0.001},
        },
        "replay": {"samples": 7},
        "rate": 0.01,
        "model": {"version": 4},
    } | changes


def test_the_learners_state_becomes_series(metrics: WorkerMetrics) -> None:
    metrics.show(state())
    metrics.show(state(flops={"done": 15.0, "full": 60.0, "saved_ratio": 0.75}))
    expected: list[tuple[str, dict[str, str], float]] = [
        ("prequential_accuracy_ratio", {}, 0.75),
        ("drop_depth", {}, 1),
        ("units", {}, 3),
        ("unit_state", {"unit": "conv1", "position": "0"}, 2),
        ("unit_state", {"unit": "layer1", "position": "1"}, 3),
        ("unit_state", {"unit": "fc", "position": "2"}, 0),
        ("unit_score", {"unit": "conv1", "score": "motion"}, 0.1),
        ("flops_done_total", {}, 15),
        ("flops_full_total", {}, 60),
        ("flops_saved_ratio", {}, 0.75),
        ("learning_rate", {}, 0.01),
        ("feature_bytes", {}, 5),
        ("feature_budget_bytes", {}, 50),
        ("feature_tier_bytes", {"tier": "file"}, 2),
        ("feature_codec", {"codec": "klt"}, 1),
        ("feature_codec", {"codec": "int8"}, 0),
        ("feature_accuracy_fall_ratio", {}, 0.001),
        ("feature_reads_total", {"found": "hits"}, 3),  # shown twice, counted once
        ("replay_samples", {}, 7),
        ("model_version", {}, 4),
    ]
    for name, labels, value in expected:
        assert metrics.registry.get_sample_value(f"learndrop_{name}", labels) == value, name


def test_buried_entries_are_counted_once_by_reason(metrics: WorkerMetrics) -> None:
    for number in (1, 1, 3):
        metrics.account(Counts(9, 2, 3, 4), {"unreadable": number})
    value = metrics.registry.get_sample_value
    assert value("learndrop_samples_buried_total", {"reason": "unreadable"}) == 3
    assert value("learndrop_samples_accepted") == 9
    assert value("learndrop_samples_pending") == 4
    assert value("learndrop_samples_checkpointed") == 2
    assert value("learndrop_samples_dead_lettered") == 3


def test_the_speed_falls_to_nothing_when_nothing_is_learned(
    metrics: WorkerMetrics, clock: Clock
) -> None:
    from tests.loops import Told

    for _ in range(5):
        clock.now += 1
        metrics.observe(Told(20), [])
    assert metrics.samples_per_second() == 10.0
    clock.now += 30
    assert metrics.samples_per_second() == 0.0


def test_who_stands_by_tells_no_account_of_its_own(metrics: WorkerMetrics) -> None:
    value = metrics.registry.get_sample_value
    metrics.leads(True)
    metrics.account(Counts(9, 2, 3, 4), {})
    metrics.gap(Gap("stream_behind", 5, "because", True))
    assert value("learndrop_worker_leading") == 1
    kind = {"kind": "stream_behind"}
    assert value("learndrop_stream_gap", kind) == 1
    assert value("learndrop_stream_gap_samples", kind) == 5
    metrics.leads(False)  # else its last word would look like samples that nobody learns
    assert value("learndrop_worker_leading") == 0
    assert value("learndrop_samples_pending") == value("learndrop_samples_accepted") == 0
    assert value("learndrop_stream_gap", kind) == 0


def test_the_account_is_scraped_as_it_was_at_one_moment() -> None:
    registry = CollectorRegistry()
    account = AccountSeries(registry)
    before, after = Counts(9, 2, 3, 4), Counts(20, 12, 3, 4, deleted=1)
    account.counts = before
    told = []
    for family in account.collect():
        account.counts = after  # the worker goes on while the scrape is under way
        told += [sample.value for sample in family.samples]
    assert told == [9, 2, 3, 0, 4]
    value = registry.get_sample_value
    assert value("learndrop_samples_accepted") == 20 and value("learndrop_samples_deleted") == 1
