"""Tells at which depth a change of the stream begins, without labels.

Per unit, the channel means and variances of its output are compared between the newest windows and
the windows before them (symmetric Gaussian divergence, as BatchNorm-statistics drift scores do:
arXiv 2107.00191). Shifts propagate, so the *first* unit above its own null tells the depth, not the
largest. The null is what the same comparison gave while the stream was quiet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.drift.jumps import Jumps, gaussian_divergence

TRIAL = 4  # batches of the new world that a verdict rests on, each looked at twice as hard
LEAST = 128  # ... and samples: a slow stream's batches are small, and names want 8 of each label
FEW = 32  # samples that tell of pictures that are plainly others
LOOK = 16  # images of a batch that are looked at
PLACES = 8
"""Places a side of a map that are looked at, at least. More images at fewer places
tell more than the reverse: neighbours are alike. All places of 8 images cost 4 % of a step."""


class ActivationMonitor:
    """Divergence of each unit's output statistics between now and before.

    Args:
        units: number of positions watched (position 0 is the network's input).
        window: batches in one reading.
        sensitivity: how many quiet spreads a divergence must lie above its quiet mean.

    Attributes:
        jumped: the pictures of the newest batch are plainly others than those before (jumps.py).
    """

    def __init__(self, units: int, window: int = 8, sensitivity: float = 4.0) -> None:
        self.units, self.window, self.sensitivity = units, window, sensitivity
        self.divergence = [0.0] * units
        self.on_trial = False
        self.jumped = False
        self._jumps = Jumps()
        self._quiet: list[deque[float]] = [deque(maxlen=32) for _ in range(units)]
        self._readings: deque[list[NDArray[np.float64]]] = deque(maxlen=6)
        self._sums: list[NDArray[np.float64]] = []
        self._batches = self._samples = 0

    def update(self, outputs: Sequence[Tensor]) -> None:
        """Take the network's input and each unit's output for one batch: [N, C, ...] each."""
        look = 2 * LOOK if self.on_trial else LOOK
        sums = _read_back([_channel_means(o[:look]) for o in outputs])
        if not all(np.isfinite(s).all() for s in sums):
            return  # weights that explode tell nothing of the world
        if self._batches == 0:
            self._sums = sums
        else:
            self._sums = [a + b for a, b in zip(self._sums, sums, strict=True)]
        self._batches += 1
        self._samples += len(outputs[0])
        self.jumped = self._jumps.look(sums[0])
        if self.on_trial or self._batches < self.window:
            return
        now = [s / self._batches for s in self._sums]
        self._batches = 0
        if len(self._readings) >= 2:
            self.divergence = self._compare(now)
            for quiet, value in zip(self._quiet, self.divergence, strict=True):
                quiet.append(value)
        self._readings.append(now)

    def start_trial(self) -> None:
        """An alarm was raised: look at the batches that come. What was being read, and the last
        reading, may hold some of the new world already: they are not the past it differs from."""
        self.on_trial = True
        self._batches = self._samples = 0
        if len(self._readings) > 2:
            self._readings.pop()
            for quiet in self._quiet:
                if quiet:
                    quiet.pop()

    @property
    def trial_is_over(self) -> bool:
        """Whether enough of the new world has been seen for a verdict."""
        if not self.on_trial:
            return False
        return (self._batches >= TRIAL and self._samples >= LEAST) or self.is_clear

    @property
    def is_clear(self) -> bool:
        """Whether the pictures themselves are so different that the trial needs no more of them:
        each batch more is answered by weights of the world before."""
        return self.on_trial and self.jumped and self._samples >= FEW

    def onset(self) -> tuple[int | None, list[float]]:
        """The verdict of the trial; what comes from now on is the new normal.

        Returns:
            the first position whose divergence stands out (None if none does), and for every
            position how many quiet spreads it lies above its quiet mean.
        """
        strengths = [0.0] * self.units
        if self._readings and self._batches:
            self.divergence = self._compare([s / self._batches for s in self._sums])
            strengths = [self._strength(u, value) for u, value in enumerate(self.divergence)]
        if self.jumped or strengths[0] > self.sensitivity:
            self._jumps.start_over()  # else the pictures are as before
        self.on_trial = self.jumped = False
        self._batches = 0
        self._readings.clear()
        above = (u for u, strength in enumerate(strengths) if strength > self.sensitivity)
        return next(above, None), strengths

    def _compare(self, now: list[NDArray[np.float64]]) -> list[float]:
        """Divergence of `now` from the mean of the readings."""
        return [self._divergence_of(unit, n) for unit, n in enumerate(now)]

    def _divergence_of(self, unit: int, now: NDArray[np.float64]) -> float:
        return gaussian_divergence(now, np.mean([r[unit] for r in self._readings], axis=0))

    def _strength(self, unit: int, divergence: float) -> float:
        """How many quiet spreads it lies above its quiet mean."""
        quiet = np.array(self._quiet[unit] or [0.05])
        spread = float(quiet.std()) + 0.25 * float(quiet.mean()) + 1e-6
        return (divergence - float(quiet.mean())) / spread

    def to_json(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {
            "divergence": self.divergence,
            "quiet": [list(q) for q in self._quiet],
            "readings": [[u.tolist() for u in r] for r in self._readings],
            "sums": [s.tolist() for s in self._sums],
            "batches": self._batches,
            "samples": self._samples,
            "on_trial": self.on_trial,
            "jumped": self.jumped,
            "jumps": self._jumps.to_json(),
        }

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave."""
        self.divergence = list(data["divergence"])
        self._quiet = [deque(q, maxlen=32) for q in data["quiet"]]
        self._readings = deque(([np.array(u) for u in r] for r in data["readings"]), maxlen=6)
        self._sums = [np.array(s) for s in data["sums"]]
        self._batches, self._samples = data["batches"], data.get("samples", 0)
        self.on_trial = data["on_trial"]
        if "jumps" in data:  # younger than the format
            self.jumped = data["jumped"]
            self._jumps.load_json(data["jumps"])


def _read_back(means: Sequence[Tensor]) -> list[NDArray[np.float64]]:
    """All units' means in one transfer: each would wait for the device anew. On the host they are
    float64, which holds what was float32 exactly."""
    ends = np.cumsum([m.numel() for m in means])[:-1]
    flat = torch.cat([m.reshape(-1) for m in means]).cpu().numpy().astype(np.float64)
    return [part.reshape(2, -1) for part in np.split(flat, ends)]


def _channel_means(output: Tensor) -> Tensor:
    """float32 [2, C]: mean and mean square of each channel, over images and places."""
    x = output.detach()
    # square [N, C, S, S] has its channels first; token maps [N, T, C] and vectors [N, C] last
    if x.ndim == 4 and x.shape[2] == x.shape[3]:
        dims, apart = [0, 2, 3], max(1, x.shape[2] // PLACES)
        x = x[:, :, ::apart, ::apart].float()
    else:
        dims, x = list(range(x.ndim - 1)), x.float()
    return torch.stack([x.mean(dims), (x * x).mean(dims)])
