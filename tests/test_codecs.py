"""Codecs: what they give back, in how many bytes, and that they go on as they were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from learndrop.features import codecs
from learndrop.features.codecs import Codec
from learndrop.settings.features import CODEC_NAMES

NAMES = [row.name for row in codecs.CODECS]
SHAPES = [(16, 8, 8), (7, 5, 3), (160, 4, 4), (12,), (9, 6)]


def maps(shape: tuple[int, ...], n: int, seed: int = 0) -> Tensor:
    """Maps as behind a ReLU: neighbours in place and channel tell much the same."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, *shape, generator=generator)
    if len(shape) == 3:
        x = nn.functional.avg_pool2d(x, 3, stride=1, padding=1)
        x = torch.cumsum(x, 1) / 2
    return x.relu()


def fitted(name: str, shape: tuple[int, ...]) -> Codec:
    codec = codecs.make(name, shape, image_size=16)
    seed = 1
    while not codec.ready:
        codec.observe(maps(shape, 20, seed := seed + 1))
    return codec


def lost(codec: Codec, x: Tensor) -> float:
    """Share of the maps' variance that is not given back."""
    return float((codec.decode(codec.encode(x)) - x).pow(2).mean() / x.var())


def test_the_setting_names_every_codec_and_each_knows_its_name() -> None:
    assert tuple(NAMES) == CODEC_NAMES
    assert [codecs.make(name, (16, 8, 8), 16).name for name in NAMES] == NAMES


def test_maps_that_a_codec_cannot_take_and_names_that_nobody_knows_are_int8() -> None:
    assert codecs.make("klt", (12,), 16).name == "int8"
    assert codecs.make("of a younger learndrop", (16, 8, 8), 16).name == "int8"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_map_comes_back_in_the_bytes_that_were_said(name: str, shape: tuple[int, ...]) -> None:
    codec, x = fitted(name, shape), maps(shape, 30, seed=99)
    rows = codec.encode(x)
    assert rows.shape == (30, codec.row_bytes) and rows.dtype == torch.uint8
    back = codec.decode(rows)
    assert back.shape == x.shape and back.dtype == torch.float32
    assert lost(codec, x) < {"bf16": 1e-4, "int8": 5e-3, "klt": 0.25}[codec.name]


@pytest.mark.parametrize("name", NAMES)
def test_the_layout_in_memory_does_not_matter(name: str) -> None:
    codec, x = fitted(name, (16, 8, 8)), maps((16, 8, 8), 5)
    assert torch.equal(
        codec.encode(x), codec.encode(x.contiguous(memory_format=torch.channels_last))
    )


def test_the_names_are_in_the_order_of_their_bytes() -> None:
    for shape in SHAPES:
        for size in (4, 16, 64):
            names = codecs.by_bytes(shape, size)
            sizes = [codecs.make(n, shape, size).row_bytes for n in names]
            assert sizes == sorted(set(sizes))
            assert all(s <= 2 * 3 * size**2 for s in sizes)
        assert names[-1] == codecs.EXACT  # of large pictures no map of these shapes is too big


def test_big_maps_take_at_most_twice_the_bytes_of_their_picture() -> None:
    assert codecs.make("klt", (64, 32, 32), image_size=32).row_bytes <= 2 * 3 * 32 * 32


def test_more_bytes_for_an_axis_that_varies_more_lose_less_than_as_many_for_all() -> None:
    shape = (16, 8, 8)
    x = maps(shape, 30, seed=99)
    low, high = x.amin(), x.amax()
    even = ((x - low) / (high - low) * 15).round() / 15 * (high - low) + low
    codec = fitted("klt", shape)
    assert codec.row_bytes <= 16 * 8 * 8 // 2
    assert lost(codec, x) < float((even - x).pow(2).mean() / x.var())


def test_what_lies_outside_of_what_was_seen_is_clipped_and_wraps_nowhere() -> None:
    shape = (4, 4, 4)
    for name in ("int8", "klt"):
        codec, x = fitted(name, shape), maps(shape, 4)
        far, near = (codec.decode(codec.encode(x * factor)) for factor in (1000, 1))
        assert bool((far.flatten(1).sum(1) > near.flatten(1).sum(1)).all())
        assert name == "klt" or bool((far >= near - 0.5).all())


def test_a_channel_that_never_changes_comes_back_as_it_is() -> None:
    x = torch.full((40, 3, 4, 4), 0.25)
    for name in NAMES:
        codec = codecs.make(name, (3, 4, 4), 8)
        for _ in range(10):
            codec.observe(x)
        assert torch.allclose(codec.decode(codec.encode(x)), x, atol=1e-3)


@pytest.mark.parametrize("batches", [1, 9])  # in the middle of learning its scales, and behind it
@pytest.mark.parametrize("name", NAMES)
def test_goes_on_bit_for_bit_from_what_was_saved(name: str, batches: int) -> None:
    shape = (16, 8, 8)
    one, other = codecs.make(name, shape, 16), codecs.make(name, shape, 16)
    for seed in range(batches):
        one.observe(maps(shape, 10, seed))
    other.load({n: t.clone() for n, t in one.tensors().items()})
    seed = batches
    while not one.ready:
        assert not other.ready
        for codec in (one, other):
            codec.observe(maps(shape, 10, seed))
        seed += 1
    x = maps(shape, 6, seed=77)
    assert torch.equal(one.encode(x), other.encode(x))
    assert torch.equal(one.decode(one.encode(x)), other.decode(other.encode(x)))
