"""What the service costs over the training loop alone: the same images both ways, side by side.

`python -m deploy.through_http DATA` plays a data set (as `learndrop feed` takes it) once

- through a bare PyTorch loop: answer each batch, then one step of SGD on it, nothing else;
- through `Learner.learn` in one process, with dropping off, so that the work is the same;
- over HTTP: posted as .npz batches to the service, learned by the worker from the Redis stream;
- over HTTP as it is meant to be used, with dropping on.

The first three do the same arithmetic on the same number of threads. The bare loop is run again at
the end, because the machine may be faster or slower by then. Each prints samples a second and
prequential accuracy; the last line is the service's cost over the mean of both bare loops.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.children import cores
from deploy.local import LocalStack
from learndrop.client import Client
from learndrop.images import datasets
from learndrop.images.datasets import Data
from learndrop.settings import Settings, load_settings

POSTED = 64  # images in one request


def over_http(data: Data, own: dict[str, Any], folder: Path) -> dict[str, float]:
    """Samples a second from the first POST until the last sample is learned, and accuracy."""
    with LocalStack.on_free_ports(folder, **own) as stack, Client(stack.service.url) as client:
        start = time.perf_counter()
        for i in range(0, len(data), POSTED):
            client.learn(data.images[i : i + POSTED], data.labels[i : i + POSTED])
        posted = time.perf_counter() - start
        while (state := client.state())["samples_learned"] < len(data):
            time.sleep(0.2)
        seconds = time.perf_counter() - start
    return {
        "samples_per_s": len(data) / seconds,
        "accuracy": state["prequential"]["lifetime_accuracy"],
        "posted_s": posted,
        "dropped": state["drop"]["depth"],
    }


def in_process(data: Data, settings: Settings, bare: bool) -> dict[str, float]:
    """The same samples through one loop in this process."""
    import torch

    torch.set_num_threads(settings.worker_threads)
    rate = _bare_loop if bare else _learner_loop
    seconds, right = rate(data, settings)
    return {"samples_per_s": len(data) / seconds, "accuracy": right / len(data)}


def _learner_loop(data: Data, settings: Settings) -> tuple[float, int]:
    from learndrop.learning.learner import Learner
    from learndrop.stream.messages import Sample

    learner, size, right = Learner(settings), settings.batch, 0
    start = time.perf_counter()
    for i in range(0, len(data), size):
        pairs = zip(data.images[i : i + size], data.labels[i : i + size], strict=True)
        right += learner.learn([Sample(image, label) for image, label in pairs]).correct
    return time.perf_counter() - start, right


def _bare_loop(data: Data, settings: Settings) -> tuple[float, int]:
    import torch
    from torch import nn

    from learndrop.networks import catalogue
    from learndrop.networks.floats import to_float
    from learndrop.training.first_rate import first_rate, with_rate
    from learndrop.training.norm_momentum import follow_closely
    from learndrop.training.precision import DTYPES, LAYOUTS
    from learndrop.training.rates import rate_at

    index = {label: i for i, label in enumerate(settings.classes)}
    layout = LAYOUTS[settings.memory_format]
    autocast = torch.autocast("cpu", DTYPES["bfloat16"], enabled=settings.precision == "bfloat16")
    torch.manual_seed(settings.seed)
    net = catalogue.build(settings.network, len(index), weights=settings.weights)
    settings = with_rate(settings, first_rate(settings, [net]))
    follow_closely([net])
    net.to(memory_format=layout)
    sgd = torch.optim.SGD(
        net.parameters(),
        lr=settings.rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    right, size = 0, settings.batch
    start = time.perf_counter()
    for i in range(0, len(data), size):
        images = torch.from_numpy(data.images[i : i + size])
        x = to_float(images, settings.pixel_mean, settings.pixel_std)
        x = x.contiguous(memory_format=layout)
        y = torch.tensor([index[label] for label in data.labels[i : i + size]])
        net.eval()
        with torch.no_grad(), autocast:
            right += int((net(x).argmax(1) == y).sum())
        net.train()
        with autocast:
            logits = net(x)
        sgd.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(logits.float(), y))
        nn.utils.clip_grad_norm_(net.parameters(), settings.clip_norm)
        for group in sgd.param_groups:
            group["lr"] = rate_at(
                i, top=settings.rate, floor=settings.rate_floor, halving=settings.rate_halving
            )
        sgd.step()
    return time.perf_counter() - start, right


def measured(job: dict[str, Any], say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Every way, one after another."""
    data = datasets.load(job["data"], job["settings"].get("image_size", 32), job["limit"])
    own = {**job["settings"], "classes": tuple(data.classes), "replays": "0"}
    found: dict[str, dict[str, float]] = {}

    def note(name: str, result: dict[str, float]) -> None:
        found[name] = result
        speed, accuracy = result["samples_per_s"], result["accuracy"]
        say(f"{name:24} {speed:7.1f} samples/s  accuracy {accuracy:.4f}")

    def apart(name: str, mode: str) -> None:
        note(name, _apart({**job, "mode": mode, "settings": {**own, "drop": False}}))

    apart("bare loop", "bare")
    apart("Learner, one process", "learner")
    with tempfile.TemporaryDirectory() as folder:
        note("over HTTP", over_http(data, {**own, "drop": False}, Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        note("over HTTP, dropping", over_http(data, own, Path(folder)))
    apart("bare loop, again", "bare")
    bare = (found["bare loop"]["samples_per_s"] + found["bare loop, again"]["samples_per_s"]) / 2
    cost = bare / found["over HTTP"]["samples_per_s"] - 1
    say(f"the service costs {100 * cost:+.1f} % over the bare loop")
    return found


def _apart(job: dict[str, Any]) -> dict[str, float]:
    """One way in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.through_http", "--job", "-"],
        input=json.dumps(job),
        text=True,
        capture_output=True,
        check=True,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--limit", type=int, default=20_000, help="samples")
    parser.add_argument("--set", action="append", default=[], help="a setting: network=...")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        job = json.loads(sys.stdin.read())
        settings = load_settings(**job["settings"])
        data = datasets.load(job["data"], settings.image_size, job["limit"])
        print(json.dumps(in_process(data, settings, job["mode"] == "bare")))
        return
    own: dict[str, Any] = {
        "worker_threads": cores(),
        "precision": "bfloat16",
        "memory_format": "channels_last",
    }
    for text in given.set:
        name, _, value = text.partition("=")
        own[name] = int(value) if value.isdigit() else value
    measured({"data": given.data, "limit": given.limit, "settings": own}, print)


if __name__ == "__main__":
    main()
