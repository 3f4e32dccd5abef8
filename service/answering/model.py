"""A published version as a network that answers: rebuilt, checked, warmed."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from learndrop.disk.registry import Version
from learndrop.disk.turns import Doing, at_once
from learndrop.drift.unlabelled import Sureness
from learndrop.errors import BadNetwork, DamagedFile
from learndrop.networks import catalogue
from learndrop.networks.floats import to_float
from learndrop.networks.heads import head
from learndrop.networks.spec import NetworkSpec
from service.decoding.inputs import Shape

SIZES = (1, 2, 4, 8, 16, 32, 64)
"""Passes are filled up to one of these: torch keeps a plan for each size it has seen."""
WARM_SIZES = (1, 8)
"""Passed once before a network's first version answers; what torch keeps of them serves later
versions, of which one picture tells whether the answers are finite."""

_warm: set[tuple[str, int]] = set()


class Model:
    """One version of the network, in eval mode. Its numbers never change."""

    def __init__(self, version: Version, doing: Doing = at_once) -> None:
        """Rebuild and warm it, in pieces of a few milliseconds that `doing` does one by one.

        Raises:
            DamagedFile: if the parts are not those of the network, or give no finite answers.
            BadNetwork: if this learndrop cannot build the network.
        """
        self.number, self.published_s = version.number, version.published_s
        self.spec = NetworkSpec.from_json(version.about.get("network", {}))
        self.classes = tuple(version.about.get("classes") or self.spec.classes)
        self.shape = Shape(self.spec.image_size, self.spec.fit)
        self.learned = Sureness.from_json(version.about.get("unsure"))
        self._network = self._rebuilt(version, doing)
        self._warm(doing)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 [N, classes] of uint8 images [N, size, size, 3]."""
        most = SIZES[-1]
        starts = range(0, len(images), most)
        return np.concatenate([self._one_pass(images[at : at + most]) for at in starts])

    @torch.inference_mode()
    def _one_pass(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(images)
        size = next(size for size in SIZES if size >= count)
        filled = np.zeros((size, *images.shape[1:]), np.uint8)
        filled[:count] = images
        x = to_float(
            torch.from_numpy(filled),
            self.spec.pixel_mean,
            self.spec.pixel_std,
            memory_format=torch.channels_last,
        )
        # The head may have rows for labels that have not come yet: they are no answer.
        logits: Tensor = self._network(x)[:count, : len(self.classes)]
        return torch.softmax(logits.float(), dim=1).numpy()

    def _rebuilt(self, version: Version, doing: Doing) -> nn.Module:
        if not self.classes:
            raise DamagedFile(f"version {version.number} knows no class")
        name, side, count = self.spec.name, self.spec.image_size, len(self.classes)
        state: dict[str, Tensor] = {}
        try:
            network = doing(partial(catalogue.shell, name, count, image_size=side))
            for part in version.parts.values():
                state.update(doing(partial(_tensors, part)))
            rows = len(state[f"{head(network)[0]}.weight"])
            if rows != count:  # room for labels that are still to come
                network = doing(partial(catalogue.shell, name, rows, image_size=side))
            doing(partial(catalogue.fill, network, state))
            if catalogue.is_hollow(network):  # it holds more than its state
                network = catalogue.build(name, rows, image_size=side)
                catalogue.fill(network, state)
        except (SafetensorError, KeyError, RuntimeError, BadNetwork) as exc:
            raise DamagedFile(f"version {version.number} is no {self.spec.name}: {exc}") from exc
        network.eval()
        return network.to(memory_format=torch.channels_last)

    def _warm(self, doing: Doing) -> None:
        side, kind = self.spec.image_size, (self.spec.name, self.spec.image_size)
        for size in WARM_SIZES[:1] if kind in _warm else WARM_SIZES:
            grey = np.full((size, side, side, 3), 128, np.uint8)
            answers = doing(partial(self.predict, grey))
        if not np.isfinite(answers).all():
            raise DamagedFile(f"version {self.number} gives answers that are not finite")
        _warm.add(kind)


def _tensors(part: bytes) -> dict[str, Tensor]:
    """One part's tensors, laid out as the network will have them."""
    return {
        name: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t
        for name, t in load(part).items()
    }
