"""Worlds: exact where they can be, seeded where they are random, and blind to batch borders."""

from __future__ import annotations

import numpy as np
import pytest

from learndrop.errors import BadInput
from learndrop.images import worlds
from learndrop.images.worlds import Images, world

CLASSES = ["ape", "bee", "cat", "dog", "elk"]
PICTURES = [
    "clean",
    "rotated90",
    "rotated30",
    "noise40",
    "contrast0.3",
    "brightness-40",
    "inverted",
    "cast1",
    "blur1.5",
    "pixelate4",
]


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_keep_shape_and_type_and_the_argument_stays(name: str, images: Images) -> None:
    before = images.copy()
    out = world(name).images(images)
    assert out.shape == images.shape
    assert out.dtype == np.uint8
    assert np.array_equal(images, before)
    assert name == "clean" or not np.array_equal(out, images)


@pytest.mark.parametrize("name", PICTURES)
def test_a_batch_cut_in_two_gives_the_same_pictures(name: str, images: Images) -> None:
    change = world(name, seed=3).images
    whole = change(images)
    assert np.array_equal(whole, np.concatenate([change(images[:2]), change(images[2:])]))


@pytest.mark.parametrize("name", PICTURES)
def test_picture_worlds_leave_labels_alone(name: str) -> None:
    assert world(name).labels(["dog", "cat"]) == ["dog", "cat"]


def test_rotated_90_moves_every_pixel_to_its_place(images: Images) -> None:
    out = world("rotated90").images(images)
    assert np.array_equal(out[:, 0], images[:, :, -1])  # the right edge is the top now
    back = images
    for _ in range(4):
        back = worlds.rotate(back, 90)
    assert np.array_equal(back, images)


def test_rotated_by_an_angle_keeps_the_middle_and_blackens_corners() -> None:
    white = np.full((1, 33, 33, 3), 255, np.uint8)
    out = worlds.rotate(white, 45)
    assert (out[0, 16, 16] == 255).all()
    assert (out[0, 0, 0] == 0).all()


def test_inverted_twice_is_clean(images: Images) -> None:
    assert np.array_equal(worlds.invert(worlds.invert(images)), images)
    assert np.array_equal(world("inverted").images(images), 255 - images)


def test_contrast_pulls_towards_128_exactly() -> None:
    image = np.array([0, 28, 128, 228, 255], np.uint8).reshape(1, 5, 1, 1).repeat(3, 3)
    out = world("contrast0.3").images(image)
    assert out[0, :, 0, 0].tolist() == [90, 98, 128, 158, 166]


def test_brightness_adds_and_clips() -> None:
    image = np.array([0, 100, 250], np.uint8).reshape(1, 3, 1, 1).repeat(3, 3)
    assert world("brightness40").images(image)[0, :, 0, 0].tolist() == [40, 140, 255]
    assert world("brightness-40").images(image)[0, :, 0, 0].tolist() == [0, 60, 210]


def test_cast_scales_the_colours_and_leaves_red() -> None:
    grey = np.full((1, 2, 2, 3), 200, np.uint8)
    assert world("cast1").images(grey)[0, 0, 0].tolist() == [200, 160, 100]
    assert world("cast0").images(grey)[0, 0, 0].tolist() == [200, 200, 200]


def test_noise_has_the_asked_strength() -> None:
    grey = np.full((1, 64, 64, 3), 128, np.uint8)
    noise = world("noise20").images(grey).astype(float) - 128
    assert abs(noise.std() - 20) < 0.6
    assert abs(noise.mean()) < 0.6


def test_noise_is_seeded(images: Images) -> None:
    first = world("noise40", seed=1).images(images)
    assert np.array_equal(first, world("noise40", seed=1).images(images))
    assert not np.array_equal(first, world("noise40", seed=2).images(images))


def test_blur_spreads_a_point() -> None:
    point = np.zeros((1, 9, 9, 3), np.uint8)
    point[0, 4, 4] = 255
    out = world("blur1").images(point)
    assert out[0, 4, 4, 0] < 255
    assert out[0, 4, 5, 0] > 0


def test_pixelate_gives_blocks_of_their_mean(images: Images) -> None:
    out = world("pixelate4").images(images)
    assert (out[:, :4, :4] == out[:, :1, :1]).all()
    mean = images[0, :4, :4].astype(float).mean(axis=(0, 1))
    assert np.abs(out[0, 0, 0] - mean).max() <= 1


def test_swap_exchanges_neighbours_and_leaves_an_odd_one() -> None:
    swap = world("swap", classes=CLASSES).labels
    assert swap(CLASSES) == ["bee", "ape", "dog", "cat", "elk"]
    assert swap(swap(CLASSES)) == CLASSES


@pytest.mark.parametrize("seed", range(5))
def test_permuted_gives_every_class_another_name(seed: int) -> None:
    renamed = world("permuted", classes=CLASSES, seed=seed).labels(CLASSES)
    assert sorted(renamed) == CLASSES
    assert all(a != b for a, b in zip(renamed, CLASSES, strict=True))
    assert renamed == world(f"permuted{seed}", classes=CLASSES[::-1]).labels(CLASSES)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("foggy9", "no world 'foggy9'"),
        ("nois40", "near: noise"),
        ("noise", "takes a number"),
        ("clean3", "takes no number"),
        ("contrast1.2.3", "takes a number"),
        ("swap", "at least two classes"),
    ],
)
def test_a_world_that_is_none_is_told_in_one_line(name: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        world(name)
