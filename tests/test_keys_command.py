"""`learndrop keys`, and a key on its way from the command line to the service and into no log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from deploy.children import Child
from deploy.embedded import EmbeddedRedis, free_port
from learndrop.disk.keyring import create
from learndrop.settings import load_settings
from tests.commands import learndrop
from tests.servers import server, settings_on
from tests.services import service_process

__all__ = ["server"]


def test_keys_are_made_listed_changed_and_taken_away(tmp_path: Path) -> None:
    place = {"LEARNDROP_DATA_DIR": str(tmp_path / "data")}
    made = learndrop("keys", "create", "camera", "--role", "ingest", "--role", "read", **place)
    assert made.returncode == 0 and made.stdout.startswith("ld_") and made.stdout.count("\n") == 1
    listed = learndrop("keys", "list", **place).stdout.splitlines()
    assert listed[1].split("\t")[:3] == ["camera", "ingest read", "-"]
    turned = learndrop("keys", "rotate", "camera", **place)
    assert turned.stdout.startswith("ld_") and turned.stdout != made.stdout
    told = learndrop("keys", "list", "--json", **place).stdout
    assert len(json.loads(told)[0]["secrets"]) == 2 and "sha256" not in told
    assert learndrop("keys", "revoke", "camera", **place).returncode == 0
    assert json.loads(learndrop("keys", "list", "--json", **place).stdout) == []


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [(["create", "a b", "--role", "read"], 2, "key name"), (["revoke", "nobody"], 3, "no key"),
     (["create", "a", "--role", "root"], 2, "'root' is unknown"),
     (["create", "a", "--role", "read", "--rate", "often"], 2, "100/minute")],
)  # fmt: skip
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    done = learndrop("keys", *arguments, LEARNDROP_DATA_DIR=str(tmp_path))
    assert done.returncode == code and told in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def locked(server: EmbeddedRedis, tmp_path: Path) -> Iterator[tuple[Child, str]]:
    """A service that asks for keys and logs all it can; and a secret."""
    settings = settings_on(server, data_dir=tmp_path, port=free_port(), log_level="debug")
    secret = create(settings.keys_path, "camera", ["ingest"])
    with service_process(tmp_path, settings) as child:
        yield child, secret


def test_the_command_shows_its_key_and_no_log_has_it(locked: tuple[Child, str]) -> None:
    child, secret = locked
    assert child.log is not None
    for name in ("cat", "dog"):
        (folder := child.log.parent / "pets" / name).mkdir(parents=True)
        Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save(folder / "a.png")
    feed = ["feed", str(child.log.parent / "pets"), "--url", child.url]
    outputs = []
    refused = learndrop(*feed)
    assert refused.returncode == 1 and "401" in refused.stderr
    for arguments, environment in (
        ([*feed, "--key", secret], {}),
        ([f"--key={secret}", *feed], {}),
        (feed, {"LEARNDROP_API_KEY": secret}),
    ):
        done = learndrop(*arguments, **environment)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout + done.stderr)
    denied = learndrop("status", "--url", child.url, "--key", secret, "--debug")
    assert denied.returncode != 0 and "403" in denied.stderr
    shown = learndrop("settings", LEARNDROP_API_KEY=secret, LEARNDROP_RATE="1")
    broken = learndrop("settings", LEARNDROP_API_KEY=secret, LEARNDROP_RATE="fast")
    outputs += [denied.stderr, shown.stdout, broken.stderr]
    headers = [{"authorization": f"Bearer {secret}x"}, {"x-api-key": secret}]
    for header in headers:
        httpx2.get(f"{child.url}/v1/state", headers=header)
        httpx2.post(f"{child.url}/v1/samples", headers=header, content=b"x")
    child.stop()
    log = child.log.read_text()
    assert '"key":"camera"' in log.replace('": "', '":"') and "/v1/samples" in log
    for text in (log, *outputs):
        assert secret not in text


def test_settings_that_do_not_fit_together_show_no_secret(tmp_path: Path) -> None:
    done = learndrop(
        "settings",
        LEARNDROP_REDIS_URL="redis://:planted@h",
        LEARNDROP_REDIS_PASSWORD="planted",
        LEARNDROP_CLASSES='["a", "a"]',
    )
    assert done.returncode == 2 and "twice" in done.stderr and "planted" not in done.stderr
    assert "planted" not in repr(load_settings(redis_password="planted", api_key="planted"))
