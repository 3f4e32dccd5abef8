"""Older samples that nobody has come to doubt: what a new version is measured on before it serves.

One arriving sample in eight waits here until `CONFIRM` others have come. If its key is still
believed then, it is confirmed. The key with the most places gives way first, and its oldest sample
first, so that no key can fill the reserve. A change of the world that was believed empties it.

The samples have been learned like all others, once and long ago: what they tell is not how good the
network is, but whether it has got worse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learndrop.stream.id_arrays import among, as_rows, before

ONE_IN = 8
CONFIRM = 512
LEAST = 64  # fewer tell nothing
COLUMNS = ("targets", "ids", "senders", "confirmed", "stream_ids")  # one row a sample, oldest first


class Reserve:
    """At most `size` images of one shape.

    Args:
        shape: of one image, [H, W, 3].
        size: most confirmed samples; 0 keeps none.
    """

    def __init__(self, shape: tuple[int, int, int], size: int) -> None:
        self.size = size
        # pixels stay where they were put, in order or not: a batch moves its own only
        self._pool = np.zeros((0, *shape), np.uint8)
        self._places = np.zeros(0, np.int64)
        self.targets = np.zeros(0, np.int64)
        self.ids = np.zeros(0, np.int64)
        self.senders = np.zeros(0, np.int64)
        self.confirmed = np.zeros(0, np.bool_)
        self.stream_ids = as_rows((), 0)

    def __len__(self) -> int:
        return int(self.confirmed.sum())

    @property
    def images(self) -> NDArray[np.uint8]:
        """A copy of all images [N, H, W, 3], oldest first."""
        return self._pool[self._places]

    @property
    def tells(self) -> bool:
        """Whether there are enough samples to measure on."""
        return len(self) >= LEAST

    def add(
        self,
        images: NDArray[np.uint8],
        targets: NDArray[np.int64],
        ids: NDArray[np.int64],
        senders: NDArray[np.int64],
        names: NDArray[np.int64] | None = None,
    ) -> None:
        """Take a share of the believed samples of one batch, and confirm those that waited.

        `names` [N, 2] are what they are called outside (id_arrays.py).
        """
        if not self.size or not len(ids):
            return
        mine = ids % ONE_IN == 0
        self._store(images[mine])
        self.targets = np.concatenate([self.targets, targets[mine]])
        self.ids = np.concatenate([self.ids, ids[mine]])
        self.senders = np.concatenate([self.senders, senders[mine]])
        named = as_rows((), len(ids)) if names is None else names
        self.stream_ids = np.concatenate([self.stream_ids, named[mine]])
        self.confirmed = np.concatenate([self.confirmed, np.zeros(int(mine.sum()), bool)])
        self.confirmed |= self.ids <= ids[-1] - CONFIRM
        self._give_way(len(self) - self.size)

    def _give_way(self, surplus: int) -> None:
        """Take so many confirmed samples out, each the oldest of the key with the most."""
        if surplus <= 0:
            return
        keep = np.ones(len(self.ids), bool)
        for _ in range(surplus):
            known = np.flatnonzero(self.confirmed & keep)
            fullest = np.bincount(self.senders[known] + 1).argmax() - 1
            keep[known[self.senders[known] == fullest][0]] = False
        self._keep(keep)

    def held(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images [N, H, W, 3] and class indices [N] that are confirmed."""
        return self._pool[self._places[self.confirmed]], self.targets[self.confirmed]

    def disown(self, sender: int) -> None:
        """Forget what a key sent that is not confirmed yet."""
        self._keep(self.confirmed | (self.senders != sender))

    def clear(self) -> None:
        """The world has changed: start anew."""
        self._keep(np.zeros(len(self.ids), bool))

    def forget(self, stream_ids: Sequence[str]) -> None:
        """Take samples out by what they are called outside."""
        self._keep(~among(self.stream_ids, stream_ids))

    def forget_before(self, unix_s: float) -> None:
        """Take samples out that the stream was given before that time."""
        self._keep(~before(self.stream_ids, unix_s))

    def _store(self, images: NDArray[np.uint8]) -> None:
        """Put pixels where there is room; grown by doubling."""
        free = np.setdiff1d(np.arange(len(self._pool)), self._places, assume_unique=True)
        if len(free) < len(images):
            room = max(2 * len(self._pool), len(self._places) + len(images))
            grown = np.zeros((room, *self._pool.shape[1:]), np.uint8)
            grown[: len(self._pool)] = self._pool
            free = np.concatenate([free, np.arange(len(self._pool), room)])
            self._pool = grown
        places = free[: len(images)]
        self._pool[places] = images
        self._places = np.concatenate([self._places, places])

    def _keep(self, which: NDArray[np.bool_]) -> None:
        self._pool[self._places[~which]] = 0  # what is forgotten is not left in memory
        for name in ("_places", *COLUMNS):
            setattr(self, name, getattr(self, name)[which])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The contents, for a checkpoint."""
        return {name: getattr(self, name) for name in ("images", *COLUMNS)}

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `arrays` gave."""
        unnamed = as_rows((), len(arrays["ids"]))  # as an older release wrote it
        for name in COLUMNS:
            setattr(self, name, arrays.get(name, unnamed).copy())
        self._pool = arrays["images"].copy()
        self._places = np.arange(len(self._pool))
