"""One training in epochs by one strategy; apart.py does each in a process of its own."""

from __future__ import annotations

import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from learndrop.bench.pages.epoch_table import OURS, Run
from learndrop.bench.play import machine
from learndrop.epochs.fit import Epoch, Epochs
from learndrop.epochs.fixed_set import Pictures
from learndrop.errors import BadInput
from learndrop.images import datasets
from learndrop.learning.growing import targets_of
from learndrop.learning.learner import Learner
from learndrop.networks import catalogue, units
from learndrop.networks.chain import Chain
from learndrop.settings import Settings


def train(job: dict[str, Any]) -> Run:
    """One training, as the JSON that the table is drawn from."""
    drop = job["strategy"] == OURS
    settings = Settings(**{**job["settings"], "seed": job["seed"], "drop": drop})
    wanted = job["images"] + job["held_out"] if job["images"] else None
    data = datasets.load(job["data"], settings.image_size, wanted, seed=0)
    if len(data) <= job["held_out"]:
        raise BadInput(f"{job['data']} has {len(data)} images, {job['held_out']} are held out")
    settings = settings.model_copy(update={"classes": tuple(data.classes)})
    learner = Learner(settings, chain=chain_of(settings, linear_head=job["linear_head"]))
    targets = targets_of(learner, data.labels)
    cut = len(data) - job["held_out"]
    training = Epochs(
        learner,
        Pictures(data.images[:cut], targets[:cut]),
        epochs=job["epochs"],
        held_out=Pictures(data.images[cut:], targets[cut:]),
        answer_every=math.inf,
        augment=bool(job.get("augment")),
        clock=time.process_time if learner.device.type == "cpu" else time.perf_counter,
    )
    told: list[Epoch] = training.run()
    last = told[-1]
    return {
        "job": job | {"data": Path(job["data"]).name},
        "data": data.name,
        "network": settings.network,
        "strategy": job["strategy"],
        "seed": job["seed"],
        "images": cut,
        "accuracy": last.held_out,
        "seconds": last.seconds,
        "forward_saved": last.forward_saved,
        "saved": last.saved,
        "depth": last.depth,
        "units": len(learner.chain.units),
        "epochs": [asdict(e) for e in told],
        "events": [e.to_json() for e in training.events],
        "machine": machine(learner),
    }


def chain_of(settings: Settings, linear_head: bool) -> Chain:
    """The network of the settings, cut.

    With `linear_head`, a VGG's three dense layers, made for pictures of 224 px (100 million
    weights), give way to one of 512 inputs, as VGGs for 32 px are built.
    """
    size, classes = settings.image_size, len(settings.classes)
    model = catalogue.build(settings.network, classes, seed=settings.seed, image_size=size)
    if linear_head and settings.network.startswith("vgg"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model.avgpool, model.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, classes)
    return units.cut(model.eval(), torch.zeros(1, 3, size, size))


def do(job: dict[str, Any]) -> dict[str, Any]:
    """`train` in a process that does nothing else."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", len(os.sched_getaffinity(0)))))
    return train(job)
