"""Keys, stored answers, labels and receipts that an earlier learndrop wrote: this one goes on."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.answers.kept import Answers
from learndrop.answers.late_labels import LateLabels, Score
from learndrop.disk import keyring
from learndrop.errors import BadMessage, Contradiction, RoleNeeded, UnknownFileFormat
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from learndrop.stream.messages import Sample
from learndrop.stream.publisher import RedisPublisher
from learndrop.upkeep.dead_letters import DeadLetters
from learndrop.upkeep.deleting import Deleting
from learndrop.upkeep.forget_requests import ForgetRequests
from tests.golden import kept, make
from tests.golden.coded import plain
from tests.servers import client_of, leading, server, settings_on, token

__all__ = ["server"]

FORMATS = sorted(p for p in make.HERE.iterdir() if p.name.isdigit())
OLD_S = 1e9
"""Older than what is read here: golden files do not expire."""


@pytest.fixture(params=FORMATS, ids=lambda p: f"format-{p.name}")
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "golden"))


def told(golden: Path, name: str) -> Any:
    return json.loads((golden / name).read_text())


# -- API keys --------------------------------------------------------------------------------


def test_keys_are_known_by_their_secrets_with_roles_and_rate(golden: Path) -> None:
    ring, secrets = keyring.read_keys(golden / "keys.json"), told(golden, "secrets.json")
    line = ring.find(secrets["line"], time.time())
    assert line and (line.name, line.rate) == ("line", "600/minute")
    assert line.may("ingest") and line.may("predict") and not line.may("read")
    boss = ring.find(secrets["boss"], time.time())
    assert boss and boss.name == "boss" and boss.may("read")
    (turned,) = [s.until_s for s in boss.secrets if s.until_s]
    assert ring.find(secrets["boss before"], turned - 1) == boss
    assert ring.find(secrets["boss before"], turned) is None


def test_keys_are_made_and_taken_away_beside_them(golden: Path) -> None:
    path, secrets = golden / "keys.json", told(golden, "secrets.json")
    new = keyring.create(path, "new", ["read"])
    keyring.revoke(path, "boss")
    ring, now_s = keyring.read_keys(path), time.time()
    assert {key.name for key in ring.keys} == {"line", "new"}
    assert ring.find(new, now_s) == ring.get("new")
    assert ring.find(secrets["line"], now_s) == ring.get("line")
    assert ring.find(secrets["boss"], now_s) is None


def test_keys_from_before_there_were_rates_and_with_more_in_them_are_read(golden: Path) -> None:
    path, secrets = golden / "keys.json", told(golden, "secrets.json")
    stored = told(golden, "keys.json")
    for key in stored["keys"]:
        del key["rate"]
        key["mood"] = key["secrets"][0]["mood"] = "good"
    path.write_text(json.dumps(stored | {"mood": "good"}))
    found = keyring.read_keys(path).find(secrets["line"], time.time())
    assert found and found.rate == ""


def test_keys_of_a_newer_format_are_refused_by_name(golden: Path) -> None:
    path = golden / "keys.json"
    before = json.dumps(told(golden, "keys.json") | {"format": 2})
    path.write_text(before)
    with pytest.raises(UnknownFileFormat, match="keys.json has format 2"):
        keyring.read_keys(path)
    with pytest.raises(UnknownFileFormat):
        keyring.create(path, "new", ["read"])
    assert path.read_text() == before


# -- in Redis --------------------------------------------------------------------------------


@pytest.fixture
def settings(server: EmbeddedRedis, tmp_path: Path) -> Settings:
    return settings_on(server, data_dir=tmp_path, predictions_ttl_s=OLD_S)


@pytest.fixture
def redis(server: EmbeddedRedis) -> Iterator[Any]:
    client = client_of(server)
    yield client
    client.close()


async def test_answers_are_told_with_their_labels_and_pictures(
    golden: Path, settings: Settings, redis: Any
) -> None:
    kept.laid(redis, Keys(settings.name), told(golden, "kept-answers.json"))
    answers = Answers(settings)
    rows, _ = await answers.page(None, 10)
    assert [(r.label, r.sample_id is not None) for r in rows[::-1]] == [
        ("light", True),
        ("dark", True),
        (None, False),
    ]
    for number, row in enumerate(rows[::-1]):
        assert (row.asked_by, row.margin, row.pictured) == ("line", 0.5, True)
        assert row.answer["probabilities"] == {"light": 0.75, "dark": 0.25}
        assert row.answer["time"] == 1.7e9 + number
        image, asked_by = await answers.picture(row.id)
        assert np.array_equal(image, make.pictures()[number]) and asked_by == "line"
    await answers.delete(rows[0].id)
    bytes_left = int(redis.get(Keys(settings.name).predictions_bytes))
    assert bytes_left == sum(_size(f) for _, f in redis.xrange(Keys(settings.name).predictions))
    await answers.close()


async def test_labels_go_on_where_they_were(golden: Path, settings: Settings, redis: Any) -> None:
    kept.laid(redis, Keys(settings.name), told(golden, "kept-answers.json"))
    answers, labels = Answers(settings), LateLabels(settings)
    newest, wrong, right = (row.id for row in (await answers.page(None, 10))[0])
    assert await labels.scores() == (Score(2, 1), {2: Score(2, 1)})
    assert (await labels.give(right, "light", key="camera")).outcome == "repeated"
    with pytest.raises(RoleNeeded, match="another key"):
        await labels.give(right, "dark", key="line", correct=True)
    with pytest.raises(Contradiction, match="'dark'"):
        await labels.give(wrong, "light")
    assert (await labels.give(wrong, "light", correct=True)).outcome == "corrected"
    given = await labels.give(newest, "dark", key="line")
    worker = leading(settings)
    entries = {e.id: Sample.from_fields(e.fields) for e in worker.claim(10, 0)}
    assert np.array_equal(entries[str(given.sample_id)].image, make.pictures()[2])
    assert await labels.scores() == (Score(3, 2), {2: Score(3, 2)})
    worker.close()
    await answers.close()
    await labels.close()


async def test_a_picture_of_a_newer_format_is_refused_by_name_when_it_is_to_be_learned(
    golden: Path, settings: Settings, redis: Any
) -> None:
    stored = told(golden, "kept-answers.json")
    newest, fields = stored["predictions"][-1]
    stored["predictions"][-1] = [newest, fields | plain({b"v": b"2"})]
    kept.laid(redis, Keys(settings.name), stored)
    labels, worker = LateLabels(settings), leading(settings)
    await labels.give(newest, "dark")
    (entry,) = worker.claim(10, 0)  # the loop buries what it cannot read
    with pytest.raises(BadMessage, match="message version b'2', expected b'1'"):
        Sample.from_fields(entry.fields)
    worker.close()
    await labels.close()


async def test_a_deletion_goes_on_to_its_end(golden: Path, settings: Settings, redis: Any) -> None:
    keys, stored = Keys(settings.name), told(golden, "deletion.json")
    receipt = stored.pop("receipt")
    redis.set(keys.receipt(receipt["sample_id"]), json.dumps(receipt | {"mood": "of a younger"}))
    kept.laid(redis, keys, stored)
    publisher, letters, answers = RedisPublisher(settings), DeadLetters(settings), Answers(settings)
    deleting = Deleting(settings, publisher, answers, letters)
    found, _ = await deleting.receipt(receipt["sample_id"])
    assert (found.stream, found.learned, found.replayed) == ("waiting", "no", True)
    assert found.prediction and found.forgotten_s and not found.done
    assert "not learned" in found.said(None)
    worker = ForgetRequests(settings, token(settings))
    requests = worker.after("0-0")
    assert [r.sample_id for r in requests] == [r.receipt for r in requests] == found.names
    worker.erased(requests)
    assert worker.after("0-0") == []
    done, _ = await deleting.receipt(receipt["sample_id"])
    assert done.done and done.forgotten_s == found.forgotten_s
    again = await deleting.delete(receipt["sample_id"])
    assert (again.stream, again.done, again.prediction) == ("waiting", True, found.prediction)
    worker.close()
    for part in (publisher, letters, answers, deleting):
        await part.close()


def _size(fields: dict[bytes, bytes]) -> int:
    return sum(map(len, fields.values()))
