"""What admins do is written down before it is done, in a stream that admins can read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from deploy.embedded import EmbeddedRedis
from learndrop.disk.keyring import create, revoke, rotate
from learndrop.logs import HIDDEN
from learndrop.upkeep.audit import AuditTrail
from service import auth, key_watch
from service.app import create_app
from service.dependencies import ADMIN
from tests.servers import server, settings_on
from tests.services import is_problem

__all__ = ["server"]


class Office:
    """A service with a route for admins, and keys."""

    def __init__(self, app: FastAPI, http: TestClient, folder: Path) -> None:
        self.done: list[str] = []
        self.http, self.path = http, folder / "keys.json"

        async def act(reason: str = "", n: str = "", key: str = "") -> None:
            self.done.append("act")

        app.post("/v1/act", dependencies=ADMIN)(act)
        self.admin = self.key("boss", "admin")
        self.reader = self.key("reader", "read")

    def key(self, name: str, role: str) -> dict[str, str]:
        return {"authorization": f"Bearer {create(self.path, name, [role])}"}

    def trail(self, **query: Any) -> Any:
        answer = self.http.get("/v1/audit", headers=self.admin, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def office(
    server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Office]:
    monkeypatch.setattr(auth, "LOOK_EVERY_S", 0.0)
    app = create_app(settings_on(server, data_dir=tmp_path, audit_kept=100))
    with TestClient(app) as http:
        yield Office(app, http, tmp_path)


def test_an_action_is_written_down_with_who_and_whether_it_was_allowed(office: Office) -> None:
    assert office.http.post("/v1/act?reason=x", headers=office.admin).status_code == 200
    is_problem(office.http.post("/v1/act", headers=office.reader), 403, "role-needed", role="admin")
    assert office.http.post("/v1/act").status_code == 401
    assert office.done == ["act"]
    actions = [e for e in office.trail()["entries"] if e["what"] == "POST /v1/act"]
    assert [(e["key"], e["allowed"], e["query"]) for e in actions] == [
        ("reader", False, ""),
        ("boss", True, "reason=x"),
    ]
    assert all(e["request_id"] and e["time"] > 1.7e9 for e in actions)


def test_changes_of_keys_are_in_the_trail_and_no_secret(office: Office) -> None:
    office.http.get("/v1/state", headers=office.admin)
    camera = office.key("camera", "ingest")
    office.http.get("/v1/state", headers=office.admin)
    revoke(office.path, "camera")
    page = office.trail()
    changes = [e for e in page["entries"] if e["what"] == "keys_changed"]
    assert changes[0]["revoked"] == ["camera"] and changes[1]["created"] == ["camera"]
    assert camera["authorization"].removeprefix("Bearer ") not in str(page)


def test_refused_tries_push_out_nothing_that_was_done(office: Office) -> None:
    office.http.post("/v1/act?n=done", headers=office.admin)
    for _ in range(300):  # three times what is kept; a stream gives up whole blocks of 100
        office.http.post("/v1/act", headers=office.reader)
    entries, cursor = [], None
    while True:
        page = office.trail(limit=50, **({"cursor": cursor} if cursor else {}))
        entries += page["entries"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    (done,) = (e for e in entries if e.get("query") == "n=done")
    assert done["allowed"] is True
    assert 100 <= sum(e.get("allowed") is False for e in entries) <= 200
    assert len({e["id"] for e in entries}) >= len(entries) - 1
    assert [e["time"] for e in entries] == sorted((e["time"] for e in entries), reverse=True)


def changed(app: FastAPI) -> list[dict[str, Any]]:
    """Changes of keys as they lie in Redis, with nobody asking for anything."""

    async def look() -> list[dict[str, Any]]:
        trail = AuditTrail(app.state.parts.settings)
        found, _ = await trail.page(None, 100)
        await trail.close()
        return [e for e in found if e["what"] == "keys_changed"]

    return asyncio.run(look())


def test_changes_of_keys_are_written_though_no_admin_asks_and_the_service_was_down(
    server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_watch, "EVERY_S", 0.05)
    settings = settings_on(server, data_dir=tmp_path)
    path = settings.keys_path
    create(path, "boss", ["admin"])

    def trail_of(app: FastAPI, count: int) -> list[tuple[list[str], list[str], list[str]]]:
        until = time.monotonic() + 10
        while len(found := changed(app)) < count and time.monotonic() < until:
            time.sleep(0.02)
        return [(e["created"], e["revoked"], e["changed"]) for e in reversed(found)]

    told: list[tuple[list[str], list[str], list[str]]] = [(["boss"], [], [])]
    first = create_app(settings)
    with TestClient(first):
        assert trail_of(first, 1) == told
        create(path, "camera", ["ingest"])
        told.append((["camera"], [], []))
        assert trail_of(first, 2) == told
    create(path, "gone", ["read"])  # while no service runs
    revoke(path, "gone")
    rotate(path, "camera", 10)
    told.append(([], [], ["camera"]))
    second, third = create_app(settings), create_app(settings)
    with TestClient(second), TestClient(third):  # two write it once
        assert trail_of(second, 3) == told
        revoke(path, "camera")
        told.append(([], ["camera"], []))
        assert trail_of(second, 4) == told
        time.sleep(0.3)
        assert trail_of(second, 4) == told


def test_a_key_that_somebody_put_into_an_address_is_not_kept(office: Office) -> None:
    secret = office.admin["authorization"].partition(" ")[2]
    assert office.http.post(f"/v1/act?key={secret}", headers=office.admin).status_code == 200
    assert office.trail()["entries"][0]["query"] == f"key={HIDDEN}"


def test_only_admins_read_it_and_page_by_page(office: Office) -> None:
    is_problem(office.http.get("/v1/audit", headers=office.reader), 403, "role-needed")
    for n in range(7):
        office.http.post(f"/v1/act?n={n}", headers=office.admin)
    seen, cursor = [], None
    while True:
        page = office.trail(limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [e["query"] for e in page["entries"] if e["what"] == "POST /v1/act"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"n={n}" for n in range(6, -1, -1)]
    answer = office.http.get("/v1/audit?cursor=x", headers=office.admin)
    is_problem(answer, 422, "bad-input", item="cursor")


def test_what_cannot_be_written_down_is_not_done(tmp_path: Path) -> None:
    from learndrop.settings import load_settings

    app = create_app(load_settings(data_dir=tmp_path, redis_url="redis://127.0.0.1:1/0"))
    with TestClient(app) as http:
        office = Office(app, http, tmp_path)
        answer = office.http.post("/v1/act", headers=office.admin)
        assert answer.status_code == 503 and office.done == []
