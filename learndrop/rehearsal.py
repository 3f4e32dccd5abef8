"""What was learned before and is learned again beside each batch: how much, which, and its maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.features import FeatureStore
from learndrop.labels import Labels
from learndrop.ledger import Ledger
from learndrop.replay import ReplayBuffer
from learndrop.replaying import affordable, replays_for
from learndrop.settings import Settings
from learndrop.trainer import Trainer

Floats = Callable[[NDArray[np.uint8]], Tensor]


class Rehearsal:
    """Owns the raw samples and, below the cut, their stored maps.

    Args:
        settings: sizes, and how many replays if somebody says.
        trainer: makes maps, and knows the cut.
        ledger: pays for the maps that are made.
    """

    def __init__(self, settings: Settings, trainer: Trainer, ledger: Ledger) -> None:
        self._settings, self._trainer, self._ledger = settings, trainer, ledger
        self.replay = ReplayBuffer(
            (settings.image_size, settings.image_size, 3),
            samples=settings.replay_samples,
            max_bytes=settings.replay_bytes,
            old_world_weight=settings.old_world_weight,
            seed=settings.seed,
        )
        self.features = FeatureStore(settings.feature_bytes)

    def replays(self, labels: Labels, in_world: int, *, from_scratch: bool) -> int:
        """How many go with each arriving sample.

        Args:
            labels: how the classes came lately, and over the long run.
            in_world: samples since the start or the last reset.
            from_scratch: the network began with random weights. (Not read from the settings: a
                learner restored from a checkpoint is built without first weights.)
        """
        if self._settings.replays != "auto":
            return int(self._settings.replays)
        cut = self._trainer.cut
        if cut and self._settings.budget == "replays":
            return affordable(self._ledger.step_costs(), cut)
        if cut and self.replay.world and in_world < self._settings.rate_halving:
            return 3  # a new world on stored maps: a step costs little, and the maps are exact
        young = from_scratch and in_world < 2 * self._settings.rate_halving
        return replays_for(labels.recent_counts().tolist(), labels.long_run.tolist(), young=young)

    def places(self, n: int) -> NDArray[np.int64]:
        """Places of about `n` samples to replay.

        Where maps are stored, replays come from there but for a quarter, which comes from
        anywhere and fills the store: never a stall to build it, never a store that cannot learn
        of other classes."""
        if n == 0 or self._trainer.cut == 0 or not len(self.features):
            return self.replay.draw(n if self._trainer.cut == 0 else n // 4)
        stored = self.features.holds(self.replay.ids[: self.replay.size])
        return np.concatenate(
            [self.replay.draw(n - n // 4, among=stored), self.replay.draw(n // 4)]
        )

    def maps(self, places: NDArray[np.int64], floats: Floats) -> Tensor:
        """Maps that enter the cut, for the samples at `places`.

        Args:
            places: int64 [N].
            floats: makes the network's input of images.
        """
        cut = self._trainer.cut
        if cut == 0:
            return floats(self.replay.images[places])
        ids = self.replay.ids[places]
        stored, hit = self.features.get(ids)
        if hit.all():
            return stored
        # a miss is made from the raw pixels: at most a quarter of the replays, see `places`
        made = self._trainer.prefix(floats(self.replay.images[places[~hit]]))
        self._ledger.build(0, cut, int((~hit).sum()))
        self.features.put(ids[~hit], made)
        if not hit.any():
            return made
        maps = made.new_empty((len(ids), *made.shape[1:]))
        maps[torch.from_numpy(hit)] = stored.to(made.dtype)
        maps[torch.from_numpy(~hit)] = made
        return maps

    def adapt_statistics(self, floats: Floats) -> None:
        """Take BatchNorm's statistics anew from the samples of the new world, if it has enough."""
        places = self.replay.newest(256)
        if len(places) < 64:
            return
        self._trainer.adapt_statistics(floats(self.replay.images[places]))
        self._ledger.build(0, len(self._trainer.chain.units), len(places))

    def forget(self, stream_ids: Iterable[str]) -> set[str]:
        """Take samples and their maps out, by their ids on the stream; those that were here."""
        numbers = self.replay.forget(stream_ids)
        self.features.forget(numbers.values())
        return set(numbers)

    def forget_before(self, unix_s: float) -> int:
        """Take out what the stream was given before that time; how many that were."""
        numbers = self.replay.forget_before(unix_s)
        self.features.forget(numbers)
        return len(numbers)

    def open_store(self) -> None:
        """Store maps of the present cut; those already stored stay if the prefix is the same."""
        cut = self._trainer.cut
        if cut == 0:
            self.features.clear()
            return
        key = (cut, self._trainer.prefix_hash())
        if self.features.key != key:
            shape = self._trainer.chain.units[cut - 1].out_shape
            self.features.open(*key, shape, str(self._trainer.device))

    def tensors(self) -> dict[str, Tensor]:
        """The contents, for a checkpoint."""
        replay = {f"replay.{n}": torch.from_numpy(a) for n, a in self.replay.arrays().items()}
        return replay | {f"features.{n}": t for n, t in self.features.tensors().items()}

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {"replay": self.replay.to_json(), "features": self.features.to_json()}

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `tensors` and `to_json` gave."""
        arrays = {
            n.removeprefix("replay."): t.numpy()
            for n, t in tensors.items()
            if n.startswith("replay.")
        }
        stored = {
            n.removeprefix("features."): t for n, t in tensors.items() if n.startswith("features.")
        }
        self.replay.load(arrays, data["replay"])
        self.features.load(stored, data["features"], str(self._trainer.device))
