"""Labelled images from where people have them, as arrays; no torch.

A source is one of

- `digits`: the 1,797 handwritten digits of 8 x 8 pixels that scikit-learn ships, scaled up;
- a file `.npz` with `images` uint8 [N, H, W, 3] or [N, H, W] and `labels` [N], numbers or names
  (numbers are turned into names when there is `names`);
- a folder of class folders that hold JPEG, PNG or WebP files;
- `torchvision:NAME:ROOT` or `torchvision:NAME:ROOT:SPLIT`, a torchvision data set that is already
  on disk (nothing is downloaded; this source alone imports torchvision, and torch with it).

Every picture goes through `pictures`, as it would in the service. The order is
shuffled, the same for the same seed, because many sets on disk are sorted by class.
"""

from __future__ import annotations

import difflib
import inspect
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learndrop.errors import BadInput
from learndrop.images.pictures import Fit, array_to_input, to_input
from learndrop.installed import file_of

Images = NDArray[np.uint8]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Data:
    """A labelled set in memory.

    Attributes:
        images: uint8 [N, size, size, 3], RGB.
        labels: N class names.
        name: for tables and plots.
        skipped: one line for each file that could not be read.
    """

    images: Images
    labels: list[str]
    name: str
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> list[str]:
        """All labels that occur, sorted."""
        return sorted(set(self.labels))

    def split(self, share: float) -> tuple[Data, Data]:
        """The first part and the last `share` of it, held out."""
        cut = len(self) - max(1, round(len(self) * share))
        return (
            Data(self.images[:cut], self.labels[:cut], self.name),
            Data(self.images[cut:], self.labels[cut:], self.name),
        )


def load(
    source: str,
    size: int,
    limit: int | None = None,
    *,
    seed: int = 0,
    fit: Fit = "crop",
    classes: int = 2,
) -> Data:
    """Read `limit` images (all when None) of a source as squares of `size` pixels.

    Args:
        source: as the head of this file has it.
        size: side of the squares.
        limit: most images.
        seed: of their order.
        fit: how a picture that is not square becomes one.
        classes: fewest labels that there must be.

    Raises:
        BadInput: naming the source, what is wrong with it, and what would be right.
    """
    if source == "digits":
        data = _digits(size, limit, seed)  # which are square
    elif source.startswith("torchvision:"):
        data = _torchvision(source, size, fit, limit, seed)
    elif source.endswith(".npz"):
        data = _npz(Path(source), size, fit, limit, seed)
    elif Path(source).is_dir():
        data = _folder(Path(source), size, fit, limit, seed)
    else:
        raise BadInput(
            f"no data at {source!r}: give digits, a file .npz, a folder of class folders, or "
            "torchvision:NAME:ROOT",
            item="data",
            value=source,
        )
    if (found := len(data.classes)) < classes:
        told = f"{found} {'class' if found == 1 else 'classes'}, at least {classes} needed"
        raise BadInput(f"{source}: {told}", item="data", limit=classes, value=found)
    return data


def endless(
    data: Data,
    batch: int,
    *,
    seed: int = 0,
    shift: int = 0,
    noise: float = 0.0,
    first_as_is: bool = True,
) -> Iterator[tuple[Images, list[str]]]:
    """Batches for ever: the whole set in a new order each pass.

    The first pass is the set as it is. From the second on, each picture is moved by up to `shift`
    pixels either way (edges repeated) and gets Gaussian noise of `noise` grey levels, so that a
    small set can feed a long stream without exact repeats. It stays the same set of originals.
    Without `first_as_is` the first pass is treated alike, so that the second is no drift.
    """
    rng = np.random.default_rng(seed)
    orders = _orders(len(data), rng)
    order: NDArray[np.intp] = np.arange(0)
    fresh = first_as_is
    while True:
        taken: list[Images] = []
        labels: list[str] = []
        while len(labels) < batch:
            if not len(order):
                order = next(orders)
                first, fresh = fresh, False
            index, order = order[: batch - len(labels)], order[batch - len(labels) :]
            picked = data.images[index]
            taken.append(picked if first else _jittered(picked, rng, shift, noise))
            labels += [data.labels[i] for i in index]
        yield np.concatenate(taken), labels


def unplayed(data: Data, played: int, seed: int) -> NDArray[np.intp]:
    """Places of the pictures that `endless` shows after the first `played` ones of its first pass,
    in the order in which it would."""
    return next(_orders(len(data), np.random.default_rng(seed)))[played:]


def _orders(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Places in the order of each pass, drawn when it is asked for."""
    while True:
        yield rng.permutation(count)


def _jittered(images: Images, rng: np.random.Generator, shift: int, noise: float) -> Images:
    out = images.astype(np.float32)
    if shift:
        height, width = images.shape[1:3]
        padded = np.pad(out, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode="edge")
        moves = rng.integers(0, 2 * shift + 1, (len(images), 2))
        for i, (dy, dx) in enumerate(moves):
            out[i] = padded[i, dy : dy + height, dx : dx + width]
    if noise:
        out += rng.normal(0.0, noise, out.shape)
    return np.asarray(np.clip(np.rint(out), 0, 255), np.uint8)


def _picked(count: int, limit: int | None, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).permutation(count)[:limit]


def _arrays(images: Sequence[Images] | Images, size: int, fit: Fit = "crop") -> Images:
    if not len(images):
        return np.empty((0, size, size, 3), np.uint8)
    return np.stack([array_to_input(image, size=size, fit=fit) for image in images])


def _digits(size: int, limit: int | None, seed: int) -> Data:
    raw, labels = _raw_digits()
    pick = _picked(len(labels), limit, seed)
    grey = np.rint(raw[pick] * (255 / 16)).astype(np.uint8)
    colour = np.repeat(grey[..., None], 3, axis=3)
    return Data(_arrays(colour, size), [str(n) for n in labels[pick]], "digits")


def _raw_digits() -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """float64 [N, 8, 8] of 0 to 16, and the digits."""
    if file := file_of("sklearn", "datasets", "data", "digits.csv.gz"):
        rows = np.loadtxt(file, delimiter=",")  # importing scikit-learn would take 1 s
        return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.intp)
    try:
        from sklearn.datasets import load_digits
    except ImportError as exc:
        raise BadInput("digits come with scikit-learn: pip install scikit-learn") from exc
    found = load_digits()
    return found.images, found.target


def _read_npz(path: Path) -> tuple[Any, Any, Any]:
    """Its images, labels, and names (None if there are none)."""
    try:
        if path.is_file() and not zipfile.is_zipfile(path):  # numpy would speak of pickles
            raise BadInput(f"{path}: not a readable .npz (a zip of arrays)", item="data")
        # Opened here: np.load leaves its own handle open when the archive is damaged.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            missing = {"images", "labels"} - set(file.files)
            if missing:
                raise BadInput(f"{path}: no array {min(missing)!r}, has {', '.join(file.files)}")
            names = file["names"] if "names" in file.files else None
            return file["images"], file["labels"], names
    except FileNotFoundError as exc:
        raise BadInput(f"{path}: there is no such file", item="data") from exc
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as exc:
        told = str(exc)
        if "allow_pickle" in told:
            told = "an array of Python objects, which are never read: save numbers and texts"
        raise BadInput(f"{path}: not a readable .npz ({told})", item="data") from exc


def _npz(path: Path, size: int, fit: Fit, limit: int | None, seed: int) -> Data:
    images, labels, names = _read_npz(path)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (3,)):
        raise BadInput(
            f"{path}: images are {images.dtype} {list(images.shape)}, "
            "expected uint8 [N, H, W, 3] or [N, H, W]",
            item="images",
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iuU":
        raise BadInput(
            f"{path}: labels are {labels.dtype} {list(labels.shape)}, expected "
            f"{len(images)} whole numbers or names",
            item="labels",
        )
    if names is not None and labels.dtype.kind != "U":
        if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
            raise BadInput(f"{path}: label {labels.max()} with {len(names)} names", item="names")
        labels = names[labels]
    pick = _picked(len(images), limit, seed)
    chosen = images[pick]
    if chosen.ndim == 3:
        chosen = np.repeat(chosen[..., None], 3, axis=3)
    return Data(_arrays(chosen, size, fit), [str(label) for label in labels[pick]], path.stem)


def _folder(root: Path, size: int, fit: Fit, limit: int | None, seed: int) -> Data:
    files = sorted(p for p in root.glob("*/*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise BadInput(
            f"{root}: no class folders with .jpg, .png or .webp files (expected {root}/cat/1.jpg)",
            item="data",
            value=str(root),
        )
    images: list[Images] = []
    labels: list[str] = []
    skipped: list[str] = []
    for i in _picked(len(files), None, seed):
        if len(labels) == limit:
            break
        try:
            images.append(to_input(files[i].read_bytes(), size=size, fit=fit))
            labels.append(files[i].parent.name)
        except (BadInput, OSError) as exc:
            skipped.append(f"{files[i]}: {exc}")
    if not images:
        raise BadInput(f"{root}: none of {len(files)} files is a picture; {skipped[0]}")
    return Data(np.stack(images), labels, root.name, tuple(skipped))


def _torchvision(source: str, size: int, fit: Fit, limit: int | None, seed: int) -> Data:
    parts = source.split(":")
    if len(parts) not in (3, 4) or not all(parts):
        raise BadInput(
            f"{source!r}: write torchvision:NAME:ROOT or torchvision:NAME:ROOT:SPLIT", item="data"
        )
    items = _torchvision_set(*parts[1:])
    names = getattr(items, "classes", None)
    pick = _picked(len(items), limit, seed)
    images: list[Images] = []
    labels: list[str] = []
    for i in pick:
        picture, target = items[int(i)]
        try:
            number = int(target)
        except (TypeError, ValueError) as exc:
            raise BadInput(f"{parts[1]} has no single class for an image", item="data") from exc
        pixels = np.asarray(picture.convert("RGB"), np.uint8)
        images.append(array_to_input(pixels, size=size, fit=fit))
        labels.append(str(names[number]) if names and number < len(names) else str(number))
    return Data(_arrays(images, size), labels, parts[1])


def _torchvision_set(name: str, root: str, split: str = "train") -> Any:
    try:
        from torchvision import datasets
    except ImportError as exc:
        raise BadInput("torchvision is not installed: pip install torchvision") from exc
    kind: Any = getattr(datasets, name, None)
    if not inspect.isclass(kind):
        near = difflib.get_close_matches(name, datasets.__all__, n=3, cutoff=0.3)
        raise BadInput(f"torchvision has no data set {name!r}; near: {', '.join(near)}")
    make: Callable[..., Any] = kind
    takes = inspect.signature(kind).parameters
    try:
        if "train" in takes:
            return make(root, train=split == "train")
        return make(root, split=split) if "split" in takes else make(root)
    except (RuntimeError, OSError, ValueError, TypeError, zipfile.BadZipFile) as exc:
        reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
        raise BadInput(
            f"torchvision's {name} at {root}: {reason} (nothing is downloaded here)", item="data"
        ) from exc
