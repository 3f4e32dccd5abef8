"""The stored feature maps below the drop line: keyed, bounded, compressed, disposable.

A cache, never an archive: what is lost here is computed again from the replay buffer's raw pixels.
The key is the sample's id together with the cut and a hash of the prefix's weights and statistics;
the store holds one (cut, hash) at a time, so a stale map cannot be read. It fills from arriving
samples, whose maps the test-then-train forward has made anyway: no stall when layers drop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class FeatureStore:
    """Feature maps by sample id, in one block of memory that never passes `max_bytes`.

    Args:
        max_bytes: budget in bytes; 0 stores nothing.
        dtype: of the stored maps (bfloat16 halves them).
    """

    def __init__(self, max_bytes: int, dtype: torch.dtype = torch.bfloat16) -> None:
        self.max_bytes, self.dtype = max_bytes, dtype
        self.key: tuple[int, str] | None = None
        self.hits = self.misses = self.evicted = 0
        self._rows = torch.zeros(0)
        self._ids = np.zeros(0, np.int64)
        self._place: dict[int, int] = {}
        self._next = 0
        self._row_bytes = 0
        self.capacity = 0

    def __len__(self) -> int:
        return len(self._place)

    @property
    def nbytes(self) -> int:
        """Bytes of the maps held now."""
        return len(self._place) * self._row_bytes

    def open(self, cut: int, prefix_hash: str, row_shape: tuple[int, ...], device: str) -> None:
        """Begin to store maps of one cut; every map under another key is forgotten."""
        self.clear()
        self.key = (cut, prefix_hash)
        self._row_bytes = int(np.prod(row_shape)) * torch.finfo(self.dtype).bits // 8
        self.capacity = self.max_bytes // self._row_bytes
        # one block, not filled: on a CPU its pages are taken as maps are written, and there is
        # never a second, larger copy that would pass the budget
        self._rows = torch.empty((self.capacity, *row_shape), dtype=self.dtype, device=device)
        self._ids = np.full(self.capacity, -1, np.int64)

    def clear(self) -> None:
        """Forget everything and give the memory back."""
        self.key = None
        self.capacity = self._next = 0
        self._rows = torch.zeros(0)
        self._ids = np.zeros(0, np.int64)
        self._place = {}

    def put(self, ids: NDArray[np.int64], maps: Tensor) -> None:
        """Store maps [N, ...] under their sample ids; the oldest stored give way."""
        if self.key is None or self.capacity == 0:
            return
        ids, maps = ids[-self.capacity :], maps[-self.capacity :]
        places = []
        for sample_id in ids.tolist():
            place = self._place.get(sample_id)
            if place is None:
                place = self._take_place(sample_id)
            places.append(place)
        self._rows[places] = maps.detach().to(self.dtype)

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the ids [N] have a stored map."""
        return np.isin(ids, self._ids[: len(self._place)])

    def get(self, ids: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.bool_]]:
        """Read the maps that are stored.

        Returns:
            float32 maps of the hits in the order of `ids`, and a mask [N] of which were hits.
        """
        places = [self._place.get(i, -1) for i in ids.tolist()]
        hit = np.array(places, np.int64) >= 0
        self.hits += int(hit.sum())
        self.misses += int((~hit).sum())
        return self._rows[[p for p in places if p >= 0]].float(), hit

    def forget(self, ids: Iterable[int]) -> int:
        """Blank the maps of samples that must not be kept; how many there were.

        Their places stay taken until it is their turn: places are used in a ring.
        """
        places = [(i, self._place.pop(i)) for i in ids if i in self._place]
        for _, place in places:
            blank = -2 - place  # an id that no sample has
            self._ids[place], self._place[blank] = blank, place
            self._rows[place] = 0
        return len(places)

    def _take_place(self, sample_id: int) -> int:
        place = self._next
        self._next = (self._next + 1) % self.capacity
        if self._ids[place] != -1:
            del self._place[int(self._ids[place])]
            self.evicted += 1
        self._ids[place] = sample_id
        self._place[sample_id] = place
        return place

    def tensors(self) -> dict[str, Tensor]:
        """The contents, for a checkpoint."""
        used = len(self._place)  # places are taken in order, so the used ones come first
        return {"rows": self._rows[:used], "ids": torch.from_numpy(self._ids[:used])}

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {
            "key": self.key,
            "next": self._next,
            "capacity": self.capacity,
            "counts": [self.hits, self.misses, self.evicted],
        }

    def load(self, tensors: Mapping[str, Tensor], data: Mapping[str, Any], device: str) -> None:
        """Take back what `tensors` and `to_json` gave, unless the budget has become smaller."""
        self.clear()
        self.hits, self.misses, self.evicted = data["counts"]
        rows = tensors["rows"]
        if data["key"] is None:
            return
        row_shape = tuple(rows.shape[1:])
        self.open(data["key"][0], data["key"][1], row_shape, device)
        if self.capacity != data["capacity"] or rows.dtype != self.dtype:
            return
        self._rows[: len(rows)] = rows.to(device)
        self._ids[: len(rows)] = tensors["ids"].numpy()
        self._place = {int(i): p for p, i in enumerate(self._ids) if i != -1}
        self._next = data["next"]
