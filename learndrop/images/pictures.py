"""The one function that makes the network's input of any picture, for samples and predictions.

Two files that show the same picture give the same input. What is done, in this order:

1. JPEG, PNG or WebP by its first bytes; nothing else reaches a decoder. Size by its header.
2. Decoded whole (never at reduced size: the same picture as JPEG and as PNG must agree). Of an
   animation the first frame, of a phone's two-view JPEG the first view. A plain JPEG goes through
   simplejpeg, four times as fast as Pillow around the same libjpeg-turbo, bit for bit the same;
   what it refuses is for Pillow to judge. Pillow is stopped where a picture takes too long.
3. 16 bits: the top 8. Palette: its colours. Black and white: 0 and 255. Grey: three equal
   channels. CMYK: to RGB by its plain formula; colour profiles are not applied.
   Transparency: over black.
4. The orientation tag is applied.
5. Fit to the square: `crop` the centre, `pad` with black, or `squash`; bilinear over all pixels.
"""

from __future__ import annotations

import io
import re
import struct
import time
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from learndrop.errors import BadPicture, TooLong
from learndrop.images.headers import Claim, claim

Fit = Literal["crop", "pad", "squash"]
Pixels = NDArray[np.uint8]

# Sizes are checked here, with our own limit and before Pillow is called.
Image.MAX_IMAGE_PIXELS = None

_UNREADABLE: tuple[type[Exception], ...] = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)
_AT_ONCE = 2_000_000
"""Pixels times passes of a JPEG that is decoded in one call, which nothing can stop (20 ms)."""
_TAGGED = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"})
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """The largest picture that is decoded: encoded bytes, pixels of its header, seconds."""

    max_bytes: int = 8 * 1024 * 1024
    max_pixels: int = 16_000_000
    max_s: float = 60.0


DEFAULT_LIMITS = PictureLimits()


def to_input(
    data: bytes | bytearray,
    *,
    size: int,
    fit: Fit = "crop",
    limits: PictureLimits = DEFAULT_LIMITS,
    most_s: float | None = None,
) -> Pixels:
    """Make the network's input of a picture file; `most_s` takes the place of `limits.max_s`.

    Returns:
        uint8 array [size, size, 3], RGB.

    Raises:
        BadPicture: if it is empty, too large, of no accepted format, cut short or damaged.
        TooLong: if it takes longer to decode than that.
    """
    most_s = limits.max_s if most_s is None else most_s
    if not data:
        raise BadPicture("the picture is empty")
    if len(data) > limits.max_bytes:
        raise BadPicture(
            f"the picture has {len(data)} bytes, the limit is {limits.max_bytes}",
            limit=limits.max_bytes,
            value=len(data),
        )
    claimed = claim(data)
    if claimed is None:
        raise BadPicture(
            f"not a JPEG, PNG or WebP picture{_looks_like(data)}",
            limit=["JPEG", "PNG", "WebP"],
            value=data[:12].hex(" "),
        )
    _check_pixels(claimed.width, claimed.height, limits)
    if (picture := _at_once(data, claimed)) is not None:
        return _squared(picture, size, fit)
    try:
        with Image.open(_Timed(data, most_s), formats=(claimed.kind,)) as picture:
            _check_pixels(picture.width, picture.height, limits)
            picture.load()
            if claimed.kind == "PNG":
                _rescale_key(picture, depth=data[24])
            plain = _plain(picture)
            tagged = _TAGGED & picture.info.keys()  # most are not, and reading the tags takes long
            return _squared(_upright(plain, picture) if tagged else plain, size, fit)
    except UnidentifiedImageError as exc:  # its own text is about an object of this process
        raise BadPicture(f"the {claimed.kind} picture cannot be decoded: no whole head") from exc
    except _UNREADABLE as exc:
        raise BadPicture(f"the {claimed.kind} picture cannot be decoded: {exc}") from exc


def _looks_like(data: bytes | bytearray) -> str:
    """What it may be instead: a file's name, where a form had `images=cat.jpg` for `@cat.jpg`."""
    name = bytes(data[:256])
    if len(data) < 256 and re.fullmatch(rb"[^\x00-\x1f]+\.(jpe?g|png|webp)", name, re.IGNORECASE):
        return ", but the name of one: with curl, images=@ comes before a file's name"
    return ""


def image_to_input(picture: Image.Image, *, size: int, fit: Fit = "crop") -> Pixels:
    """Make the network's input of a picture that Pillow has opened already.

    Raises:
        BadPicture: if it cannot be decoded.
    """
    try:
        return _squared(_upright(_plain(picture), picture), size, fit)
    except _UNREADABLE as exc:
        raise BadPicture(f"the picture cannot be decoded: {exc}") from exc


def _at_once(data: bytes | bytearray, claimed: Claim) -> Image.Image | None:
    """A plain JPEG of ordinary size, decoded; None is for Pillow to decode or to refuse."""
    work = claimed.width * claimed.height * claimed.scans
    if not claimed.plain or work > _AT_ONCE:
        return None
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGBX")
    except ValueError:
        return None
    if pixels.shape != (claimed.height, claimed.width, 4):
        return None
    # Four bytes a pixel are what Pillow works on: this is a view, not a copy.
    return Image.frombuffer("RGBX", (claimed.width, claimed.height), pixels, "raw", "RGBX", 0, 1)


class _Timed(io.BytesIO):
    """A picture file that ends the decoding when its time is up: Pillow reads it bit by bit."""

    def __init__(self, data: bytes | bytearray, most_s: float) -> None:
        super().__init__(data)
        self._most_s, self._until_s = most_s, time.perf_counter() + most_s

    def read(self, size: int | None = -1, /) -> bytes:
        if time.perf_counter() > self._until_s:
            raise TooLong(
                "still being decoded when its time was up", item="images", limit=self._most_s
            )
        return super().read(size)


def array_to_input(array: Pixels, *, size: int, fit: Fit = "crop") -> Pixels:
    """Make the network's input of pixels: uint8 [H, W, 3] or grey [H, W].

    An array that is size x size x 3 already is handed back as it is.

    Raises:
        BadPicture: if shape or dtype is another one.
    """
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise BadPicture(
            f"pixels of {array.dtype} {list(array.shape)}, expected uint8 [height, width, 3]",
            limit="uint8 [height, width, 3]",
            value=f"{array.dtype} {list(array.shape)}",
        )
    if 0 in array.shape:
        raise BadPicture("the picture has no pixels", value=list(array.shape))
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.shape[:2] == (size, size):
        return array
    return _squared(Image.fromarray(np.ascontiguousarray(array)), size, fit)


def _check_pixels(width: int, height: int, limits: PictureLimits) -> None:
    if width * height > limits.max_pixels:
        raise BadPicture(
            f"the picture claims {width} x {height} pixels, the limit is {limits.max_pixels}",
            limit=limits.max_pixels,
            value=width * height,
        )
    if width < 1 or height < 1:
        raise BadPicture(f"the picture claims {width} x {height} pixels", value=width * height)


def _rescale_key(picture: Image.Image, depth: int) -> None:
    """A transparent colour is told in the file's own depth, Pillow's pixels have 8 bits."""
    key = picture.info.get("transparency")
    if picture.mode == "L" and isinstance(key, int) and depth < 8:
        picture.info["transparency"] = key * 255 // (2**depth - 1)
    elif picture.mode == "RGB" and isinstance(key, tuple) and depth == 16:
        picture.info["transparency"] = tuple(value >> 8 for value in key)


def _plain(picture: Image.Image) -> Image.Image:
    """Any mode to RGB, as the head of this file says."""
    if picture.mode.startswith("I"):
        picture = _top_bits(picture)
    if picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        black = Image.new("RGB", picture.size)
        black.paste(picture, mask=picture.getchannel("A"))
        return black
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _top_bits(picture: Image.Image) -> Image.Image:
    """16-bit grey to 8-bit; Pillow's own conversion would clip at 255."""
    wide = np.asarray(picture)
    grey = Image.fromarray((wide >> 8).astype(np.uint8))
    clear = picture.info.get("transparency")
    if clear is None:
        return grey
    grey.putalpha(Image.fromarray(np.where(wide == clear, 0, 255).astype(np.uint8)))
    return grey


def _upright(picture: Image.Image, tagged: Image.Image) -> Image.Image:
    """Apply the orientation tag of the file; a tag that cannot be read is none."""
    try:
        turn = _TURNS.get(tagged.getexif().get(_ORIENTATION, 1))
    except _UNREADABLE:
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _array(picture: Image.Image) -> Pixels:
    """uint8 [height, width, 3], without the fourth byte of RGBX."""
    packed = bytearray(picture.tobytes("raw", "RGB"))  # three times as fast as np.array(picture)
    return np.frombuffer(packed, np.uint8).reshape(picture.height, picture.width, 3)


def _squared(picture: Image.Image, size: int, fit: Fit) -> Pixels:
    """Fit an RGB or RGBX picture into the square: uint8 [size, size, 3]."""
    width, height = picture.size
    bilinear = Image.Resampling.BILINEAR
    if fit == "squash" or width == height:
        return _array(picture.resize((size, size), bilinear))
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        return _array(picture.resize((size, size), bilinear, box=box))
    scale = size / max(width, height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    square = Image.new("RGB", (size, size))
    square.paste(picture.resize(inner, bilinear), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return np.array(square)


def to_png(image: Pixels) -> bytes:
    """An input of the network, uint8 [H, W, 3], as the bytes of a PNG."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()
