"""Row 14: NaN and infinite values by every road: requests, entries, settings, weights, versions.

The roads that a sender has are tried on running processes; then the checkpoint's weights are made
NaN on disk (with a right checksum), and so is a published version, and the processes start again.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import torch
from safetensors.torch import load, save

from deploy.local import LocalStack
from learndrop.client import Client
from learndrop.disk import checkpoint_files
from learndrop.disk.registry import Registry
from learndrop.errors import BadSettings, DamagedFile
from learndrop.images import datasets
from learndrop.server.connections import connect
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.messages import Sample
from tests.rows import Found, arguments, report
from tests.soak.wrong_labels import SETTINGS, SIZE

VALUES = (math.nan, math.inf, -math.inf)
WINDOW = 512


def find(_: argparse.Namespace) -> dict[int, Found]:
    """All roads."""
    refused, taken = settings_refused()
    with tempfile.TemporaryDirectory() as folder:
        data, logs = Path(folder) / "data", Path(folder) / "logs"
        answers: Counter[int] = Counter()
        stack = LocalStack.on_free_ports(data, logs=logs, **SETTINGS)
        with stack:
            learn(stack, 0, 3000)
            before = accuracy(stack)
            answers += by_requests(stack)
            by_entries(stack)
            learn(stack, 3000, WINDOW)
            after_requests = accuracy(stack)
        spoil_checkpoints(stack.settings)
        stack = LocalStack.on_free_ports(data, logs=logs, **SETTINGS)
        with stack:
            by_version(stack.settings)
            served = accuracy(stack)
            learn(stack, 4000, WINDOW)
            after = accuracy(stack)
            state = get(stack, "/v1/state")
        bad = not_finite(Registry(stack.settings.models_dir))
    fives = sum(n for status, n in answers.items() if status >= 500 and status != 503)
    rollbacks = [e["cause"] for e in state["events"] if e["type"] == "rollback"]
    lowest = min(after_requests, served, after)
    return {
        14: Found(
            f"{bad} non-finite tensors published, {fives} answers of 5xx; accuracy"
            f" {100 * before:.1f} % before, {100 * after:.1f} % one window ({WINDOW} samples) after"
            f" a start from a checkpoint of NaN, {100 * lowest:.1f} % at lowest",
            f"{refused + len(taken)} settings, {sum(answers.values())} requests, 12 entries,"
            " every tensor of two checkpoints, one version by hand",
            not bad and not fives and not taken and bool(rollbacks) and after > before - 0.03,
            f"settings taken: {', '.join(taken) or 'none'}; {'; '.join(rollbacks)}",
        )
    }


def settings_refused() -> tuple[int, list[str]]:
    """Every setting that is a number, with each value: how many are refused, which are not."""
    refused, taken = 0, []
    for name, field in Settings.model_fields.items():
        if not isinstance(field.default, float | int | tuple) or isinstance(field.default, bool):
            continue
        for value in VALUES:
            given: Any = [value] * 3 if isinstance(field.default, tuple) else value
            if field.default == ():
                continue  # labels
            try:
                load_settings(**{name: given})
                taken.append(f"{name}={value}")
            except BadSettings:
                refused += 1
    return refused, taken


def learn(stack: LocalStack, start: int, count: int) -> None:
    """Send digits and wait until they are learned and published."""
    data = datasets.load("digits", SIZE, seed=0)
    places = np.arange(start, start + count) % (len(data.labels) - 300)
    with Client(stack.service.url, patience_s=60.0) as client:
        before = client.state()["samples_learned"] or 0
        client.learn(data.images[places], [data.labels[p] for p in places])
        until = time.monotonic() + 240
        while client.state()["samples_learned"] < before + count and time.monotonic() < until:
            time.sleep(0.2)
    time.sleep(3.0)  # the last of it is published and taken into service


def accuracy(stack: LocalStack) -> float:
    """Share of right answers of the service to digits that are not learned."""
    data = datasets.load("digits", SIZE, seed=0)
    with Client(stack.service.url, patience_s=60.0) as client:
        answers = client.predict(data.images[-300:])
    return float(
        np.mean([a["label"] == t for a, t in zip(answers, data.labels[-300:], strict=True)])
    )


def get(stack: LocalStack, path: str) -> Any:
    """One answer as JSON."""
    return httpx2.get(f"{stack.service.url}{path}", timeout=30.0).json()


def by_requests(stack: LocalStack) -> Counter[int]:
    """Bodies with such values, as JSON and as arrays; statuses."""
    answers: Counter[int] = Counter()
    url = stack.service.url
    with httpx2.Client(timeout=30.0) as client:
        for text in ("NaN", "Infinity", "-Infinity", "1e999"):
            for body in (
                f'{{"images": [{text}], "labels": ["1"]}}',
                f'{{"images": ["aaaa"], "labels": [{text}]}}',
                text,
            ):
                for route in ("/v1/samples", "/v1/predictions"):
                    sent = client.post(
                        url + route, content=body, headers={"Content-Type": "application/json"}
                    )
                    answers[sent.status_code] += 1
            answers[client.get(f"{url}/v1/predictions?limit={text}").status_code] += 1
        for value in VALUES:
            for route in ("/v1/samples", "/v1/predictions"):
                out = io.BytesIO()
                np.savez(
                    out, images=np.full((2, SIZE, SIZE, 3), value), labels=np.array([value] * 2)
                )
                sent = client.post(
                    url + route,
                    content=out.getvalue(),
                    headers={"Content-Type": "application/x-npz"},
                )
                answers[sent.status_code] += 1
        for path in ("/v1/state", "/v1/models", "/readyz", "/metrics"):
            answers[client.get(url + path).status_code] += 1
    return answers


def by_entries(stack: LocalStack) -> None:
    """Entries past the service, with such times."""
    settings = stack.settings.model_copy(
        update={"redis_url": type(stack.settings.redis_url)(stack.redis.url)}
    )
    image = np.full((SIZE, SIZE, 3), 128, np.uint8)
    redis: Any = connect(settings)
    for at in (b"nan", b"inf", b"-inf", b"1e999"):
        for label in ("1", "2", "3"):
            fields = {**Sample(image, label).to_fields(), b"at": at}
            redis.xadd(Keys(settings.name).stream, fields)
    redis.close()


def spoil_checkpoints(settings: Settings) -> None:
    """Every weight of every checkpoint is NaN, and the checksums are right."""
    for folder in sorted(settings.checkpoints_dir.glob("[0-9]*")):
        state, tensors = checkpoint_files.read_checkpoint(folder)
        for name, tensor in tensors.items():
            if name.startswith("weights/") and tensor.is_floating_point():
                tensors[name] = torch.full_like(tensor, math.nan)
        data = save(tensors)
        state["tensors"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "tensors.safetensors").write_bytes(data)
        (folder / "state.json").write_bytes(checkpoint_files.sealed(state))


def by_version(settings: Settings) -> None:
    """A version of NaN, put past the worker; it is taken back after a while."""
    registry = Registry(settings.models_dir, keep=settings.versions_kept)
    good = registry.load()
    parts = {}
    for name, part in good.parts.items():
        tensors = load(part)
        parts[name] = save(
            {
                n: torch.full_like(t, math.nan) if t.is_floating_point() else t
                for n, t in tensors.items()
            }
        )
    registry.publish(parts, {**good.about, "by": "hand"})
    time.sleep(2.0)
    registry.roll_back(good.number, hold=False)


def not_finite(registry: Registry) -> int:
    """Tensors of published versions that are not finite, but for the version made by hand."""
    count = 0
    for row in registry.list():
        try:
            version = registry.load(row["number"])
        except DamagedFile:
            continue
        if version.about.get("by") == "hand":
            continue
        count += sum(
            not bool(torch.isfinite(t).all())
            for part in version.parts.values()
            for t in load(part).values()
            if t.is_floating_point()
        )
    return count


if __name__ == "__main__":
    sys.exit(report(find, arguments(__doc__), rows=[14]))
