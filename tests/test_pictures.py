"""Any picture becomes the network's input in one documented way, or is refused by name."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from learndrop.errors import BadPicture
from learndrop.images.headers import claim
from learndrop.images.pictures import Fit, PictureLimits, array_to_input, to_input

Pixels = NDArray[np.uint8]
SEED = np.random.default_rng(7)


def encoded(picture: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    """A picture file in memory."""
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def raw_png(
    size: tuple[int, int], depth: int, colour: int, rows: list[bytes], **chunks: bytes
) -> bytes:
    """A PNG written chunk by chunk: what Pillow itself would not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + b"".join(chunk(name.encode(), body) for name, body in chunks.items())
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
        + chunk(b"IEND", b"")
    )


def noise(height: int = 40, width: int = 40) -> Pixels:
    return SEED.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind,options", [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_file_of_the_right_size_is_its_pixels(kind: str, options: dict[str, Any]) -> None:
    pixels = noise(32, 32)
    assert np.array_equal(to_input(encoded(pixels, kind, **options), size=32), pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("shape", [(9, 31), (300, 200), (32, 32), (1, 1), (1, 500)])
@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_any_size_becomes_the_square(kind: str, shape: tuple[int, int], fit: Fit) -> None:
    made = to_input(encoded(noise(*shape), kind), size=32, fit=fit)
    assert made.shape == (32, 32, 3) and made.dtype == np.uint8


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_same_picture_as_file_and_as_array_gives_the_same_input(fit: Fit) -> None:
    pixels = noise(120, 75)
    from_array = array_to_input(pixels, size=32, fit=fit)
    assert np.array_equal(from_array, to_input(encoded(pixels, "PNG"), size=32, fit=fit))
    jpeg = encoded(pixels, "JPEG", quality=90)
    as_png = encoded(Image.open(io.BytesIO(jpeg)), "PNG")
    assert np.array_equal(to_input(jpeg, size=32, fit=fit), to_input(as_png, size=32, fit=fit))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_tag_is_applied(kind: str, orientation: int) -> None:
    """A tagged file gives the same input as the same pixels turned by hand."""
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    exif = Image.Exif()
    exif[0x0112] = orientation
    tagged = encoded(noise(48, 64), kind, exif=exif, **options)
    untagged = np.asarray(Image.open(io.BytesIO(tagged)).convert("RGB"))
    by_hand = {
        1: untagged,
        2: untagged[:, ::-1],
        3: untagged[::-1, ::-1],
        4: untagged[::-1],
        5: untagged.transpose(1, 0, 2),
        6: np.rot90(untagged, -1),
        7: np.rot90(untagged, 2).transpose(1, 0, 2),
        8: np.rot90(untagged),
    }[orientation]
    expected = to_input(encoded(np.ascontiguousarray(by_hand), "PNG"), size=32)
    assert np.array_equal(to_input(tagged, size=32), expected)


def test_grey_palette_and_black_and_white_become_three_equal_channels() -> None:
    grey = SEED.integers(0, 256, (32, 32), dtype=np.uint8)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    assert np.array_equal(to_input(encoded(grey, "PNG"), size=32), expected)
    assert np.array_equal(array_to_input(grey, size=32), expected)
    palette = Image.fromarray(grey).convert("P")
    assert np.array_equal(to_input(encoded(palette, "PNG"), size=32), expected)
    bits = Image.fromarray((grey > 127).astype(np.uint8) * 255).convert("1")
    assert set(np.unique(to_input(encoded(bits, "PNG"), size=32))) == {0, 255}


def test_sixteen_bits_keep_their_top_eight() -> None:
    wide = SEED.integers(0, 65536, (32, 32), dtype=np.uint16)
    made = to_input(encoded(Image.fromarray(wide), "PNG"), size=32)
    assert np.array_equal(made[:, :, 0], (wide >> 8).astype(np.uint8))
    rows = [struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0, 0x80FF)] * 2
    assert to_input(raw_png((2, 2), 16, 2, rows), size=2)[0].tolist() == [
        [0x12, 0x56, 0x9A],
        [0xFF, 0, 0x80],
    ]


def test_cmyk_jpeg_is_the_rgb_picture_that_it_shows() -> None:
    flat = np.full((32, 32, 3), (200, 30, 90), np.uint8)
    cmyk = encoded(Image.fromarray(flat).convert("CMYK"), "JPEG", quality=100)
    assert np.abs(to_input(cmyk, size=32).astype(int) - flat).max() <= 3


def test_transparency_lies_over_black() -> None:
    colour = np.full((32, 32, 4), (100, 200, 50, 128), np.uint8)
    colour[:16, :, 3] = 0
    made = to_input(encoded(colour, "PNG"), size=32)
    assert not made[:16].any()
    assert np.abs(made[16:].astype(int) - [50, 100, 25]).max() <= 1
    as_webp = encoded(colour, "WEBP", lossless=True, exact=True)
    assert np.array_equal(to_input(as_webp, size=32), made)


@pytest.mark.parametrize(
    "depth,row,key", [(1, b"\x50", 1), (2, b"\x1b", 1), (4, b"\x01\x21", 1), (8, b"\0\1\2\1", 1)]
)
def test_a_transparent_grey_is_black_at_every_depth(depth: int, row: bytes, key: int) -> None:
    clear = raw_png((4, 4), depth, 0, [row] * 4, tRNS=struct.pack(">H", key))
    opaque = raw_png((4, 4), depth, 0, [row] * 4)
    with_key, without = to_input(clear, size=4), to_input(opaque, size=4)
    shown = key * 255 // (2**depth - 1)
    assert np.array_equal(with_key, np.where(without == shown, 0, without))
    assert (without == shown).any()


def test_a_transparent_colour_of_sixteen_bits_is_black() -> None:
    rows = [struct.pack(">6H", 0x0102, 0x0304, 0x0506, 0x0203, 0x0304, 0x0506)] * 2
    key = struct.pack(">3H", 0x0102, 0x0304, 0x0506)
    made = to_input(raw_png((2, 2), 16, 2, rows, tRNS=key), size=2)
    assert made[0].tolist() == [[0, 0, 0], [2, 3, 5]]
    grey = raw_png((2, 2), 16, 0, [struct.pack(">2H", 0x4001, 0x4002)] * 2, tRNS=b"\x40\x01")
    assert to_input(grey, size=2)[0, :, 0].tolist() == [0, 0x40]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    first, second = Image.fromarray(noise()), Image.fromarray(noise())
    options = {"lossless": True} if kind == "WEBP" else {}
    moving = encoded(first, kind, save_all=True, append_images=[second], **options)
    assert np.array_equal(to_input(moving, size=40), np.asarray(first))


def test_of_a_two_view_jpeg_the_first_view_counts() -> None:
    first = Image.fromarray(noise())
    two = encoded(first, "MPO", save_all=True, append_images=[Image.fromarray(noise())])
    assert np.array_equal(to_input(two, size=40), to_input(encoded(first, "JPEG"), size=40))


def test_crop_takes_the_centre_and_pad_keeps_everything() -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 255
    assert to_input(encoded(wide, "PNG"), size=32).min() == 255
    padded = array_to_input(wide, size=33, fit="pad")
    assert not padded[:11].any() and not padded[-11:].any() and padded[16, 16, 0] == 255


def test_an_array_of_the_right_size_is_not_copied() -> None:
    pixels = noise(32, 32)
    assert array_to_input(pixels, size=32) is pixels


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused(array: Any) -> None:
    with pytest.raises(BadPicture):
        array_to_input(array, size=4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_cut_anywhere_is_refused_while_pixels_are_missing(kind: str) -> None:
    whole = encoded(noise(), kind)
    most = len(whole) - (20 if kind == "PNG" else 0)  # a PNG's pixels end 20 bytes before its end
    for length in range(0, most, 7):
        with pytest.raises(BadPicture):
            to_input(whole[:length], size=32)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xd9", encoded(noise(), "GIF"),
     encoded(noise(), "BMP"), encoded(noise(), "TIFF"), b"%PDF-1.4", b"RIFF\0\0\0\0WEBPVP8X"],
)  # fmt: skip
def test_what_is_no_picture_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(BadPicture):
        to_input(data, size=32)


def _claiming(kind: str, side: int) -> bytes:
    data = bytearray(encoded(noise(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "PNG":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    else:
        data[21:25] = struct.pack("<I", (side - 1) | (side - 1) << 14)
    return bytes(data)


@pytest.mark.parametrize("kind,side", [("PNG", 30_000), ("JPEG", 30_000), ("WEBP", 16_000)])
def test_a_header_that_claims_too_much_is_refused_with_limit_and_value(
    kind: str, side: int
) -> None:
    with pytest.raises(BadPicture) as refused:
        to_input(_claiming(kind, side), size=32)
    assert (refused.value.limit, refused.value.value) == (16_000_000, side * side)


def test_too_many_bytes_are_refused_with_limit_and_value() -> None:
    with pytest.raises(BadPicture) as refused:
        to_input(b"x" * 101, size=32, limits=PictureLimits(max_bytes=100))
    assert (refused.value.limit, refused.value.value) == (100, 101)


def test_a_progressive_jpeg_with_endless_passes_is_refused() -> None:
    whole = encoded(noise(), "JPEG", progressive=True)
    scan = whole[whole.rindex(b"\xff\xda") : -2]
    assert claim(whole) is not None
    assert claim(whole[:-2] + scan * 200 + whole[-2:]) is None


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on broken EXIF blocks
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_damaged_bytes_give_a_picture_or_a_refusal_and_nothing_else(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole, chance = encoded(noise(24, 24), kind, exif=exif), random.Random(3)
    for _ in range(1500):
        bad = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(min(len(bad), 300))] = chance.randrange(256)
        try:
            assert to_input(bytes(bad), size=16).shape == (16, 16, 3)
        except BadPicture:
            pass


def test_a_files_name_in_place_of_the_file_is_told_as_such() -> None:
    with pytest.raises(BadPicture, match="images=@ comes before a file's name"):
        to_input(b"photos/Katze 1.JPG", size=32)
    with pytest.raises(BadPicture, match="WebP picture$"):
        to_input(b"hello.txt", size=32)
