"""How often a key may ask, what it is told about it, and that others do not pay for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from learndrop.disk.keyring import create
from learndrop.errors import BadInput, BadSettings
from learndrop.settings import load_settings
from tests.services import NPZ, Ingress, ingress, is_problem, npz, pixels


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, dict[str, str]]:
    path = tmp_path / "keys.json"
    made = {
        "a": create(path, "a", ["read"]),
        "b": create(path, "b", ["read"]),
        "quick": create(path, "quick", ["read"], rate="1000/minute"),
        "slow": create(path, "slow", ["ingest"], rate="1/day"),
    }
    return {name: {"authorization": f"Bearer {secret}"} for name, secret in made.items()}


@pytest.fixture
def door(tmp_path: Path, keys: dict[str, dict[str, str]]) -> Iterator[Ingress]:
    with ingress(tmp_path, key_rate="5/day") as opened:
        yield opened


def test_a_key_asks_as_often_as_it_may_and_no_other_pays(
    door: Ingress, keys: dict[str, dict[str, str]]
) -> None:
    answers = [door.http.get("/v1/models", headers=keys["a"]) for _ in range(7)]
    assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
    assert [a.headers["ratelimit-remaining"] for a in answers] == list("4321000")
    assert {a.headers["ratelimit-limit"] for a in answers} == {"5"}
    assert all(0 < int(a.headers["ratelimit-reset"]) <= 86_400 for a in answers)
    told = is_problem(answers[-1], 429, "rate-limited", limit="5/day")
    assert "'a'" in told["detail"] and int(answers[-1].headers["retry-after"]) >= 1
    assert door.metric("learndrop_refusals_total", reason="rate-limited") == 2
    assert door.http.get("/v1/models", headers=keys["b"]).status_code == 200


def test_a_key_may_have_a_rate_of_its_own(door: Ingress, keys: dict[str, dict[str, str]]) -> None:
    answers = [door.http.get("/v1/models", headers=keys["quick"]) for _ in range(20)]
    assert {a.status_code for a in answers} == {200}
    assert answers[0].headers["ratelimit-limit"] == "1000"


def test_it_is_refused_before_its_body_is_read(
    door: Ingress, keys: dict[str, dict[str, str]]
) -> None:
    body = npz(images=pixels(1), labels=["a"])
    assert (
        door.http.post("/v1/samples", content=body, headers=NPZ | keys["slow"]).status_code == 202
    )
    is_problem(
        door.http.post("/v1/samples", content=b"", headers=NPZ | keys["slow"]), 429, "rate-limited"
    )


def test_open_routes_and_strangers_are_not_counted(
    door: Ingress, keys: dict[str, dict[str, str]]
) -> None:
    for _ in range(10):
        assert door.http.get("/healthz").status_code == 200
        assert door.http.get("/v1/models").status_code == 401
    assert door.http.get("/v1/models", headers=keys["a"]).headers["ratelimit-remaining"] == "4"


def test_without_a_rate_there_are_no_such_headers(tmp_path: Path) -> None:
    with ingress(tmp_path / "other") as door:
        answer = door.http.get("/v1/models")
        assert answer.status_code == 200 and "ratelimit-limit" not in answer.headers


@pytest.mark.parametrize("rate", ["5", "fast", "5/fortnight", "0/second", "-1/second"])
def test_a_rate_that_is_none_is_refused_where_it_is_written(tmp_path: Path, rate: str) -> None:
    with pytest.raises(BadSettings, match="LEARNDROP_KEY_RATE"):
        load_settings(key_rate=rate)
    with pytest.raises(BadInput, match="100/minute"):
        create(tmp_path / "keys.json", "a", ["read"], rate=rate)
