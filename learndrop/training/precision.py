"""Chooses arithmetic and memory format of a training step by measuring, on this machine.

bfloat16 doubles a ResNet's speed on one processor and halves a MobileNet's: only a trial tells.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from learndrop.errors import DamagedFile
from learndrop.networks.chain import Chain
from learndrop.networks.transfer import wait_for

Precision = Literal["auto", "float32", "bfloat16"]
Layout = Literal["auto", "contiguous", "channels_last"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ROUNDS = 3
BUDGET_S = 5.0  # what all trials together may take, about
FEW = 2  # images of a first look
HOPELESS = 4.0  # times the fastest at first look: out


@dataclass(frozen=True, slots=True)
class Choice:
    """How a training step computes.

    Attributes:
        dtype: of products and convolutions; weights stay float32.
        memory_format: of images and 4-D weights.
        timings: best seconds of one trial step by `dtype/memory format` (of a few images,
            scaled up, where that was hopeless); empty if none was needed.
    """

    dtype: torch.dtype
    memory_format: torch.memory_format
    timings: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "dtype": _name(DTYPES, self.dtype),
            "memory_format": _name(LAYOUTS, self.memory_format),
            "timings": dict(self.timings),
        }

    def under(self, precision: Precision, memory_format: Layout) -> Choice:
        """The same but for what the settings say by name."""
        dtype = self.dtype if precision == "auto" else DTYPES[precision]
        layout = self.memory_format if memory_format == "auto" else LAYOUTS[memory_format]
        return Choice(dtype, layout, self.timings)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.

        Raises:
            DamagedFile: for a dtype or format that is not known.
        """
        try:
            dtype, layout = DTYPES[data["dtype"]], LAYOUTS[data["memory_format"]]
            return cls(dtype, layout, dict(data["timings"]))
        except (KeyError, TypeError) as exc:
            raise DamagedFile(f"this is no choice of precision: {exc!r}") from exc


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """The context in which a step of this dtype computes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bool(dtype == torch.bfloat16))


def choose(
    chain: Chain,
    example: Tensor,
    device: torch.device,
    precision: Precision = "auto",
    memory_format: Layout = "auto",
) -> Choice:
    """The fastest of what the settings leave open, by trial steps on a copy of the network.

    Args:
        chain: the network; its weights, statistics and mode stay as they are.
        example: a batch float [N, 3, S, S] of the size of a step; its values do not matter.
        device: where steps will run.
        precision: a dtype's name takes that one.
        memory_format: a format's name takes that one.
    """
    dtypes = list(DTYPES) if precision == "auto" else [precision]
    layouts = list(LAYOUTS) if memory_format == "auto" else [memory_format]
    open_ = list(product(dtypes, layouts))
    if len(open_) == 1:
        return _choice(*open_[0], {})
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        timings = _measured(chain, example, device, open_)
    dtype, layout = min(timings, key=timings.__getitem__, default=open_[0])
    return _choice(dtype, layout, {"/".join(names): s for names, s in timings.items()})


def _measured(
    chain: Chain, example: Tensor, device: torch.device, open_: list[tuple[str, str]]
) -> dict[tuple[str, str], float]:
    """Best seconds of a step for each pair that this device can do.

    In rounds, so that a machine that slows down slows all alike. Where steps are long the batch is
    halved until the whole trial fits its budget. A pair that is hopeless on a few images is not
    tried further: processors without bfloat16 take 10 to 20 times as long for it.
    """
    trial = copy.deepcopy(chain).to(device=device)  # one copy for all: networks can be large
    trial.train_from(0)
    batch = torch.randn_like(example, device=device)
    best: dict[tuple[str, str], float] = {}

    def took(pair: tuple[str, str], images: Tensor) -> float:
        layout = LAYOUTS[pair[1]]
        trial.to(memory_format=layout)
        return _step(trial, images.contiguous(memory_format=layout), DTYPES[pair[0]])

    few, first = batch[:FEW], {}
    took(open_[0], few)  # the very first step of a process warms it up
    for pair in open_:
        try:
            first[pair] = took(pair, few)
        except RuntimeError:  # an operator that this device does not have in bfloat16
            if pair[0] == "float32":
                raise
    bound = HOPELESS * min(first.values()) + 0.05
    left = [pair for pair in first if first[pair] <= bound]
    for pair in first.keys() - left:
        best[pair] = first[pair] * len(batch) / len(few)
    most_s = BUDGET_S / (len(left) * (ROUNDS + 1))
    for number in range(ROUNDS + 1):
        for pair in left:
            seconds = took(pair, batch)
            if number == 0:  # the first step of each only warms up, and sizes the batch
                while seconds > most_s and len(batch) > 2:
                    batch, seconds = batch[: len(batch) // 2], seconds / 2
            else:
                best[pair] = min(seconds, best.get(pair, seconds))
    return best


def _step(chain: Chain, x: Tensor, dtype: torch.dtype) -> float:
    """Seconds of one forward and backward pass."""
    targets = torch.zeros(len(x), dtype=torch.long, device=x.device)
    for parameter in chain.parameters():
        parameter.grad = None
    wait_for(x.device)
    start = time.perf_counter()
    with torch.enable_grad():
        with autocast(x.device, dtype):
            logits = chain(x)
        torch.autograd.backward(nn.functional.cross_entropy(logits.float(), targets))
    wait_for(x.device)
    return time.perf_counter() - start


def _choice(dtype: str, layout: str, timings: dict[str, float]) -> Choice:
    return Choice(DTYPES[dtype], LAYOUTS[layout], timings)


def _name(names: Mapping[str, object], value: object) -> str:
    return next(name for name, known in names.items() if known == value)
