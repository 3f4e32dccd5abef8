"""Golden files of what people ask about: API keys, and what Redis has of answers and deletions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from learndrop.answers.kept import Answers
from learndrop.answers.late_labels import LateLabels
from learndrop.disk import keyring
from learndrop.server.keys import Keys
from learndrop.settings import Settings
from learndrop.stream.publisher import RedisPublisher
from learndrop.upkeep.dead_letters import DeadLetters
from learndrop.upkeep.deleting import Deleting
from learndrop.upkeep.forget_requests import ForgetRequests
from tests.golden.coded import fields, plain

ANSWERS = (
    "predictions", "predictions_bytes", "given", "given_samples", "given_by", "scores",
    "score_totals",
)  # fmt: skip


def taken(redis: Any, keys: Keys, *names: str) -> dict[str, Any]:
    """What lies under these keys, as JSON values: streams as lists, hashes as objects."""
    told: dict[str, Any] = {}
    for name in names:
        key = getattr(keys, name)
        match keys.types[key]:
            case "stream":
                told[name] = [[i.decode(), plain(values)] for i, values in redis.xrange(key)]
            case "hash":
                told[name] = plain(redis.hgetall(key))
            case "string":
                told[name] = redis.get(key).decode()
    return told


def laid(redis: Any, keys: Keys, told: dict[str, Any]) -> None:
    """Lay back what `taken` gave."""
    for name, value in told.items():
        key = getattr(keys, name)
        if isinstance(value, list):
            for entry_id, values in value:
                redis.xadd(key, fields(values), entry_id)
        elif isinstance(value, dict):
            redis.hset(key, mapping=fields(value))
        else:
            redis.set(key, value)


def write_keys(folder: Path) -> None:
    """A file of keys, and beside it their secrets, which are stored nowhere else."""
    path = folder / "keys.json"
    line = keyring.create(path, "line", ["ingest", "predict"], "600/minute")
    first = keyring.create(path, "boss", ["admin"])
    second = keyring.rotate(path, "boss", 3600.0)
    path.with_name(f".{path.name}.lock").unlink()
    told = {"line": line, "boss before": first, "boss": second}
    (folder / "secrets.json").write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")


async def write_answers(settings: Settings, redis: Any, pictures: Any) -> dict[str, Any]:
    """Three answers: one with a right label of a key's, one with a wrong one, one without any."""
    answers, labels = Answers(settings), LateLabels(settings)
    told = [
        {"label": "light", "probabilities": {"light": 0.75, "dark": 0.25}, "model_version": 2,
         "time": 1.7e9 + number}
        for number in range(3)
    ]  # fmt: skip
    ids = await answers.put(told, pictures[:3], [0.5] * 3, "line")
    await labels.give(ids[0], "light", key="camera")
    await labels.give(ids[1], "dark")
    await answers.close()
    await labels.close()
    return taken(redis, Keys(settings.name), *ANSWERS)


async def write_deletion(
    settings: Settings, token: int, redis: Any, pictures: Any
) -> dict[str, Any]:
    """The receipt of a sample made of a prediction, which the worker has forgotten and not erased.

    Its request is there still.
    """
    keys = Keys(settings.name)
    publisher, letters = RedisPublisher(settings), DeadLetters(settings)
    answers, labels = Answers(settings), LateLabels(settings)
    deleting = Deleting(settings, publisher, answers, letters)
    (asked,) = await answers.put([{"label": "dark", "model_version": 1}], pictures[:1])
    sample_id = str((await labels.give(asked, "dark")).sample_id)
    await deleting.delete(sample_id)
    worker = ForgetRequests(settings, token)
    worker.forgotten(worker.after("0-0"), {sample_id})
    worker.close()
    for part in (publisher, letters, answers, labels, deleting):
        await part.close()
    receipt = json.loads(redis.get(keys.receipt(sample_id)))
    return {"receipt": receipt, **taken(redis, keys, "deletions")}
