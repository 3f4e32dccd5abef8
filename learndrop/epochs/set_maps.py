"""What enters the cut for the pictures of a fixed set: stored as batches come by, each picture's
once for a cut; with augmentation a share of them is made anew from another view each epoch.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from learndrop.epochs.fixed_set import Pictures, Places
from learndrop.features import codecs
from learndrop.features.choice import CHOOSES
from learndrop.features.store import FeatureStore, joined
from learndrop.features.tiers import tiers_of
from learndrop.learning.learner import Learner
from learndrop.networks.prefix import prefix_hash
from learndrop.networks.transfer import to_device
from learndrop.training.augment import crop_and_flip


class SetMaps:
    """The maps below a learner's cut of the pictures of one set.

    Args:
        learner: whose network makes them.
        pictures: the set.
        augment: move and mirror the pictures.
        rng: draws views and which of them are made anew.
    """

    def __init__(
        self, learner: Learner, pictures: Pictures, *, augment: bool, rng: np.random.Generator
    ) -> None:
        self._learner, self._pictures = learner, pictures
        self._augment, self._rng = augment, rng
        tiers = tiers_of(learner.settings, learner.device)
        self.store = FeatureStore(tiers, len(pictures), learner.device)

    def open(self) -> None:
        """Begin anew, for the cut and the weights as they are."""
        trainer, settings = self._learner.trainer, self._learner.settings
        self.store.clear()
        if trainer.cut:
            shape = trainer.chain.units[trainer.cut - 1].out_shape
            # there is no test before each step that a gate could look at: the safest one
            name = "bf16" if settings.feature_codec in CHOOSES else settings.feature_codec
            codec = codecs.make(name, shape, settings.image_size)
            self.store.open(trainer.cut, prefix_hash(trainer.chain, trainer.cut), codec)

    def close(self) -> None:
        """Let go of all of them."""
        self.store.clear()

    def at(self, places: Places) -> Tensor:
        """What enters the cut for the pictures at `places`: stored, or made now and stored."""
        trainer = self._learner.trainer
        if trainer.cut == 0:
            return self.floats(places)
        stored = self.store.holds(places)
        if self._augment:
            refreshed = self._learner.settings.feature_refresh
            stored = stored & (self._rng.random(len(places)) >= refreshed)
        maps, _ = self.store.get(places[stored])
        if stored.all():
            return maps
        fresh = places[~stored]
        made = trainer.prefix(self.floats(fresh))
        self._learner.ledger.build(0, trainer.cut, len(fresh))
        self._keep(fresh, made)
        return joined([(stored, maps), (~stored, made)])

    def _keep(self, places: Places, made: Tensor) -> None:
        """Store maps while there is room: in shuffled passes, to evict one for another gains
        nothing."""
        room = self.store.capacity - len(self.store)
        held = self.store.holds(places)
        kept = held | (np.cumsum(~held) <= room)
        if kept.any():
            self.store.put(places[kept], made[to_device(np.flatnonzero(kept), made.device)])

    def floats(self, places: Places) -> Tensor:
        """The pictures at `places` as the network takes them, from a view drawn now."""
        images = self._pictures.images[places]
        if not self._augment:
            return self._learner.floats(images)
        moved = crop_and_flip(to_device(images, self._learner.device), self._rng)
        return self._learner.floats(moved)
