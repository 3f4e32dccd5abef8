"""What a user's own data set gives, one labelled picture after the other.

Pictures are PIL images, numpy arrays (uint8 [H, W, 3] or [H, W]) or tensors (uint8 or float from 0
to 1, [3, H, W], [1, H, W] or [H, W]); labels are names or whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from learndrop.errors import BadInput, BadPicture
from learndrop.images.pictures import Fit, array_to_input, image_to_input

Label = str | int
Order = Literal["given", "shuffled"]
Source = Iterable[Any] | Dataset[Any]
T = TypeVar("T")
Item = tuple[NDArray[np.uint8], Label]


def items(
    data: Source, *, size: int, fit: Fit, order: Order = "given", seed: int = 0
) -> Iterator[Item]:
    """Each picture as uint8 [size, size, 3], with its label.

    Args:
        data: a torch Dataset, a sequence or an iterator of (picture, label), or a DataLoader that
            gives them in batches.
        size: side of the network's input, pixels.
        fit: how a picture that is not square becomes one.
        order: `shuffled` needs a data set of known length.
        seed: of the shuffling.

    Raises:
        BadInput: naming the item, if it is no such pair or cannot be shuffled.
    """
    for number, pair in enumerate(_pairs(data, order, seed)):
        try:
            given, label = pair
        except (TypeError, ValueError) as exc:
            raise BadInput(
                f"item {number} is no pair of picture and label", item=f"data[{number}]"
            ) from exc
        try:
            yield picture(given, size=size, fit=fit), plain_label(label)
        except BadInput as exc:
            raise BadInput(f"item {number}: {exc}", item=f"data[{number}]") from exc


def chunks(source: Iterable[T], size: int) -> Iterator[list[T]]:
    """`size` at a time; the last may be fewer.

    >>> list(chunks("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    left = iter(source)
    while part := list(islice(left, size)):
        yield part


def picture(given: Any, *, size: int, fit: Fit) -> NDArray[np.uint8]:
    """One picture as the network's input, uint8 [size, size, 3].

    Raises:
        BadPicture: if it is none of the kinds that the head of this file names.
    """
    if isinstance(given, Image.Image):
        return image_to_input(given, size=size, fit=fit)
    if isinstance(given, torch.Tensor):
        return array_to_input(_pixels(given), size=size, fit=fit)
    if isinstance(given, np.ndarray):
        return array_to_input(given, size=size, fit=fit)
    raise BadPicture(f"a picture is a PIL image, an array or a tensor, not {type(given).__name__}")


def plain_label(label: Any) -> Label:
    """A name, or a whole number as Python has it.

    >>> plain_label("cat"), plain_label(torch.tensor(3)), plain_label(np.int64(4))
    ('cat', 3, 4)
    """
    if isinstance(label, torch.Tensor | np.generic | np.ndarray) and np.prod(label.shape) == 1:
        label = label.item()
    if isinstance(label, str | int) and not isinstance(label, bool) and label != "":
        return label
    raise BadInput(f"a label is a name or a whole number, not {label!r}")


def _pairs(data: Source, order: Order, seed: int) -> Iterator[Any]:
    source: Any = data
    if order not in get_args(Order):
        raise BadInput(f"order {order!r} is none of {get_args(Order)}", item="order", value=order)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        places = np.arange(len(source))
        if order == "shuffled":
            np.random.default_rng(seed).shuffle(places)
        yield from (source[int(i)] for i in places)
        return
    if order == "shuffled":
        raise BadInput("only a data set of known length can be shuffled", item="order")
    for item in many(source):
        yield from _apart(item)


def many(given: Any) -> Iterator[Any]:
    """Each of several.

    Raises:
        BadInput: if it is one thing alone: the rows of one picture would pass for grey pictures.
    """
    colours = 0 if isinstance(given, torch.Tensor) else -1  # where a picture of that kind has them
    alone = isinstance(given, np.ndarray | torch.Tensor) and (
        given.ndim < 3 or (given.ndim == 3 and given.shape[colours] == 3)
    )
    if alone or not hasattr(given, "__iter__"):
        raise BadInput(
            f"a {type(given).__name__} alone: give a list, or what can be iterated",
            item="data",
            value=type(given).__name__,
        )
    return iter(given)


def _apart(item: Any) -> Iterator[Any]:
    """The pairs of a batch as a DataLoader gives it, or the pair itself."""
    batch = isinstance(item, tuple | list) and len(item) == 2 and _is_batch(*item)
    yield from zip(*item, strict=True) if batch else (item,)


def _is_batch(pictures: Any, labels: Any) -> bool:
    many = isinstance(labels, Sequence) and not isinstance(labels, str)
    return getattr(pictures, "ndim", 0) == 4 and (many or getattr(labels, "ndim", 0) == 1)


def _pixels(given: torch.Tensor) -> NDArray[np.uint8]:
    if given.ndim not in (2, 3) or (given.ndim == 3 and given.shape[0] not in (1, 3)):
        raise BadPicture(f"a tensor of {list(given.shape)}, expected [3, height, width]")
    x = given.detach().cpu()
    if x.is_floating_point():
        if not bool(((x >= 0) & (x <= 1)).all()):
            raise BadPicture(
                "float pixels are from 0 to 1 and not normalised: the network does that"
                " (settings pixel_mean, pixel_std)"
            )
        x = (x * 255).round().to(torch.uint8)
    if x.dtype != torch.uint8:
        raise BadPicture(f"pixels of {x.dtype}, expected uint8 or float from 0 to 1")
    x = x[0] if x.shape[0] == 1 and x.ndim == 3 else x
    return np.ascontiguousarray((x.permute(1, 2, 0) if x.ndim == 3 else x).numpy())
