"""Data sets: every source gives the same kind of arrays, and says in one line why it cannot."""

from __future__ import annotations

import gzip
import pickle
import struct
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from learndrop.errors import BadInput
from learndrop.images.datasets import Data, endless, load
from learndrop.images.worlds import Images


def some(n: int, side: int = 12) -> Images:
    return np.random.default_rng(n).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def write_folder(root: Path, per_class: int = 3) -> None:
    for number, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            picture = Image.new("RGB", (20, 10), (100 * number, i, 0))
            picture.save(root / name / f"{i}.png")


def write_idx(root: Path) -> None:
    """Fashion-MNIST as torchvision expects it on disk: four images of two classes."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.arange(4 * 28 * 28, dtype=np.uint32).astype(np.uint8).tobytes()
    images = struct.pack(">IIII", 2051, 4, 28, 28) + pixels
    labels = struct.pack(">II", 2049, 4) + bytes([0, 1, 0, 1])
    for part in ("train", "t10k"):
        for kind, data in ((f"{part}-images-idx3", images), (f"{part}-labels-idx1", labels)):
            (raw / f"{kind}-ubyte").write_bytes(data)
            (raw / f"{kind}-ubyte.gz").write_bytes(gzip.compress(data))


def test_digits_are_all_there_in_colour_and_scaled_up() -> None:
    data = load("digits", 16)
    assert data.images.shape == (1797, 16, 16, 3)
    assert data.images.dtype == np.uint8
    assert data.images.max() == 255
    assert data.classes == [str(n) for n in range(10)]
    assert np.array_equal(data.images[..., 0], data.images[..., 2])


def test_a_limit_takes_a_seeded_mixture() -> None:
    first, again, other = (load("digits", 8, 50, seed=s) for s in (0, 0, 1))
    assert len(first) == 50
    assert first.labels == again.labels
    assert np.array_equal(first.images, again.images)
    assert first.labels != other.labels
    assert len(first.classes) > 5


def test_npz_keeps_each_image_with_its_label(tmp_path: Path) -> None:
    images = some(20)
    labels = np.array(["ape", "bee"] * 10)
    np.savez(tmp_path / "my set.npz", images=images, labels=labels)
    data = load(str(tmp_path / "my set.npz"), 12)
    assert data.name == "my set"
    for image, label in zip(data.images, data.labels, strict=True):
        at = next(i for i, original in enumerate(images) if np.array_equal(original, image))
        assert labels[at] == label


def test_npz_grey_with_numbers_and_names(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz",
        images=some(4)[..., 0],
        labels=np.array([0, 1, 0, 1]),
        names=np.array(["ape", "bee"]),
    )
    data = load(str(tmp_path / "a.npz"), 6)
    assert data.images.shape == (4, 6, 6, 3)
    assert data.classes == ["ape", "bee"]


def test_folder_of_class_folders(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets")
    (tmp_path / "pets" / "cat" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("not an image")
    data = load(str(tmp_path / "pets"), 8)
    assert data.images.shape == (6, 8, 8, 3)
    assert data.name == "pets"
    red = {label: image[0, 0, 0] for label, image in zip(data.labels, data.images, strict=True)}
    assert red == {"cat": 0, "dog": 100}
    assert len(data.skipped) == 1
    assert "broken.jpg: not a JPEG" in data.skipped[0]


def test_a_folder_is_fitted_as_is_said_and_may_hold_one_class(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    wide = np.full((20, 40, 3), 255, np.uint8)
    Image.fromarray(wide).save(tmp_path / "cat" / "wide.png")
    padded = load(str(tmp_path), 8, fit="pad", classes=1)
    assert padded.labels == ["cat"] and (padded.images[0, 0] == 0).all()
    assert (load(str(tmp_path), 8, classes=1).images == 255).all()
    with pytest.raises(BadInput, match="1 class, at least 2"):
        load(str(tmp_path), 8)


def test_torchvision_set_that_is_on_disk(tmp_path: Path) -> None:
    write_idx(tmp_path)
    data = load(f"torchvision:FashionMNIST:{tmp_path}", 28)
    assert data.images.shape == (4, 28, 28, 3)
    assert data.classes == ["T-shirt/top", "Trouser"]
    assert len(load(f"torchvision:FashionMNIST:{tmp_path}:test", 28)) == 4


def bad_npz(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "bad.npz", **arrays)
    return str(folder / "bad.npz")


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"images": some(2)}, "no array 'labels'"),
        ({"images": some(2), "labels": np.arange(3)}, r"labels are int64 \[3\], expected 2"),
        ({"images": some(2), "labels": np.array([0.5, 1])}, "labels are float64"),
        ({"images": some(2) / 255, "labels": np.arange(2)}, "images are float64"),
        ({"images": some(2)[..., :2], "labels": np.arange(2)}, r"\[2, 12, 12, 2\]"),
        ({"images": some(2), "labels": np.zeros(2, int)}, "1 class, at least 2"),
        (
            {"images": some(2), "labels": np.array([0, None])},
            "Python objects, which are never read",
        ),
        ({"images": some(2), "labels": np.arange(2), "names": np.array(["a"])}, "label 1 with 1"),
        ({"images": some(2)[:0], "labels": np.arange(0)}, "0 class"),
    ],
)
def test_npz_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, arrays: dict[str, object], told: str
) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        load(bad_npz(tmp_path, **arrays), 12)
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    whole = Path(bad_npz(tmp_path, images=some(9), labels=np.arange(9))).read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps({"images": [1], "labels": [2]}))
    np.save(tmp_path / "alone.npy", some(2))
    (tmp_path / "alone.npy").rename(tmp_path / "alone.npz")
    reasons = dict.fromkeys(("half", "empty", "pickled", "alone"), "not a readable")
    for name, told in (reasons | {"no": "no such"}).items():
        with pytest.raises(BadInput, match=told) as caught:
            load(str(tmp_path / f"{name}.npz"), 8)
        assert "allow_pickle" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere", "no data at 'nowhere'"),
        ("torchvision:FashionMNIST", "write torchvision:NAME:ROOT"),
        ("torchvision:FashonMNIST:/nowhere", "near: FashionMNIST"),
        ("torchvision:FashionMNIST:/nowhere", "Dataset not found"),
        ("torchvision:CIFAR10:/nowhere", "nothing is downloaded"),
        ("torchvision:SVHN:/nowhere:sideways", "SVHN at /nowhere"),
    ],
)
def test_a_source_that_is_none_is_told_in_one_line(source: str, told: str) -> None:
    with pytest.raises(BadInput, match=told) as caught:
        load(source, 8)
    assert "\n" not in str(caught.value)


def test_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no class folders"):
        load(str(tmp_path), 8)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(b"x")
    with pytest.raises(BadInput, match="none of 1 files is a picture"):
        load(str(tmp_path), 8)


def test_endless_first_passes_over_the_set_as_it_is() -> None:
    data = Data(some(10), [str(i) for i in range(10)], "ten")
    batches = list(islice(endless(data, 4, seed=1, shift=2, noise=3.0), 5))
    images = np.concatenate([images for images, _ in batches])
    labels = [label for _, names in batches for label in names]
    assert sorted(labels[:10]) == sorted(labels[10:]) == data.labels
    assert labels[:10] != labels[10:]
    for i in range(10):
        assert np.array_equal(images[i], data.images[int(labels[i])])
    again = images[10:]
    assert not any(
        np.array_equal(a, data.images[int(n)]) for a, n in zip(again, labels[10:], strict=True)
    )


def test_endless_shifts_whole_pixels_and_is_seeded() -> None:
    data = Data(some(6), [str(i) for i in range(6)], "six")
    first, second = (
        np.concatenate([i for i, _ in islice(endless(data, 6, seed=2, shift=1), 2)])
        for _ in range(2)
    )
    assert np.array_equal(first, second)
    moved = first[6:]
    for image in moved:  # what is inside was inside an original, moved by at most one pixel
        assert any(
            np.array_equal(image[1:-1, 1:-1], original[1 + dy : 11 + dy, 1 + dx : 11 + dx])
            for original in data.images
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        )


def test_split_holds_out_the_end() -> None:
    data = Data(some(10), [str(i) for i in range(10)], "ten")
    kept, held = data.split(0.2)
    assert (len(kept), held.labels) == (8, ["8", "9"])


def test_digits_come_without_torch() -> None:
    code = (
        "import sys; from learndrop.images import worlds;"
        "from learndrop.images.datasets import load;"
        "load('digits', 8, 20); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
