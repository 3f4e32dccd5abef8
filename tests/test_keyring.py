"""API keys at rest: hashed, found in constant effort, changed by one writer at a time."""

from __future__ import annotations

import json
import stat
import threading
import time
from pathlib import Path

import pytest

from learndrop.disk import keyring
from learndrop.disk.keyring import create, read_keys, revoke, rotate
from learndrop.errors import BadInput, DamagedFile, NotFound, UnknownFileFormat


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "keys.json"


def found(path: Path, secret: str, after_s: float = 0.0) -> str | None:
    key = read_keys(path).find(secret, time.time() + after_s)
    return key.name if key else None


def test_a_secret_finds_its_key_and_is_not_in_the_file(path: Path) -> None:
    one, two = create(path, "camera-1", ["ingest"]), create(path, "boss", ["admin"])
    assert found(path, one) == "camera-1" and found(path, two) == "boss"
    assert found(path, one[:-1]) is None and found(path, "") is None
    assert found(path, "x" * 10_000) is None
    text = path.read_text()
    assert one not in text and two not in text and one.removeprefix("ld_") not in text
    assert len(one) > 40 and one.startswith("ld_")
    assert not stat.S_IMODE(path.stat().st_mode) & 0o022


def test_roles_are_what_was_given_and_admin_is_all_of_them(path: Path) -> None:
    create(path, "a", ["ingest", "read"])
    create(path, "b", ["admin"], rate="5/minute")
    a, b = read_keys(path).keys
    assert [role for role in keyring.ROLES if a.may(role)] == ["ingest", "read"]
    assert all(b.may(role) for role in keyring.ROLES)
    assert (a.rate, b.rate) == ("", "5/minute")


def test_a_rotated_key_has_two_secrets_for_a_while(path: Path) -> None:
    old = create(path, "camera", ["ingest"])
    new = rotate(path, "camera", grace_s=100)
    assert found(path, old) == found(path, new) == "camera"
    assert found(path, old, after_s=101) is None and found(path, new, after_s=101) == "camera"
    newest = rotate(path, "camera", grace_s=0)
    assert found(path, new) is None and found(path, newest) == "camera"
    rotate(path, "camera", grace_s=0)
    assert len(read_keys(path).get("camera").secrets) == 2, "ended ones are forgotten"


def test_a_revoked_key_is_gone(path: Path) -> None:
    secret = create(path, "camera", ["ingest"])
    revoke(path, "camera")
    assert found(path, secret) is None
    with pytest.raises(NotFound, match="camera"):
        revoke(path, "camera")
    with pytest.raises(NotFound, match="camera"):
        rotate(path, "camera", 0)


@pytest.mark.parametrize("name", ["", "a b", "-a", "x" * 65, "a/b", "ä"])
def test_bad_names_are_refused(path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="name"):
        create(path, name, ["read"])


def test_a_name_is_given_once_and_roles_are_known_ones(path: Path) -> None:
    create(path, "camera", ["ingest"])
    with pytest.raises(BadInput, match="already"):
        create(path, "camera", ["read"])
    with pytest.raises(BadInput, match="'root' is unknown"):
        create(path, "other", ["root"])
    with pytest.raises(BadInput, match="needs a role"):
        create(path, "other", [])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 1, "keys": [{}]}', '{"format": 1, "keys": 3}',
     '{"format": 1, "keys": [{"name": "a", "roles": ["ingest"], "secrets": ["planted"]}]}',
     '{"format": 1, "keys": [{"name": "a", "roles": ["ingest"], "secrets":'
     ' [{"sha256": "planted", "created_s": 0, "until_s": null}]}]}'],
)  # fmt: skip
def test_what_is_no_file_of_keys_is_refused_without_repeating_it(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(DamagedFile, match="keys.json") as caught:
        read_keys(path)
    assert "planted" not in str(caught.value)
    with pytest.raises(DamagedFile):
        create(path, "camera", ["ingest"])
    assert path.read_text() == text, "a file that cannot be read is not written over"


def test_a_newer_format_is_refused_by_name(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps({"format": 2, "keys": []}))
    with pytest.raises(UnknownFileFormat, match="format 2"):
        read_keys(path)


def test_keys_made_at_once_are_all_there(path: Path) -> None:
    names = [f"key-{n}" for n in range(12)]
    threads = [threading.Thread(target=create, args=(path, n, ["read"])) for n in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.name for key in read_keys(path).keys) == sorted(names)
