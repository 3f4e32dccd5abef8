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

from learndrop.stream_names import among, as_rows, before

ONE_IN = 8
CONFIRM = 512
LEAST = 64  # fewer tell nothing


class Reserve:
    """At most `size` images of one shape.

    Args:
        shape: of one image, [H, W, 3].
        size: most confirmed samples; 0 keeps none.
    """

    def __init__(self, shape: tuple[int, int, int], size: int) -> None:
        self.size = size
        self.images = np.zeros((0, *shape), np.uint8)
        self.targets = np.zeros(0, np.int64)
        self.ids = np.zeros(0, np.int64)
        self.senders = np.zeros(0, np.int64)
        self.confirmed = np.zeros(0, np.bool_)
        self.stream_ids = as_rows((), 0)

    def __len__(self) -> int:
        return int(self.confirmed.sum())

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

        `names` [N, 2] are what they are called outside (stream_names.py).
        """
        if not self.size or not len(ids):
            return
        mine = ids % ONE_IN == 0
        self.images = np.concatenate([self.images, images[mine]])
        self.targets = np.concatenate([self.targets, targets[mine]])
        self.ids = np.concatenate([self.ids, ids[mine]])
        self.senders = np.concatenate([self.senders, senders[mine]])
        named = as_rows((), len(ids)) if names is None else names
        self.stream_ids = np.concatenate([self.stream_ids, named[mine]])
        self.confirmed = np.concatenate([self.confirmed, np.zeros(int(mine.sum()), bool)])
        self.confirmed |= self.ids <= ids[-1] - CONFIRM
        while len(self) > self.size:
            known = np.flatnonzero(self.confirmed)
            fullest = np.bincount(self.senders[known] + 1).argmax() - 1
            oldest = known[self.senders[known] == fullest][0]
            self._keep(np.arange(len(self.ids)) != oldest)

    def held(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Images [N, H, W, 3] and class indices [N] that are confirmed."""
        return self.images[self.confirmed], self.targets[self.confirmed]

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

    def _keep(self, which: NDArray[np.bool_]) -> None:
        for name, array in self.arrays().items():
            setattr(self, name, array[which])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The contents, for a checkpoint."""
        names = ("images", "targets", "ids", "senders", "confirmed", "stream_ids")
        return {name: getattr(self, name) for name in names}

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what `arrays` gave."""
        unnamed = as_rows((), len(arrays["ids"]))  # as an older release wrote it
        for name in self.arrays():
            setattr(self, name, arrays.get(name, unnamed).copy())
