"""What was learned before and is learned again beside each batch: how much, which, and its maps."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.features.keeping import FeatureKeeping
from learndrop.features.store import FeatureStore
from learndrop.learning.labels import Labels
from learndrop.networks.floats import Floats
from learndrop.networks.transfer import to_device
from learndrop.replay.buffer import ReplayBuffer
from learndrop.replay.replaying import affordable, is_narrow, replays_for
from learndrop.settings import Settings
from learndrop.training.augment import crop_and_flip
from learndrop.training.ledger import Ledger
from learndrop.training.mixup import Mix, mix_rows
from learndrop.training.norms import adapt_statistics
from learndrop.training.trainer import Trainer

STATISTICS = 256  # samples from which BatchNorm's statistics are taken anew
FEWEST = 64
PAUSE_STEPS = 3  # a drop takes no longer than so many training steps


class Rehearsal:
    """Owns the raw samples and, below the cut, their stored maps.

    Args:
        settings: sizes, and how many replays if somebody says.
        trainer: makes maps, and knows the cut.
        ledger: pays for the maps that are made.
        clock: seconds; what storing costs is compared with what it saves.

    Attributes:
        narrow: few classes arrive now.
    """

    def __init__(
        self,
        settings: Settings,
        trainer: Trainer,
        ledger: Ledger,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settings, self._trainer, self._ledger = settings, trainer, ledger
        self.replay = ReplayBuffer(
            (settings.image_size, settings.image_size, 3),
            samples=settings.replay_samples,
            max_bytes=settings.replay_bytes,
            old_world_weight=settings.old_world_weight,
            seed=settings.seed,
        )
        self.keeping = FeatureKeeping(settings, trainer, ledger, self.replay, clock)
        self._rng = np.random.default_rng((settings.seed, 1))
        self.narrow = False  # few classes arrive now

    @property
    def features(self) -> FeatureStore:
        """The stored maps."""
        return self.keeping.store

    def replays(self, labels: Labels, in_world: int, *, from_scratch: bool) -> int:
        """How many go with each arriving sample.

        Args:
            labels: how the classes came lately, and over the long run.
            in_world: samples since the start or the last reset.
            from_scratch: the network began with random weights. (Not read from the settings: a
                learner restored from a checkpoint is built without first weights.)
        """
        self.narrow = is_narrow(labels.recent_counts().tolist(), labels.long_run.tolist())
        count = self._replays(in_world, from_scratch=from_scratch)
        self.keeping.wanted = count > 0
        return count

    def _replays(self, in_world: int, *, from_scratch: bool) -> int:
        if self._settings.replays != "auto":
            return int(self._settings.replays)
        cut = self._trainer.cut
        stored = cut and self.keeping.choice.name is not None
        if stored and self._settings.budget == "replays":
            return affordable(self._ledger.step_costs(), cut)
        young = from_scratch and in_world < 2 * self._settings.rate_halving
        usual = replays_for(narrow=self.narrow, young=young)
        if stored and self.replay.world and in_world < self._settings.rate_halving:
            # a new world on stored maps: they are exact, and as many as cost no more than the units
            # that are out would have
            return max(usual, min(3, affordable(self._ledger.step_costs(), cut)))
        return usual

    def places(self, n: int) -> NDArray[np.int64]:
        """Places of about `n` samples to replay.

        Where maps are stored, replays come from there but for a quarter, which comes from
        anywhere and fills the store: never a stall to build it, never a store that cannot learn
        of other classes. Where nothing is stored, they come from anywhere; and where few
        classes arrive, for the maps of what arrives are stored first, and those of the other
        classes are the ones that are needed: each class is as likely as any other then."""
        anywhere = self.narrow or self.keeping.choice.name is None
        if n == 0 or self._trainer.cut == 0 or anywhere:
            return self.replay.draw(n, balanced=self.narrow)
        quarter = n // 4
        if n % 4:  # by chance: of a slow stream's batches it would else be nothing, time after time
            quarter += int(self._rng.random() < n % 4 / 4)
        if not len(self.features):
            return self.replay.draw(quarter)
        stored = self.features.holds(self.replay.ids[: self.replay.size])
        return np.concatenate(
            [self.replay.draw(n - quarter, among=stored), self.replay.draw(quarter)]
        )

    def maps(self, places: NDArray[np.int64], floats: Floats) -> Tensor:
        """Maps that enter the cut, for the samples at `places`.

        Where replayed pictures are moved and mirrored, a share of the stored maps is made anew
        from another view.

        Args:
            places: int64 [N].
            floats: makes the network's input of images.
        """
        moved = self._settings.replay_augment

        def pictures(rows: NDArray[np.bool_]) -> Tensor:
            images = self.replay.images[places[rows]]
            if not moved:
                return floats(images)
            return floats(crop_and_flip(to_device(images, self._trainer.device), self._rng))

        if self._trainer.cut == 0:
            return pictures(np.ones(len(places), np.bool_))
        anew = np.zeros(len(places), np.bool_)
        if moved:
            anew = self._rng.random(len(places)) < self._settings.feature_refresh
        return self.keeping.maps(self.replay.ids[places], pictures, anew)

    def mixed(self, maps: Tensor, targets: Tensor, arriving: int) -> tuple[Tensor, Mix | None]:
        """Maps [N, ...] with the replayed ones, behind the arriving, mixed where that is set."""
        alpha = self._settings.feature_mixup
        if not alpha or not self._trainer.cut or len(maps) < arriving + 2:
            return maps, None
        return mix_rows(maps, targets, first=arriving, alpha=alpha, rng=self._rng)

    def adapt_statistics(self, floats: Floats, start: int = 0) -> None:
        """Take BatchNorm's statistics anew from the samples of the new world, if it has enough.

        Args:
            floats: makes the network's input of images.
            start: the units before it keep theirs, so that maps stored behind them stay valid, and
                serve here. It must be 0 or the cut. No longer than `PAUSE_STEPS` steps then.
        """
        places = self.replay.spread(STATISTICS)
        if start or self.narrow:  # they are a mean over parts: each has to be of all the time
            places = np.random.default_rng(0).permutation(places)
        if start and len(places) >= FEWEST:
            places = places[: self._affordable(places, start)]
        if len(places) < FEWEST:
            return
        if start:
            x = self.maps(places, floats)
        else:
            x = floats(self.replay.images[places])
        adapt_statistics(self._trainer, x, start=start)
        self._ledger.build(start, len(self._trainer.chain.units), len(places))

    def _affordable(self, places: NDArray[np.int64], start: int) -> int:
        """How many of the places can be looked at in `PAUSE_STEPS` training steps."""
        rest = self._ledger.forward_cost(start, len(self._trainer.chain.units))
        anew = np.where(
            self.features.holds(self.replay.ids[places]), 0, self._ledger.forward_cost(0, start)
        )
        most = PAUSE_STEPS * self._settings.batch * self._ledger.step_cost(start)
        return max(FEWEST, int((np.cumsum(rest + anew) <= most).sum()))

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

    def arrived(
        self,
        ids: NDArray[np.int64],
        maps: Tensor,
        logits: Tensor | None,
        targets: NDArray[np.int64],
    ) -> None:
        """Maps [N, ...] of arriving samples, and the logits [N, classes] that belong to them."""
        self.keeping.arrived(ids, maps, logits, targets)

    def pass_on(self, *, hold: bool) -> None:
        """Pass a bounded number of maps of the cut before on, unless it may still come back."""
        self.keeping.pass_on(hold=hold)

    def open_store(self) -> None:
        """Store maps of the present cut; those already stored stay if the prefix is the same."""
        self.keeping.open()

    def tensors(self) -> dict[str, Tensor]:
        """The contents, for a checkpoint."""
        replay = {f"replay.{n}": torch.from_numpy(a) for n, a in self.replay.arrays().items()}
        return replay | {f"features.{n}": t for n, t in self.keeping.tensors().items()}

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint; numpy counts in 128 bits, so as text."""
        return {
            "replay": self.replay.to_json(),
            "features": self.keeping.to_json(),
            "rng": json.dumps(self._rng.bit_generator.state),
            "narrow": self.narrow,  # of the last step: a verdict may come before the next
        }

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
        self.keeping.load(stored, data["features"])
        if "rng" in data:  # younger than the format
            self._rng.bit_generator.state = json.loads(data["rng"])
        self.narrow = data.get("narrow", False)
        if self.features.key is None:  # budgets are others now
            self.open_store()
