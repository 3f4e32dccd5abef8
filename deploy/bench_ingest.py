"""Images a second through POST /v1/samples, beside what its parts could do at best, in one run.

`python -m deploy.bench_ingest` starts the service, a bare FastAPI endpoint and a Redis server as
processes of their own, sends batches of 64 over four connections, and measures in turn, round after
round, so that whatever else the machine does hits all of them alike:

- the service, under `appendfsync always` and under `everysec`;
- the bare endpoint, which reads the same bodies and forgets them;
- Redis alone: the same entries as pipelined XADDs that were encoded beforehand, same durability;
- decoding alone: the same pictures through Pillow, and through what the service decodes with.

The medians go to docs/figures/ingest.md, or to `--out`.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import redis
from numpy.typing import NDArray
from PIL import Image

from deploy.blast import Target, as_http, as_pipeline, blast, http_answered, redis_answered
from deploy.children import Child, to_environment
from deploy.embedded import EmbeddedRedis
from deploy.machine import machine
from deploy.ports import HOST, free_port
from learndrop.images.pictures import to_input
from learndrop.settings import load_settings
from learndrop.stream.messages import Sample
from learndrop.stream.taking import fields_of

BATCH = 64
VARIANTS = 8  # different requests that are sent in turn
KINDS = ("npz", "jpeg", "png")
TITLES = {"npz": "npz, 32 x 32", "jpeg": "JPEG, 64 x 64", "png": "PNG, 32 x 32"}
AIM_SHARE, AIM_DECODE = 0.8, 1.3


@dataclass(frozen=True, slots=True)
class Load:
    """The same batches as they are sent by each way."""

    http: dict[str, list[bytes]]
    redis: list[bytes]
    files: dict[str, list[bytes]]


def make_load(key: str) -> Load:
    """Smooth random pictures: they compress about as photographs do."""
    rng = np.random.default_rng(0)
    load = Load({kind: [] for kind in KINDS}, [], {"jpeg": [], "png": []})
    settings = load_settings()
    for _ in range(VARIANTS):
        labels = [str(n) for n in rng.integers(0, 10, BATCH)]
        coarse = rng.integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8)
        small = np.stack([_resized(image, 32) for image in coarse])
        jpegs = [_file(_resized(image, 64), "JPEG", quality=90) for image in coarse]
        pngs = [_file(image, "PNG") for image in small]
        load.files["jpeg"] += jpegs
        load.files["png"] += pngs
        load.http["npz"].append(as_http("/v1/samples", "application/x-npz", _npz(small, labels)))
        load.http["jpeg"].append(_form(jpegs, labels))
        load.http["png"].append(_form(pngs, labels))
        samples = [Sample(i, n, time.time()) for i, n in zip(small, labels, strict=True)]
        load.redis.append(as_pipeline(key, fields_of(samples, settings)))
    return load


def _resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    made = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(made)


def _file(image: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, **options)
    return out.getvalue()


def _npz(images: NDArray[np.uint8], labels: Sequence[str]) -> bytes:
    out = io.BytesIO()
    np.savez(out, images=images, labels=np.array(labels))
    return out.getvalue()


def _form(files: Sequence[bytes], labels: Sequence[str]) -> bytes:
    made = httpx2.Request(
        "POST",
        "http://bench",
        files=[("images", (f"{n}", data)) for n, data in enumerate(files)],
        data={"labels": json.dumps(labels)},
    )
    return as_http("/v1/samples", made.headers["content-type"], made.read())


@dataclass(frozen=True, slots=True)
class Bench:
    """What runs, and how much is sent in one measurement."""

    load: Load
    server: EmbeddedRedis
    service: Child
    bare: Child
    requests: int
    connections: int

    def round(self) -> dict[str, float]:
        """Every measurement once; images a second."""
        found: dict[str, float] = {}
        for policy in ("always", "everysec"):
            self._set(policy)
            for kind in KINDS:
                found[f"{kind} {policy}"] = self._http(self.service, kind)
            found[f"redis {policy}"] = self._redis()
        for kind in KINDS:
            found[f"{kind} bare"] = self._http(self.bare, kind)
        for kind, pillow in (("jpeg", "JPEG"), ("png", "PNG")):
            files = self.load.files[kind]
            found[f"{kind} decode"] = _rate(files, partial(_pillow, pillow))
            found[f"{kind} input"] = _rate(files, partial(to_input, size=32))
        return found

    def _http(self, child: Child, kind: str) -> float:
        target = Target(child.host, child.port, http_answered)
        return self._blast(target, self.load.http[kind])

    def _redis(self) -> float:
        return self._blast(Target(HOST, self.server.port, redis_answered(BATCH)), self.load.redis)

    def _blast(self, target: Target, requests: list[bytes]) -> float:
        self._empty()
        blast(target, requests, self.connections, self.connections)  # connections and code are warm
        seconds = blast(target, requests, self.requests, self.connections)
        return self.requests * BATCH / seconds

    def _empty(self) -> None:
        """Every measurement begins with an empty server and a short append-only file."""
        with redis.Redis.from_url(self.server.url) as client:
            client.flushall()
            client.bgrewriteaof()
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.01)

    def _set(self, policy: str) -> None:
        with redis.Redis.from_url(self.server.url) as client:
            client.config_set("appendfsync", policy)


def _pillow(kind: str, data: bytes) -> None:
    with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
        picture.load()


def _rate(files: Sequence[bytes], decode: Callable[[bytes], Any]) -> float:
    began = time.perf_counter()
    for data in files:
        decode(data)
    return len(files) / (time.perf_counter() - began)


@contextmanager
def running(folder: Path, requests: int, connections: int) -> Iterator[Bench]:
    """Redis, the service and the bare endpoint, each a process."""
    with ExitStack() as stack:
        server = stack.enter_context(EmbeddedRedis(folder / "redis"))
        children = []
        for module in ("service", "deploy.bare"):
            settings = load_settings(
                fsync="everysec",  # and `always` too
                redis_url=server.url,
                port=free_port(),
                data_dir=folder,
                log_level="warning",
                max_pending=10**9,
                max_pending_bytes=10**12,
            )
            child = Child(module, HOST, settings.port, environment=to_environment(settings))
            stack.callback(child.kill)
            child.start()
            children.append(child)
        for child in children:
            child.wait_until_healthy(90)
        yield Bench(make_load("bench"), server, children[0], children[1], requests, connections)


def told(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Medians over the rounds, and the shares that the aims are about (of each round, then median).

    >>> one = {"npz always": 80.0, "npz bare": 400.0, "redis always": 100.0, "redis everysec": 1.0,
    ...        "jpeg always": 50.0, "jpeg decode": 60.0, "png always": 1.0, "png decode": 1.0}
    >>> made = told([one])
    >>> made["npz share"], made["jpeg times decode"]
    (0.8, 1.2)
    """
    median = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    share = [r["npz always"] / min(r["npz bare"], r["redis always"]) for r in rounds]
    made = median | {"npz share": statistics.median(share)}
    for kind in ("jpeg", "png"):
        times = [r[f"{kind} decode"] / r[f"{kind} always"] for r in rounds]
        made[f"{kind} times decode"] = statistics.median(times)
    return made


def page(found: dict[str, float], counted: str, note: str = "") -> str:
    """docs/figures/ingest.md; `note` says what else must be known of the run."""
    text = [
        "# Ingest",
        "",
        f"Images a second through `POST /v1/samples`, medians; {counted}."
        f" Everything on {machine()}. Made by `make bench-ingest`.{f' {note}' if note else ''}",
        "",
        "| batches of 64 | service, always | everysec | bare endpoint | Redis alone, always"
        " | everysec | Pillow decodes | the service's decoder, with fitting |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        names = [f"{kind} {of}" for of in ("always", "everysec", "bare")]
        names += ["redis always", "redis everysec", f"{kind} decode", f"{kind} input"]
        cells = [f"{found[name]:,.0f}" if name in found else "-" for name in names]
        text.append(f"| {TITLES[kind]} | {' | '.join(cells)} |")
    text += ["", "| aim | figure | reached |", "|---|---|---|"]
    for aim, figure, reached in aims(found):
        text.append(f"| {aim} | {figure:.2f} | {'yes' if reached else 'no'} |")
    return "\n".join(text) + "\n"


def aims(found: dict[str, float]) -> list[tuple[str, float, bool]]:
    """What the issue asks for: aim, figure, whether it is reached."""
    share, times = found["npz share"], found["jpeg times decode"]
    return [
        (
            f"npz: at least {AIM_SHARE} of the slower of bare endpoint and Redis alone",
            share,
            share >= AIM_SHARE,
        ),
        (
            f"JPEG: at most {AIM_DECODE} times the time that Pillow takes to decode alone",
            times,
            times <= AIM_DECODE,
        ),
    ]


def measure(rounds: int, requests: int, connections: int) -> dict[str, float]:
    """Start everything, measure `rounds` times, and take the medians."""
    with tempfile.TemporaryDirectory() as folder:
        with running(Path(folder), requests, connections) as bench:
            bench.round()  # not counted: everything is loaded now
            return told([bench.round() for _ in range(rounds)])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=150, help="batches in one measurement")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--note", default="", help="a sentence about the run, for the page")
    parser.add_argument("--out", type=Path, help="the page to write, as Markdown")
    given = parser.parse_args()
    found = measure(given.rounds, given.requests, given.connections)
    for name, value in found.items():
        print(f"{name:22} {value:12,.2f}")
    counted = f"{given.rounds} rounds of {given.requests} batches, {given.connections} connections"
    print(json.dumps({"count": counted, "aims": aims(found)}))
    if given.out:
        given.out.write_text(page(found, counted, given.note))


if __name__ == "__main__":
    main()
