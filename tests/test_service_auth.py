"""Who may call what: keys, roles, rotation without a restart; and no keys means loopback only."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from deploy.children import ROOT
from learndrop.disk.keyring import create, revoke, rotate
from learndrop.errors import BadSettings, NotFound
from learndrop.settings import load_settings
from service import auth, routes
from service.app import create_app
from service.auth import Gate
from tests.services import NPZ, Ingress, ingress, is_problem, npz, pixels

OPEN = {"/healthz", "/readyz", "/metrics", "/problems", "/problems/{name}"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """A secret for each role."""
    path = tmp_path / "keys.json"
    return {role: create(path, f"{role}er", [role]) for role in ("ingest", "predict", "read")} | {
        "admin": create(path, "boss", ["admin"])
    }


@pytest.fixture
def door(tmp_path: Path, keys: dict[str, str]) -> Iterator[Ingress]:
    with ingress(tmp_path) as opened:
        yield opened


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def post(door: Ingress, headers: dict[str, str]) -> Any:
    body = npz(images=pixels(2), labels=["a", "b"])
    return door.http.post("/v1/samples", content=body, headers=NPZ | headers)


def test_samples_need_the_role_ingest_and_carry_the_keys_name(
    door: Ingress, keys: dict[str, str]
) -> None:
    refused = is_problem(post(door, {}), 401, "key-needed", role="ingest")
    assert "ingest" in refused["detail"]
    answer = post(door, bearer("ld_wrong"))
    is_problem(answer, 401, "key-needed", role="ingest")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert "ld_wrong" not in answer.text
    is_problem(post(door, bearer(keys["read"])), 403, "role-needed", role="ingest")
    assert door.samples() == []
    assert post(door, bearer(keys["ingest"])).status_code == 202
    assert post(door, {"x-api-key": keys["admin"]}).status_code == 202
    assert [s.key for s in door.samples()] == ["ingester", "ingester", "boss", "boss"]


@pytest.mark.parametrize(
    ("method", "path", "roles"),
    [
        ("POST", "/v1/predictions", {"predict", "admin"}),
        ("GET", "/v1/predictions/1-1", {"predict", "admin"}),
        ("GET", "/v1/predictions", {"read", "admin"}),
        ("GET", "/v1/state", {"read", "admin"}),
        ("GET", "/v1/models", {"read", "admin"}),
        ("GET", "/v1/models/1", {"read", "admin"}),
        ("GET", "/v1/limits", {"ingest", "predict", "read", "admin"}),
    ],
)
def test_each_route_has_its_role(
    door: Ingress, keys: dict[str, str], method: str, path: str, roles: set[str]
) -> None:
    assert door.http.request(method, path).status_code == 401
    for role, secret in keys.items():
        status = door.http.request(method, path, headers=bearer(secret)).status_code
        assert (status == 403) == (role not in roles), (role, status)
        assert status != 401


def test_probes_metrics_and_explanations_are_open(door: Ingress) -> None:
    for path in ("/healthz", "/metrics", "/problems", "/problems/busy", "/openapi.json"):
        assert door.http.get(path).status_code == 200, path
    assert door.http.get("/readyz").status_code == 200
    assert door.http.get("/no-such-path").status_code == 404


def test_every_other_route_says_who_may(tmp_path: Path) -> None:
    """OpenAPI is made from the routes: one that forgot its word has no `security` there."""
    app = create_app(load_settings(data_dir=tmp_path))
    paths = app.openapi()["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            assert ("security" in operation) == (path not in OPEN), f"{method} {path}"
            assert ("401" in operation["responses"]) == (path not in OPEN), f"{method} {path}"


def test_no_route_lets_the_framework_read_a_body() -> None:
    """It would be read before anybody is asked for a key, and without a limit."""
    names = [module.name for module in pkgutil.iter_modules(routes.__path__)]
    found = [import_module(f"service.routes.{name}").router.routes for name in names]
    known = [r for part in found for r in part if isinstance(r, APIRoute)]
    assert len(known) > 10
    assert [r.path for r in known if r.body_field] == []


def test_a_stranger_is_refused_before_the_body_is_read(door: Ingress) -> None:
    answer = door.http.post("/v1/samples", content=b"", headers=NPZ)
    is_problem(answer, 401, "key-needed")  # an empty body would be a 400


def test_keys_change_without_a_restart(door: Ingress, keys: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    old = bearer(keys["ingest"])
    new = bearer(rotate(path, "ingester", grace_s=60))
    assert post(door, old).status_code == post(door, new).status_code == 202
    newest = bearer(rotate(path, "ingester", grace_s=0))
    assert post(door, old).status_code == post(door, new).status_code == 401
    assert post(door, newest).status_code == 202
    revoke(path, "ingester")
    assert post(door, newest).status_code == 401
    assert post(door, bearer(create(path, "later", ["ingest"]))).status_code == 202


def test_a_keys_file_that_goes_or_breaks_opens_nothing(
    door: Ingress, keys: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "keys.json"
    gate = door.app.state.parts.gate
    path.write_text("{")
    assert post(door, {}).status_code == 401
    assert post(door, bearer(keys["ingest"])).status_code == 202
    assert "no file of keys" in gate.trouble
    path.unlink()
    assert post(door, {}).status_code == 401
    assert post(door, bearer(keys["ingest"])).status_code == 202
    assert "is gone" in gate.trouble


def test_keys_made_while_it_runs_open_are_asked_for_from_then_on(tmp_path: Path) -> None:
    with ingress(tmp_path) as door:
        assert post(door, {}).status_code == 202
        assert door.samples()[0].key == ""
        secret = create(tmp_path / "keys.json", "camera", ["ingest"])
        assert post(door, {}).status_code == 401
        assert post(door, bearer(secret)).status_code == 202


def test_a_first_keys_file_that_is_damaged_locks_what_was_open(tmp_path: Path) -> None:
    with ingress(tmp_path) as door:
        (tmp_path / "keys.json").write_text("{")
        assert post(door, {}).status_code == 401
        (tmp_path / "keys.json").unlink()
        assert post(door, {}).status_code == 401
        secret = create(tmp_path / "keys.json", "camera", ["ingest"])
        assert post(door, bearer(secret)).status_code == 202


@pytest.mark.parametrize(
    ("origin", "asked", "statuses"),
    [
        (None, "127.0.0.1:8000", (202, 202)),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", (202, 202)),
        ("http://localhost:3000", "127.0.0.1:8000", (202, 202)),
        ("https://ours.example", "ours.example", (403, 202)),
        ("http://evil.example:8000", "evil.example:8000", (403, 403)),
        ("http://10.1.2.3:8000", "10.1.2.3:8000", (202, 202)),
        ("http://[fd00::1]:8000", "[fd00::1]:8000", (202, 202)),
        ("https://evil.example", "127.0.0.1:8000", (403, 403)),
        ("https://evil.example", "ours.example", (403, 403)),
        ("null", "127.0.0.1:8000", (403, 403)),
        ("http://[", "127.0.0.1:8000", (403, 403)),
    ],
)
def test_a_web_page_of_elsewhere_cannot_use_what_needs_no_key(
    tmp_path: Path, origin: str | None, asked: str, statuses: tuple[int, int]
) -> None:
    headers = {"host": asked} | ({"origin": origin} if origin else {})
    bound: list[dict[str, Any]] = [
        {},
        {"host": "0.0.0.0", "allow_open": True, "allowed_hosts": ["ours.example"]},
    ]
    for settings, status in zip(bound, statuses, strict=True):
        with ingress(tmp_path / str(len(settings)), **settings) as door:
            answer = post(door, headers)
            assert answer.status_code == status
            if status == 403:
                is_problem(answer, 403, "foreign-page", role="ingest")
            secret = create(door.app.state.parts.settings.keys_path, "camera", ["ingest"])
            assert post(door, headers | bearer(secret)).status_code == 202


@pytest.mark.parametrize(
    ("host", "more", "status"),
    [
        ("evil.example:8000", {}, 404),  # no browser
        ("evil.example:8000", {"accept-language": "en"}, 403),
        ("evil.example:8000", {"sec-fetch-site": "same-origin"}, 403),
        ("localhost:8000", {"accept-language": "en", "sec-fetch-site": "none"}, 404),
        ("localhost:8000", {"sec-fetch-site": "same-origin"}, 404),
        ("localhost:8000", {"sec-fetch-site": "cross-site"}, 403),
        ("127.0.0.1:8000", {"sec-fetch-site": "cross-site", "origin": "http://localhost:3"}, 404),
    ],
)
def test_a_name_that_was_made_to_lead_here_reads_and_deletes_nothing(
    tmp_path: Path, host: str, more: dict[str, str], status: int
) -> None:
    with ingress(tmp_path, host="0.0.0.0", allow_open=True) as door:
        for method, path in (("GET", "/v1/samples/1-1"), ("DELETE", "/v1/samples/x")):
            answer = door.http.request(method, path, headers={"host": host} | more)
            if status == 403 or method == "GET":
                assert answer.status_code == status
            else:
                assert answer.status_code == 503  # Redis is away, and it was allowed to ask it


@pytest.mark.parametrize("open_settings", [{}, {"host": "0.0.0.0", "allow_open": True}])
def test_taking_the_keys_file_away_opens_nothing_after_a_restart_either(
    tmp_path: Path, open_settings: dict[str, Any]
) -> None:
    settings = load_settings(data_dir=tmp_path, **open_settings)
    with pytest.raises(NotFound):
        revoke(settings.keys_path, "camera")  # no key was ever made: that closes nothing
    assert not Gate(settings).needs_keys
    create(settings.keys_path, "camera", ["ingest"])
    settings.keys_path.unlink()
    with pytest.raises(BadSettings, match=r"gone.*\.keys\.json\.lock"):
        Gate(settings)
    (tmp_path / ".keys.json.lock").unlink()
    assert not Gate(settings).needs_keys


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com"])
def test_without_keys_only_loopback_is_taken(tmp_path: Path, host: str) -> None:
    given = {"data_dir": tmp_path, "host": host}
    with pytest.raises(BadSettings, match="LEARNDROP_ALLOW_OPEN"):
        Gate(load_settings(**given))
    assert not Gate(load_settings(**given, allow_open=True)).needs_keys
    create(tmp_path / "keys.json", "camera", ["ingest"])
    assert Gate(load_settings(**given)).needs_keys


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_keys(tmp_path: Path, host: str) -> None:
    gate = Gate(load_settings(data_dir=tmp_path, host=host))
    assert not gate.needs_keys and "anything" in gate.told


def test_a_damaged_keys_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(BadSettings, match="LEARNDROP_KEYS_FILE"):
        Gate(load_settings(data_dir=tmp_path))


def test_the_process_says_in_one_line_why_it_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env={"LEARNDROP_DATA_DIR": str(tmp_path), "LEARNDROP_HOST": "0.0.0.0"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    told = done.stdout + done.stderr
    assert told.strip().count("\n") == 0 and "learndrop keys create" in told
