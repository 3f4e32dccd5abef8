"""The recent raw samples: bounded, class-balanced, and aware of the world they came from.

Raw uint8 pixels are the truth from which any stored feature map can be made again. The fullest
class gives way first, and in it the oldest world; within one world a victim is drawn at random, so
that what stays is a fair draw of the stream (as ExStream and REMIND keep theirs).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learndrop.stream.id_arrays import among, as_rows, before, parts

UNKNOWN, DISOWNED = -1, -2  # senders


class ReplayBuffer:
    """At most `capacity` images of one shape.

    Args:
        shape: of one image, [H, W, 3].
        samples: most images.
        max_bytes: most bytes of pixels; the smaller of both bounds holds.
        old_world_weight: chance, against 1, of a sample from before the last drift.
        seed: of the draws.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        samples: int,
        max_bytes: int,
        old_world_weight: float,
        seed: int,
    ) -> None:
        self.capacity = max(1, min(samples, max_bytes // int(np.prod(shape))))
        self.old_world_weight = old_world_weight
        self.world = 0
        self.size = 0
        self.repeats = 0  # pictures that came again
        self._places: dict[int, int] = {}  # by checksum of the pixels
        self._sums = np.zeros(self.capacity, np.int64)
        # grown by doubling: a buffer that is never filled costs nothing
        self.images = np.zeros((min(64, self.capacity), *shape), np.uint8)
        self.targets = np.zeros(self.capacity, np.int64)
        self.ids = np.full(self.capacity, -1, np.int64)
        self.worlds = np.zeros(self.capacity, np.int64)
        self.senders = np.full(self.capacity, UNKNOWN, np.int64)
        self.misnamed = np.zeros(self.capacity, np.bool_)  # of a world with other names
        self.stream_ids = np.full((self.capacity, 2), -1, np.int64)
        self._rng = np.random.default_rng(seed)

    @property
    def nbytes(self) -> int:
        """Bytes of pixels held now."""
        return int(self.images[: self.size].nbytes)

    def add(
        self,
        images: NDArray[np.uint8],
        targets: NDArray[np.int64],
        ids: NDArray[np.int64],
        senders: NDArray[np.int64] | None = None,
        names: NDArray[np.int64] | None = None,
    ) -> None:
        """Take images [N, H, W, 3] with their class indices, sample numbers and senders' numbers.

        A picture that is held already takes its own place again, with its newest label: a flood
        of copies drives nothing else out. `names` [N, 2] are what samples are called outside
        (id_arrays.py), by which they can be forgotten.
        """
        known = np.full(len(ids), UNKNOWN) if senders is None else senders
        named = as_rows((), len(ids)) if names is None else names
        rows = zip(images, targets, ids, known, named, strict=True)
        for image, target, sample_id, sender, name in rows:
            checksum = zlib.crc32(image.tobytes())
            place = self._places.get(checksum, -1)
            if place >= 0 and np.array_equal(self.images[place], image):
                self.repeats += 1
            else:
                place = self._free_place(int(target))
                self.images[place] = image
                self._remember(place, checksum)
            self.senders[place] = sender
            self.targets[place], self.ids[place] = target, sample_id
            self.worlds[place], self.misnamed[place] = self.world, False
            self.stream_ids[place] = name

    def forget(self, stream_ids: Iterable[str]) -> dict[str, int]:
        """Take samples out by what they are called outside; the numbers of those that were here."""
        wanted = {parts(name): name for name in stream_ids}
        places = np.flatnonzero(among(self.stream_ids[: self.size], list(wanted.values()))).tolist()
        names = [wanted[tuple(self.stream_ids[place].tolist())] for place in places]
        return dict(zip(names, self._take_out(places), strict=True))

    def forget_before(self, unix_s: float) -> list[int]:
        """Take samples out that the stream was given before that time; the numbers of those.

        The time is in what they are called outside; those that came another way stay.
        """
        old = before(self.stream_ids[: self.size], unix_s)
        return self._take_out(np.flatnonzero(old).tolist())

    def _take_out(self, places: Sequence[int]) -> list[int]:
        numbers = [int(self.ids[place]) for place in places]
        for place in sorted(places, reverse=True):  # the last one takes the place of each
            last = self.size - 1
            self._forget_sum(place)
            if last != place:
                checksum = int(self._sums[last])
                self._forget_sum(last)
                self._remember(place, checksum)
            for held in (
                self.images, self.targets, self.ids, self.worlds, self.senders, self.misnamed,
                self.stream_ids,
            ):  # fmt: skip
                held[place] = held[last]
            self.images[last], self.ids[last], self.stream_ids[last] = 0, -1, -1
            self.size = last
        return numbers

    def draw(
        self, n: int, among: NDArray[np.bool_] | None = None, *, balanced: bool = False
    ) -> NDArray[np.int64]:
        """Draw `n` places (fewer if the buffer is small), without repeats.

        Args:
            n: how many.
            among: bool [size], the places to choose from (all when not given).
            balanced: each class is as likely as any other, however few of its samples are here or
                are of the present world.
        """
        if self.size == 0 or n == 0:
            return np.zeros(0, np.int64)
        weights = np.where(self.worlds[: self.size] == self.world, 1.0, self.old_world_weight)
        weights *= (self.senders[: self.size] != DISOWNED) & ~self.misnamed[: self.size]
        if among is not None:
            weights = weights * among
        if balanced:
            targets = self.targets[: self.size]
            of_class = np.bincount(targets, weights=weights)
            weights /= np.maximum(of_class, np.finfo(np.float64).tiny)[targets]
        likely = int(np.count_nonzero(weights))
        if likely == 0:
            return np.zeros(0, np.int64)
        return self._rng.choice(
            self.size, min(n, likely), replace=False, p=weights / weights.sum()
        ).astype(np.int64)

    def new_world(self, since: int) -> None:
        """Samples with ids from `since` on, also those to come, belong to a new world."""
        self.world += 1
        self.worlds[: self.size][self.ids[: self.size] >= since] = self.world

    def rejoin(self, world: int) -> None:
        """An earlier world has come back: its samples are of the present one again."""
        its = self.worlds[: self.size] == world
        self.worlds[: self.size][its] = self.world
        self.misnamed[: self.size][its] = False

    def misname(self, targets: Set[int]) -> None:
        """These classes are called otherwise now: older worlds' samples of them are drawn no more,
        unless their world comes back."""
        older = self.worlds[: self.size] != self.world
        self.misnamed[: self.size] |= older & np.isin(self.targets[: self.size], list(targets))

    def newest(self, most: int) -> NDArray[np.int64]:
        """Places of the newest samples of the present world, newest first."""
        places = np.flatnonzero(self.worlds[: self.size] == self.world)
        return places[np.argsort(-self.ids[places], kind="stable")][:most]

    def earlier(self, most: int) -> NDArray[np.int64]:
        """Places of the newest samples from before the present world, newest first, but for those
        of a world with other names and of senders that are not believed."""
        n = self.size
        its = (self.worlds[:n] != self.world) & ~self.misnamed[:n]
        places = np.flatnonzero(its & (self.senders[:n] != DISOWNED))
        return places[np.argsort(-self.ids[places], kind="stable")][:most]

    def spread(self, most: int) -> NDArray[np.int64]:
        """Places of at most so many samples of the present world, evenly over the time since it
        began: where classes come one after the other, the newest are of one."""
        places = self.newest(self.size)
        if len(places) <= most:
            return places
        return places[np.linspace(0, len(places) - 1, most).round().astype(np.int64)]

    def disown(self, sender: int, newest: int) -> None:
        """Draw the newest samples of a sender no more: it is no longer believed."""
        mine = np.flatnonzero(self.senders[: self.size] == sender)
        self.senders[mine[np.argsort(-self.ids[mine], kind="stable")][:newest]] = DISOWNED

    def by_class(self) -> dict[int, int]:
        """Samples held for each class index."""
        found, counts = np.unique(self.targets[: self.size], return_counts=True)
        return {int(c): int(n) for c, n in zip(found, counts, strict=True)}

    def _forget_sum(self, place: int) -> None:
        if self._places.get(int(self._sums[place])) == place:
            del self._places[int(self._sums[place])]

    def _remember(self, place: int, checksum: int) -> None:
        self._forget_sum(place)
        self._sums[place] = checksum
        self._places[checksum] = place

    def _free_place(self, target: int) -> int:
        if self.size < self.capacity:
            if self.size == len(self.images):
                room = min(self.capacity, 2 * len(self.images))
                grown = np.zeros((room, *self.images.shape[1:]), np.uint8)
                grown[: self.size] = self.images[: self.size]
                self.images = grown
            self.size += 1
            return self.size - 1
        counts = np.bincount(self.targets, minlength=target + 1)
        counts[target] += 1  # the newcomer counts: a full class replaces one of its own
        mine = np.flatnonzero(self.targets == int(counts.argmax()))
        oldest = mine[self.worlds[mine] == self.worlds[mine].min()]
        return int(oldest[self._rng.integers(len(oldest))])  # `choice` draws the same, slower

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The contents, for a checkpoint."""
        n = self.size
        return {
            "images": self.images[:n],
            "targets": self.targets[:n],
            "ids": self.ids[:n],
            "worlds": self.worlds[:n],
            "senders": self.senders[:n],
            "misnamed": self.misnamed[:n],
            "stream_ids": self.stream_ids[:n],
        }

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint; numpy counts in 128 bits, so as text."""
        return {
            "world": self.world,
            "repeats": self.repeats,
            "rng": json.dumps(self._rng.bit_generator.state),
        }

    def load(self, arrays: Mapping[str, NDArray[Any]], data: Mapping[str, Any]) -> None:
        """Take back what `arrays` and `to_json` gave; a smaller buffer keeps the newest."""
        keep = np.sort(np.argsort(arrays["ids"], kind="stable")[-self.capacity :])
        self.size = len(keep)
        room = min(self.capacity, max(64, self.size))
        self.images = np.zeros((room, *self.images.shape[1:]), np.uint8)
        self.images[: self.size] = arrays["images"][keep]
        self.targets[: self.size] = arrays["targets"][keep]
        self.ids[: self.size] = arrays["ids"][keep]
        self.worlds[: self.size] = arrays["worlds"][keep]
        senders = arrays.get("senders", np.full(len(arrays["ids"]), UNKNOWN))
        self.senders[: self.size] = senders[keep]
        misnamed = arrays.get("misnamed", np.zeros(len(arrays["ids"]), np.bool_))
        self.misnamed[: self.size] = misnamed[keep]
        self.stream_ids[:] = -1
        if "stream_ids" in arrays:  # a checkpoint of the first format has none
            self.stream_ids[: self.size] = arrays["stream_ids"][keep]
        self._places = {}
        for place in range(self.size):
            self._remember(place, zlib.crc32(self.images[place].tobytes()))
        self.world, self.repeats = int(data["world"]), int(data.get("repeats", 0))
        self._rng.bit_generator.state = json.loads(data["rng"])
