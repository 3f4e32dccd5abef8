"""What is done with stored maps: kept from arrivals, read for replays, passed on to a new cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.features import codecs
from learndrop.features.choice import FeatureChoice, Part
from learndrop.features.look import look
from learndrop.features.store import FeatureStore, joined
from learndrop.features.stored_maps import StoredMaps
from learndrop.features.tiers import tiers_of
from learndrop.networks.prefix import Writes, prefix_hash
from learndrop.networks.transfer import to_device, wait_for
from learndrop.replay.buffer import ReplayBuffer
from learndrop.settings import Settings
from learndrop.training.ledger import Ledger
from learndrop.training.trainer import Trainer

Pictures = Callable[[NDArray[np.bool_]], Tensor]


class FeatureKeeping:
    """The feature store of one learner, and the choice of its codec.

    Args:
        settings: codec and budgets.
        trainer: makes maps, and knows the cut.
        ledger: pays for what is made and looked at.
        replay: says whose maps are of use.
        clock: seconds.

    Attributes:
        wanted: whether anything is replayed at present; else no map is stored.
    """

    def __init__(
        self,
        settings: Settings,
        trainer: Trainer,
        ledger: Ledger,
        replay: ReplayBuffer,
        clock: Callable[[], float],
    ) -> None:
        self._settings, self._trainer, self._ledger = settings, trainer, ledger
        self._replay, self._clock = replay, clock
        self.store = FeatureStore(
            tiers_of(settings, trainer.device), replay.capacity, trainer.device
        )
        self.choice = FeatureChoice(settings.feature_codec, cache(self._names))
        self.wanted = settings.replays not in ("auto", "0")
        self._writes = Writes()

    # -- arrivals ---------------------------------------------------------------------------

    def arrived(
        self,
        ids: NDArray[np.int64],
        maps: Tensor,
        logits: Tensor | None,
        targets: NDArray[np.int64],
    ) -> None:
        """Maps that the test before training has made anyway.

        Args:
            ids: of the samples [N].
            maps: [N, ...] that enter the cut.
            logits: float32 [N, classes], the answers from them; None where other weights gave them.
            targets: class indices [N].
        """
        if not self.wanted or not self._is_open():
            return
        useful = self._replay.ids[: self._replay.size]
        mine = np.flatnonzero(np.isin(ids, useful))
        believed = maps[to_device(mine, maps.device)]
        with self._timed("store_s"):
            self.store.put(ids[mine], believed, useful)
        codec = self.store.codec
        if logits is not None and codec is not None:
            look(self.choice, codec, self._trainer, self._ledger, maps, logits, targets)
        if self.choice.judge():
            self.open()

    # -- replays ----------------------------------------------------------------------------

    def maps(self, ids: NDArray[np.int64], pictures: Pictures, anew: NDArray[np.bool_]) -> Tensor:
        """Maps that enter the cut: stored, passed on from the cut before, or made of pixels.

        Args:
            ids: of the samples [N].
            pictures: the network's input for the rows of a mask [N].
            anew: which are to be made of pixels in any case [N].
        """
        is_open = self._is_open()
        hit = self.store.holds(ids) & ~anew if is_open else np.zeros(len(ids), np.bool_)
        older = self.store.older
        onward = ~hit & ~anew & older.holds(ids) if older is not None else np.zeros_like(hit)
        rest = ~hit & ~onward
        parts: list[tuple[NDArray[np.bool_], Tensor]] = []
        if is_open and not anew.all():
            with self._timed("store_s", read=int(hit.sum())):
                parts.append((hit, self.store.get(ids[~anew])[0]))
        if onward.any() and older is not None:
            parts.append((onward, self._passed_on(older, ids[onward])))
        if rest.any():
            with self._timed("make_s", made=int(rest.sum())):
                made = self._trainer.prefix(pictures(rest))
            self._ledger.build(0, self._trainer.cut, int(rest.sum()))
            if is_open:
                self.store.put(ids[rest], made, self._replay.ids[: self._replay.size])
            parts.append((rest, made))
        return joined(parts)

    # -- a cut that has moved ---------------------------------------------------------------

    def open(self) -> None:
        """Store maps of the present cut; those already stored stay if they are of it.

        Where the cut has become deeper and the units before it are what they were, those stored
        are kept to be passed on.
        """
        chain, cut, store = self._trainer.chain, self._trainer.cut, self.store
        name = self.choice.open(cut)
        if cut == 0 or name is None:
            store.clear()
            return
        before, made_by = store.key, prefix_hash(chain, cut)
        self._writes.watch(chain, cut)
        codec = self._codec(name, chain.units[cut - 1].out_shape)
        if before is not None and before == (cut, made_by, codec.name):
            return
        onward = (
            before is not None
            and before.cut < cut  # at the same one another codec begins with exact maps
            and before.prefix_hash == prefix_hash(chain, before.cut)
        )
        store.open(cut, made_by, codec, onward=onward)

    def pass_on(self, *, hold: bool) -> int:
        """Pass some stored maps of the cut before on; how many, at most a batch of them.

        Args:
            hold: not yet: the cut is on probation, and may come back to them.
        """
        older, codec = self.store.older, self.store.codec
        if older is None or codec is None or hold or not self.wanted or not self._is_open():
            return 0
        if not codec.ready:  # arrivals teach it
            return 0
        batch = self._settings.batch
        lying = np.array(older.first_on_page(), np.int64)
        useful = np.isin(lying, self._replay.ids[: self._replay.size]) & ~self.store.holds(lying)
        mine = lying[useful][:batch]
        if len(mine):
            self._passed_on(older, mine)
            older.forget(mine.tolist())
        if useful.sum() <= batch and not older.drop_page():
            self.store.close_older()
        return len(mine)

    def _passed_on(self, older: StoredMaps, ids: NDArray[np.int64]) -> Tensor:
        rows = older.read(ids.tolist(), self._trainer.device)
        cut = self._trainer.cut
        maps = self._trainer.run(older.codec.decode(rows), older.key.cut, cut)
        self._ledger.build(older.key.cut, cut, len(ids))
        self.store.pushed += len(ids)
        self.store.put(ids, maps, self._replay.ids[: self._replay.size])
        return maps

    # -- small things -----------------------------------------------------------------------

    def trouble(self) -> list[str]:
        """What is out of the ordinary, one sentence each."""
        return [tier.trouble for tier in self.store.tiers if tier.trouble]

    def rows(self) -> dict[str, Any]:
        """For the state, as JSON values."""
        store, figures = self.store, self.choice.figures
        return {
            "samples": len(store),
            "capacity": store.capacity,
            "bytes": store.nbytes,
            "budget_bytes": store.max_bytes,
            "codec": store.key.codec if store.key else None,
            "tiers": {
                tier.name: {"bytes": tier.nbytes, "budget_bytes": tier.max_bytes}
                for tier in store.tiers
                if tier.max_bytes
            },
            "hits": store.hits,
            "misses": store.misses,
            "evicted": store.evicted,
            "pushed": store.pushed,
            "gate": {"samples": figures.samples, "accuracy_fall": figures.mean},
            "why": self.choice.why(),
        }

    @contextmanager
    def _timed(self, part: Part, *, read: int = 0, made: int = 0) -> Iterator[None]:
        """Count the seconds of what is done inside, as long as the choice still asks for them."""
        codec = self.store.codec
        if not self.choice.timing or codec is None or not codec.ready:
            yield
            return
        wait_for(self._trainer.device)
        begun = self._clock()
        yield
        wait_for(self._trainer.device)
        self.choice.figures.time(part, self._clock() - begun, read=read, made=made)

    def _is_open(self) -> bool:
        """Whether maps can be read and stored: of this cut, made by the weights as they are."""
        key, chain, cut = self.store.key, self._trainer.chain, self._trainer.cut
        if key is None or key.cut != cut:
            return False
        if self._writes.any:
            self._writes.watch(chain, cut)
            if key.prefix_hash != prefix_hash(chain, cut):
                self.open()
        return True

    def _names(self, cut: int) -> list[str]:
        shape = self._trainer.chain.units[cut - 1].out_shape
        return codecs.by_bytes(shape, self._settings.image_size)

    def _codec(self, name: str, shape: tuple[int, ...]) -> codecs.Codec:
        return codecs.make(name, shape, self._settings.image_size)

    # -- checkpoints ------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """The contents, for a checkpoint."""
        return {"rows": torch.zeros(0), **self.store.tensors()}  # see `to_json`

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint.

        With it stands an empty store as it was before there were codecs: a learndrop of then reads
        that, and begins with none.
        """
        counts = [self.store.hits, self.store.misses, self.store.evicted]
        return {
            "key": None,
            "counts": counts,
            "store": self.store.to_json(),
            "choice": self.choice.to_json(),
            "wanted": self.wanted,
        }

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any]) -> None:
        """Take back what `tensors` and `to_json` gave."""
        if "store" not in data:  # of before there were codecs; a cache fills again
            return
        self.choice.load_json(data["choice"])
        self.wanted = data["wanted"]
        made: dict[str, codecs.Codec] = {}
        for name in ("now", "older"):
            if said := data["store"][name]:
                cut, _, codec = said["key"]
                made[name] = self._codec(codec, self._trainer.chain.units[cut - 1].out_shape)
        self.store.load(tensors, data["store"], made)
        self._writes = Writes()  # the hash is taken anew at the first look
