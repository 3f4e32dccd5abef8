"""The stored feature maps below the drop line: keyed, bounded, compressed, disposable.

A cache, never an archive: what is lost here is computed again from the replay buffer's raw pixels.
The key is the cut, a hash of the prefix's weights and statistics, and the codec; only maps of the
present key are read. Those of the cut before may stay beside them until they were passed on through
the units between (rehearsal.py); both together keep within the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.features.codecs import Codec
from learndrop.features.stored_maps import Key, StoredMaps
from learndrop.features.tiers import Tier
from learndrop.networks.transfer import to_device


class FeatureStore:
    """Feature maps by sample id, in pages of memory and file that never pass their budgets.

    Args:
        tiers: where maps may lie, in the order in which they are filled.
        samples: maps beyond this number are of no use.
        device: where maps come from and go to.
    """

    def __init__(self, tiers: Sequence[Tier], samples: int, device: torch.device) -> None:
        self.tiers, self._samples, self._device = tiers, samples, device
        self.hits = self.misses = self.evicted = self.pushed = 0
        self._now: StoredMaps | None = None
        self._older: StoredMaps | None = None

    def __len__(self) -> int:
        return len(self._now) if self._now is not None else 0

    @property
    def key(self) -> Key | None:
        """What the maps that can be read were made by; None while nothing is stored."""
        return self._now.key if self._now is not None else None

    @property
    def older(self) -> StoredMaps | None:
        """Maps of the cut before, to be passed on."""
        return self._older

    @property
    def codec(self) -> Codec | None:
        """Of the maps that can be read."""
        return self._now.codec if self._now is not None else None

    @property
    def max_bytes(self) -> int:
        """The budget: of all tiers together."""
        return sum(t.max_bytes for t in self.tiers)

    @property
    def capacity(self) -> int:
        """Most maps of the present cut."""
        return self._now.capacity if self._now is not None else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the maps held now, those to be passed on among them."""
        return sum(s.nbytes for s in (self._now, self._older) if s is not None)

    @property
    def held(self) -> int:
        """Maps held now, those to be passed on among them."""
        return sum(len(s) for s in (self._now, self._older) if s is not None)

    def open(self, cut: int, prefix_hash: str, codec: Codec, *, onward: bool = False) -> None:
        """Begin to store maps of one cut; `onward` keeps those held until now, to be passed on.

        Where the maps to be passed on are of this very key (a cut that came too early was taken
        back), they are the present ones again.
        """
        key = Key(cut, prefix_hash, codec.name)
        before, older = self._now, self._older
        if older is not None and older.key == key:
            self._now, self._older = older, None
            if before is not None:
                before.close()
            return
        self._older = before if onward and before is not None and len(before) else None
        for left in (before, older):
            if left is not None and left is not self._older:
                left.close()
        self._now = StoredMaps(key, codec, self._samples, self.tiers)

    def clear(self) -> None:
        """Forget everything and give the memory back."""
        for held in (self._now, self._older):
            if held is not None:
                held.close()
        self._now = self._older = None

    def close_older(self) -> None:
        """Forget the maps of the cut before."""
        if self._older is not None:
            self._older.close()
            self._older = None

    def put(
        self, ids: NDArray[np.int64], maps: Tensor, useful: NDArray[np.int64] | None = None
    ) -> None:
        """Store maps [N, ...] under their sample ids.

        Until the codec knows its scales they only teach it. Where there is no room, maps of the
        cut before give way, then those that are not `useful` any more, then the oldest.
        """
        held = self._now
        if held is None or held.capacity == 0 or not len(ids):
            return
        maps = maps.detach()
        if not held.codec.ready:
            held.codec.observe(maps)
            return
        ids, maps = ids[-held.capacity :], maps[-held.capacity :]
        numbers = ids.tolist()
        swept = useful is None
        for sample_id in numbers:
            while not held.place_for(sample_id):
                if self._older is not None and self._older.drop_page():
                    continue
                if useful is not None and not swept:
                    swept = True
                    self.evicted += held.drop_all_but(np.concatenate([useful, ids]))
                elif len(held):
                    held.drop_oldest()
                    self.evicted += 1
                else:
                    break
        # a batch may drive out its own first maps where a tier has given less than it said
        rows = {i: row for row, i in enumerate(numbers) if i in held}
        if rows:
            chosen = to_device(np.array(list(rows.values()), np.int64), maps.device)
            held.write(list(rows), held.codec.encode(maps[chosen]))

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the ids [N] have a stored map."""
        return self._now.holds(ids) if self._now is not None else np.zeros(len(ids), np.bool_)

    def get(self, ids: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.bool_]]:
        """Read the maps that are stored.

        Returns:
            float32 maps of the hits in the order of `ids`, and a mask [N] of which were hits.
        """
        hit = self.holds(ids)
        self.hits += int(hit.sum())
        self.misses += int((~hit).sum())
        if self._now is None or not hit.any():
            return torch.zeros(0, device=self._device), hit
        rows = self._now.read(ids[hit].tolist(), self._device)
        return self._now.codec.decode(rows), hit

    def forget(self, ids: Iterable[int]) -> int:
        """Blank the maps of samples that must not be kept, in every tier; how many there were."""
        numbers = list(ids)
        return sum(s.forget(numbers) for s in (self._now, self._older) if s is not None)

    # -- checkpoints ------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """The contents of all tiers, for a checkpoint."""
        return {
            f"{name}.{part}": tensor
            for name, held in (("now", self._now), ("older", self._older))
            if held is not None
            for part, tensor in held.tensors().items()
        }

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {
            "now": self._now.to_json() if self._now is not None else None,
            "older": self._older.to_json() if self._older is not None else None,
            "budgets": self._budgets(),
            "counts": [self.hits, self.misses, self.evicted, self.pushed],
        }

    def load(
        self,
        tensors: Mapping[str, Tensor],
        data: Mapping[str, Any],
        codecs: Mapping[str, Codec],
    ) -> None:
        """Take back what `tensors` and `to_json` gave, unless budgets or codecs are others now.

        Args:
            codecs: new ones, for `now` and `older`.
        """
        self.clear()
        self.hits, self.misses, self.evicted, self.pushed = data["counts"]
        if data["budgets"] != self._budgets():
            return
        for name in ("now", "older"):
            said, codec = data[name], codecs.get(name)
            if said is None or codec is None or said["key"][2] != codec.name:
                continue
            parts = {
                n.removeprefix(f"{name}."): t
                for n, t in tensors.items()
                if n.startswith(f"{name}.")
            }
            codec.load(
                {
                    n.removeprefix("codec."): t.to(self._device)
                    for n, t in parts.items()
                    if n.startswith("codec.")
                }
            )
            held = StoredMaps(
                Key(*said["key"]), codec, self._samples, self.tiers, page_rows=said["page_rows"]
            )
            held.capacity = said["capacity"]
            held.load(parts, said)
            if name == "now":
                self._now = held
            else:
                self._older = held

    def _budgets(self) -> list[Any]:
        return [self._samples, *([t.name, t.max_bytes] for t in self.tiers)]


def joined(parts: list[tuple[NDArray[np.bool_], Tensor]]) -> Tensor:
    """One tensor [N, ...] of parts that each fill the rows of a mask [N]."""
    filled = [(rows, maps) for rows, maps in parts if rows.any()]
    if len(filled) == 1:
        return filled[0][1]
    first = filled[-1][1]
    whole = first.new_empty((len(filled[0][0]), *first.shape[1:]))
    for rows, maps in filled:
        whole[to_device(np.flatnonzero(rows), whole.device)] = maps.to(whole.dtype)
    return whole
