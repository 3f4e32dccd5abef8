"""The worlds a stream can drift into: seeded, repeatable changes of images and of labels.

A world is two functions, images to images and labels to labels, so one pass over clean data can
be played as any number of worlds. Both work image by image: however a stream is cut into batches,
the same image comes out the same (noise is seeded by the pixels it is added to).
"""

from __future__ import annotations

import difflib
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadInput

Images = NDArray[np.uint8]
MIDDLE = 128.0
CAST = (1.0, 0.8, 0.5)
KINDS = {
    "clean": "as it is",
    "rotated": "degrees anticlockwise: rotated90",
    "noise": "Gaussian, standard deviation in grey levels: noise40",
    "contrast": "factor around 128: contrast0.3",
    "brightness": "grey levels added: brightness40, brightness-40",
    "inverted": "255 minus every value",
    "cast": "share of a warm colour cast, 0 to 1: cast1",
    "blur": "Gaussian radius in pixels: blur1.5",
    "pixelate": "side of a block in pixels: pixelate4",
    "swap": "neighbouring classes exchange their names",
    "permuted": "every class gets another one's name, seeded: permuted, permuted7",
}


@dataclass(frozen=True)
class World:
    """What the stream looks like for a while.

    Attributes:
        name: as given to `world`, for tables and plots.
        images: uint8 [N, S, S, 3] to the same shape; never changes its argument.
        labels: names to names, one for one.
    """

    name: str
    images: Callable[[Images], Images]
    labels: Callable[[Sequence[str]], list[str]]


def world(name: str, *, classes: Sequence[str] = (), seed: int = 0) -> World:
    """The world of that name: a kind of `KINDS` and, where it takes one, a number.

    `classes` are all labels of the stream; only worlds that rename labels need them.

    Raises:
        BadInput: for an unknown kind, a missing number, or labels to rename without classes.
    """
    found = re.fullmatch(r"([a-z]+)(-?[0-9.]+)?", name)
    kind, number = found.groups() if found else (name, None)
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=3, cutoff=0.3) or list(KINDS)
        raise BadInput(f"no world {name!r}; near: {', '.join(near)}", item="world", value=name)
    if kind in {"swap", "permuted"}:
        return World(name, _same, _renamed(kind, sorted(classes), int(number or seed)))
    if kind in {"clean", "inverted"}:
        if number is not None:
            raise BadInput(f"world {kind!r} takes no number", item="world", value=name)
        return World(name, invert if kind == "inverted" else _same, list)
    try:
        amount = float(number or "")
    except ValueError:
        raise BadInput(f"world {kind!r} takes a number: {KINDS[kind]}", item="world") from None
    return World(name, _pictures(kind, amount, seed), list)


def rotate(images: Images, degrees: float) -> Images:
    """Turn anticlockwise: multiples of 90 exactly, others bilinear over black corners."""
    if degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(images, round(degrees / 90), axes=(1, 2)))
    from PIL import Image

    def one(image: Images) -> Images:
        turned = Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR)
        return np.asarray(turned, np.uint8)

    return _each(images, one)


def add_noise(images: Images, sigma: float, seed: int = 0) -> Images:
    """Add Gaussian noise of standard deviation `sigma` grey levels, clipped to 0 to 255."""

    def one(image: Images) -> Images:
        key = np.array([seed, zlib.crc32(image.tobytes())], np.uint64)
        noise = np.random.Generator(np.random.Philox(key=key)).normal(0.0, sigma, image.shape)
        return _levels(image + noise)

    return _each(images, one)


def change_contrast(images: Images, factor: float) -> Images:
    """Scale the distance to the middle grey 128."""
    return _levels(MIDDLE + (images.astype(np.float32) - MIDDLE) * factor)


def change_brightness(images: Images, levels: float) -> Images:
    """Add `levels` to every value."""
    return _levels(images.astype(np.float32) + levels)


def invert(images: Images) -> Images:
    """The negative of every picture."""
    return np.asarray(255 - images, np.uint8)


def cast(images: Images, share: float) -> Images:
    """Warm light: green and blue fall by `share` of the way to `CAST`."""
    scale = 1.0 - share * (1.0 - np.array(CAST, np.float32))
    return _levels(images.astype(np.float32) * scale)


def blur(images: Images, radius: float) -> Images:
    """Gaussian blur."""
    from PIL import Image, ImageFilter

    soft = ImageFilter.GaussianBlur(radius)
    return _each(images, lambda image: np.asarray(Image.fromarray(image).filter(soft), np.uint8))


def pixelate(images: Images, block: float) -> Images:
    """Each block of `block` x `block` pixels becomes its mean."""
    from PIL import Image

    def one(image: Images) -> Images:
        height, width = image.shape[:2]
        small = max(1, round(width / block)), max(1, round(height / block))
        coarse = Image.fromarray(image).resize(small, Image.Resampling.BOX)
        return np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST), np.uint8)

    return _each(images, one)


def _pictures(kind: str, amount: float, seed: int) -> Callable[[Images], Images]:
    changes: dict[str, Callable[[Images], Images]] = {
        "rotated": lambda images: rotate(images, amount),
        "noise": lambda images: add_noise(images, amount, seed),
        "contrast": lambda images: change_contrast(images, amount),
        "brightness": lambda images: change_brightness(images, amount),
        "cast": lambda images: cast(images, amount),
        "blur": lambda images: blur(images, amount),
        "pixelate": lambda images: pixelate(images, amount),
    }
    return changes[kind]


def _renamed(kind: str, classes: Sequence[str], seed: int) -> Callable[[Sequence[str]], list[str]]:
    if len(classes) < 2:
        raise BadInput(f"world {kind!r} renames labels: give at least two classes", item="classes")
    if kind == "swap":
        pairs = [classes[i : i + 2] for i in range(0, len(classes) - 1, 2)]
        to = {old: new for a, b in pairs for old, new in ((a, b), (b, a))}
    else:
        # A cycle through a shuffled order leaves no class with its own name.
        order = [classes[i] for i in np.random.default_rng(seed).permutation(len(classes))]
        to = dict(zip(order, order[1:] + order[:1], strict=True))
    return lambda labels: [to.get(label, label) for label in labels]


def _same(images: Images) -> Images:
    return images


def _each(images: Images, change: Callable[[Images], Images]) -> Images:
    out = np.empty_like(images)
    for i, image in enumerate(images):
        out[i] = change(image)
    return out


def _levels(values: NDArray[np.floating]) -> Images:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
