"""Streams that drift: one data set played as a row of worlds, in each way a stream can change."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from learndrop.bench.faults import Fault, fault
from learndrop.bench.held_out import HeldOut, held_out
from learndrop.errors import BadInput
from learndrop.images.datasets import Data, endless
from learndrop.images.worlds import World, world
from learndrop.stream.messages import Sample

Images = NDArray[np.uint8]
CORRUPTIONS = ("clean", "noise40", "contrast0.3", "inverted")
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    # name: worlds where none are given, meaning
    "abrupt": (CORRUPTIONS, "one world after the other"),
    "gradual": (CORRUPTIONS, "neighbouring worlds mix for a while around each border"),
    "ordered": (CORRUPTIONS, "as abrupt, but each world shows one class after the other"),
    "recurring": (("clean", "noise40") * 2, "worlds come back"),
    "rotation": (("clean", "rotated30", "rotated60", "rotated90"), "pictures turn further"),
    "swap": (("clean", "swap", "clean", "permuted"), "labels change their meaning"),
    "incremental": ((), "two more classes in each world, and only they"),
    "block": (("clean", "block4"), "one unit's weights get noise: a change of known depth"),
    "stationary": (("clean",), "nothing ever changes"),
}
MIXED = 0.4  # gradual: share of a world's length, around its border, in which both worlds occur
CLASSES_A_WORLD = 2
PIECE = 1000  # pictures drawn at a time: jitter is made in float32, four times their bytes


@dataclass(frozen=True)
class Stream:
    """Samples in order, and where each world begins.

    Attributes:
        images: uint8 [N, S, S, 3].
        labels: N class names.
        worlds: names, in order.
        begins: first sample of each world.
        faults: noise put into the network, by the sample before which that is done.
        held_out: pictures that are not shown, where what arrives says little of what is known.
    """

    images: Images
    labels: list[str]
    worlds: tuple[str, ...]
    begins: tuple[int, ...]
    faults: dict[int, Fault] = field(default_factory=dict)
    held_out: HeldOut | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ends(self) -> tuple[int, ...]:
        """One past the last sample of each world."""
        return (*self.begins[1:], len(self))

    @property
    def last_label(self) -> float:
        """Share of the samples that have the label of the one before: how often somebody is right
        who looks at no picture."""
        alike = sum(a == b for a, b in zip(self.labels[1:], self.labels[:-1], strict=True))
        return alike / max(1, len(self) - 1)

    def batches(self, size: int) -> Iterator[list[Sample]]:
        """The stream, `size` samples at a time; a batch never spans two worlds."""
        for begin, end in zip(self.begins, self.ends, strict=True):
            for i in range(begin, end, size):
                stop = min(i + size, end)
                yield [Sample(self.images[j], self.labels[j]) for j in range(i, stop)]


def stream(
    kind: str, data: Data, length: int, *, worlds: Sequence[str] = (), seed: int = 0
) -> Stream:
    """The stream of that kind, with `length` samples in each world.

    Args:
        kind: one of `KINDS`.
        data: pictures; none comes twice unless they are fewer than the stream.
        length: samples in each world.
        worlds: names as `learndrop.images.worlds.world` takes them, or `block3` (see
            faults.py); those of the kind where none are given.
        seed: of the order, of noise and of what mixes.

    Raises:
        BadInput: for an unknown kind or world, no data, or worlds where classes make them.
    """
    check(kind, worlds)
    if kind == "incremental":
        return _incremental(data, length, seed)
    names = tuple(worlds) or KINDS[kind][0]
    if kind == "gradual":
        return _gradual(data, names, length, seed)
    return drifting(data, names, length, seed, by_class=kind == "ordered")


def check(kind: str, worlds: Sequence[str]) -> None:
    """Say what is wrong with a kind of stream and its worlds before any picture is read.

    Raises:
        BadInput: for an unknown kind or world, or worlds where classes make them.
    """
    if kind not in KINDS:
        near = ", ".join(difflib.get_close_matches(kind, KINDS, n=3, cutoff=0.3) or KINDS)
        raise BadInput(f"no stream {kind!r}; near: {near}", item="stream", value=kind)
    if kind == "incremental" and worlds:
        raise BadInput("an incremental stream has no worlds but its classes", item="worlds")
    named_worlds(worlds, ("a", "b"), 0)


def drifting(
    data: Data, worlds: Sequence[str], length: int, seed: int = 0, *, by_class: bool = False
) -> Stream:
    """Play `data` as a row of worlds of `length` samples each, sorted `by_class` in each if asked.

    No sample comes twice unless the data are fewer than the stream; then all are moved by a pixel
    or two and get a little noise, as `datasets.endless` says.

    Raises:
        BadInput: for an unknown world or no data.
    """
    images, names = _draw(data, length * len(worlds), seed)
    labels: list[str] = []
    drifts = named_worlds(worlds, data.classes, seed)
    for i, drift in enumerate(drifts):
        part = slice(i * length, (i + 1) * length)
        given = names[part]
        if by_class:
            order = np.argsort(given, kind="stable")
            images[part], given = images[part][order], [given[j] for j in order]
        images[part] = drift.images(images[part])
        labels += drift.labels(given)
    begins = tuple(range(0, length * len(worlds), length))
    faults = {b: f for b, w in zip(begins, worlds, strict=True) if (f := fault(w, seed))}
    aside = held_out(data, len(labels), drifts, begins, seed) if by_class else None
    return Stream(images, labels, tuple(worlds), begins, faults, aside)


def named_worlds(names: Sequence[str], classes: Sequence[str], seed: int) -> list[World]:
    """The worlds of these names; a fault's pictures are clean.

    Raises:
        BadInput: for an unknown name.
    """
    return [world("clean" if fault(n) else n, classes=classes, seed=seed) for n in names]


def _gradual(data: Data, worlds: Sequence[str], length: int, seed: int) -> Stream:
    """Around each border a sample is of either world, the next one's share rising evenly."""
    plain = drifting(data, ["clean"] * len(worlds), length, seed)
    at = np.arange(len(plain))
    reach = max(1.0, MIXED * length)  # the border lies in the middle of so many samples
    rising = np.clip((at[:, None] - np.array(plain.begins[1:])) / reach + 0.5, 0.0, 1.0)
    draws = np.random.default_rng([seed, 1]).random(rising.shape)
    which = (draws < rising).sum(1)  # how many borders each sample lies behind
    images, labels = plain.images, np.array(plain.labels, dtype=object)
    for i, drift in enumerate(named_worlds(worlds, data.classes, seed)):
        mine = np.flatnonzero(which == i)
        images[mine] = drift.images(images[mine])
        labels[mine] = drift.labels(labels[mine].tolist())
    return Stream(images, labels.tolist(), tuple(worlds), plain.begins)


def _incremental(data: Data, length: int, seed: int) -> Stream:
    """Two classes, then two others, and so on; the earlier ones do not come back."""
    groups = [
        data.classes[i : i + CLASSES_A_WORLD] for i in range(0, len(data.classes), CLASSES_A_WORLD)
    ]
    parts = []
    for group in groups:
        mine = np.flatnonzero(np.isin(data.labels, group))
        some = Data(data.images[mine], [data.labels[i] for i in mine], data.name)
        parts.append(_draw(some, length, seed))
    return Stream(
        np.concatenate([images for images, _ in parts]),
        [label for _, labels in parts for label in labels],
        tuple(" and ".join(group) for group in groups),
        tuple(range(0, length * len(groups), length)),
    )


def _draw(data: Data, count: int, seed: int) -> tuple[Images, list[str]]:
    """`count` pictures and their labels."""
    if not len(data):
        raise BadInput("the data set has no image", item="data", value=data.name)
    size = data.images.shape[1]
    source = endless(
        data,
        min(PIECE, count),
        seed=seed,
        shift=max(1, size // 16),
        noise=4.0,
        first_as_is=len(data) >= count,
    )
    images = np.empty((count, size, size, 3), np.uint8)
    labels: list[str] = []
    while len(labels) < count:
        pictures, names = next(source)
        room = count - len(labels)
        images[len(labels) : len(labels) + len(names)] = pictures[:room]
        labels += names[:room]
    return images, labels
