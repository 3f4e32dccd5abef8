"""Row 6: requests that are cut at a random byte and sent again, by the client as it is.

A proxy between client and service cuts connections on their way there or back. Every batch has a
label of its own, so the stream itself tells which is there, and how often.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import httpx2
import numpy as np

from deploy.children import Child, to_environment
from deploy.embedded import EmbeddedRedis, free_port
from learndrop.client import Client
from learndrop.server.keys import Keys
from learndrop.settings import Settings, load_settings
from learndrop.stream.messages import Sample
from tests.cutting import Cuts, cutting
from tests.rows import Found, arguments, report
from tests.servers import client_of

SIZE = 8
MOST_IMAGES = 4
REQUEST_BYTES, ANSWER_BYTES = 2400, 1500
"""About the length of what goes each way (the limits, then the ids), so that cuts fall on all of it
and beyond."""
CHANCE = 0.5


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Post batches through the proxy, then read the stream."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder) / "redis") as server:
        settings = load_settings(
            redis_url=server.url, data_dir=folder, port=free_port(), image_size=SIZE,
            max_pending=options.posts * MOST_IMAGES, name="cuts", log_level="error",
        )  # fmt: skip
        child = Child(
            "service", settings.host, settings.port, environment=to_environment(settings),
            log=Path(folder) / "service.log",
        )  # fmt: skip
        child.start()
        try:
            child.wait_until_healthy(120)
            cuts = Cuts(REQUEST_BYTES, ANSWER_BYTES, CHANCE, options.seed)
            answered = post_all(settings, cuts, options)
            known = known_batches(child.url)
        finally:
            child.stop()
        return {6: judged(lying(server, settings), answered, cuts, known)}


def post_all(settings: Settings, cuts: Cuts, options: argparse.Namespace) -> dict[str, list[str]]:
    """Post every batch until it is answered; its ids by its label."""
    drawn = random.Random(options.seed)
    pixels = np.random.default_rng(options.seed)
    answered = {}
    with cutting(settings.port, cuts) as port:
        url = f"http://127.0.0.1:{port}"
        for number in range(options.posts):
            count = drawn.randint(1, MOST_IMAGES)
            images = pixels.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
            # A client each: a connection that lived through its cuts would carry all the others.
            with Client(url, patience_s=120, sleep=lambda seconds: None) as client:
                answered[f"b{number}"] = client.learn(images, [f"b{number}"] * count)
    return answered


def lying(server: EmbeddedRedis, settings: Settings) -> dict[str, list[str]]:
    """What is on the stream: ids by label."""
    redis = client_of(server)
    found: dict[str, list[str]] = {}
    for entry_id, fields in redis.xrange(Keys(settings.name).stream):
        found.setdefault(Sample.from_fields(fields).label, []).append(entry_id.decode())
    redis.close()
    return found


def known_batches(url: str) -> int:
    """Samples that came again and were known, by the service's own count."""
    text = httpx2.get(f"{url}/metrics").text
    told = re.search(r"^learndrop_samples_known_total (\S+)", text, flags=re.MULTILINE)
    assert told, text[:200]
    return int(float(told.group(1)))


def judged(
    there: dict[str, list[str]], answered: dict[str, list[str]], cuts: Cuts, known: int
) -> Found:
    """Each batch must lie there once, under the ids that were answered."""
    wrong = Counter[str]()
    for label, ids in answered.items():
        lies = there.get(label, [])
        wrong["lost"] += len(lies) < len(ids)
        wrong["second batches"] += len(lies) > len(ids)
        wrong["under other ids"] += len(lies) == len(ids) and lies != ids
    wrong["nobody's"] = len(there.keys() - answered.keys())
    figure = ", ".join(f"{wrong[n]} {n}" for n in ("second batches", "lost", "under other ids"))
    return Found(
        figure=f"{figure}; {known} samples came again and were known",
        count=f"{len(answered):,} posts, {cuts.made['request']:,} cut on their way there and"
        f" {cuts.made['answer']:,} on their way back",
        passed=not sum(wrong.values()) and known > 0 and min(cuts.made.values()) > 0,
        notes="the Python client sends again by itself; a batch whose first request never arrived"
        " whole counts as a cut on its way there",
    )


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--posts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    sys.exit(report(find, parser, rows=[6]))
