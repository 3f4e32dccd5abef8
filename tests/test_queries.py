"""Parameters in an address: what a route does not know is refused, not passed over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from deploy.embedded import EmbeddedRedis
from learndrop.disk.keyring import create
from service.app import create_app
from tests.servers import server, settings_on
from tests.services import NPZ, ingress, is_problem, npz, pixels

__all__ = ["server"]


@pytest.fixture
def http(server: EmbeddedRedis, tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings_on(server, data_dir=tmp_path))) as http:
        yield http


@pytest.mark.parametrize(
    "path,item,known",
    [("label-requests?limt=1", "limt", ["limit"]), ("models?=1", "", []),
     ("predictions?limit=1&Cursor=7-0", "Cursor", ["limit", "cursor"]),
     ("state?n", "n", ["events"]), ("limits?x=1", "x", []), ("samples/1-0?limit=1", "limit", []),
     ("dead-letters?reasn=unreadable", "reasn", ["reason", "limit", "cursor"])],
)  # fmt: skip
def test_a_parameter_that_a_route_does_not_know_is_named_with_those_that_it_does(
    http: TestClient, path: str, item: str, known: list[str]
) -> None:
    told = is_problem(http.get(f"/v1/{path}"), 422, "bad-parameter", item=item, limit=known)
    assert all(name in told["detail"] for name in [repr(item), *known])


def test_nothing_is_done_where_one_is_mistyped(http: TestClient) -> None:
    """`?reasn=` would throw away the letters of every reason."""
    is_problem(http.delete("/v1/dead-letters?reasn=x"), 422, "bad-parameter", item="reasn")
    body = npz(images=pixels(), labels=[1])
    answer = http.post("/v1/samples?label=cat", content=body, headers=NPZ)
    is_problem(answer, 422, "bad-parameter", item="label", limit=[])
    assert http.get("/v1/state").json()["samples"]["accepted"] == 0


def test_one_that_comes_twice_is_refused_and_no_value_is_told(http: TestClient) -> None:
    twice = http.get("/v1/state?events=1&events=2")
    is_problem(twice, 422, "bad-parameter", item="events")
    assert "secret" not in http.get("/v1/state?key=secret").text


def test_who_may_not_ask_is_told_that_first(tmp_path: Path) -> None:
    create(tmp_path / "keys.json", "camera", ["ingest"])
    with ingress(tmp_path) as door:
        is_problem(door.http.get("/v1/state?x=1"), 401, "key-needed")


def test_what_is_open_to_anybody_takes_what_scrapers_and_probes_add(http: TestClient) -> None:
    for path in ("/healthz", "/metrics", "/readyz", "/problems"):
        assert http.get(f"{path}?x=1").status_code == 200, path
