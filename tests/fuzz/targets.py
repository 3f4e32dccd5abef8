"""What strangers' bytes reach without HTTP: each door takes bytes and may refuse them; no more."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx2
import numpy as np
import orjson
from PIL import Image
from python_multipart.multipart import parse_options_header

from learndrop.errors import BadInput, BadMessage
from learndrop.images.pictures import PictureLimits, to_input
from learndrop.stream.messages import Sample
from service.bodies.batches import Batch, BatchLimits, checked
from service.bodies.forms import read_form
from service.bodies.json_bodies import read_json
from service.bodies.npz import read_npz
from service.decoding.inputs import Shape, inputs
from tests.bombs import jpeg_claiming, npy, npz_of_objects, png_claiming, zipped
from tests.services import coded, encoded, npz, pixels

LIMITS = BatchLimits(images=16, image_bytes=1 << 20, label_chars=100, body_bytes=4 << 20)
PICTURES = PictureLimits(max_bytes=1 << 20, max_pixels=1_500_000, max_s=5.0)
"""A picture that is turned or see-through takes up to 16 bytes a pixel while it is decoded, 24 MB
of these: what grows beyond that is a leak."""
REFUSALS = (BadInput, BadMessage)
SHAPE = Shape(32, "crop")

IMPOSSIBLE = (f"(0, {10**30}, 3)", f"(0, {2**40}, {2**40}, 3)", f"({10**30}, 4, 3)")
"""Shapes of no bytes, or of more than a number of 64 bits can tell, in a few bytes of header."""
FIELD_END = b"\0field\0"
"""Between the parts of an entry that is written as bytes."""


@dataclass(frozen=True, slots=True)
class Door:
    """One way in: whole inputs to begin with, and what is done with a mutant."""

    name: str
    seeds: Sequence[bytes]
    take: Callable[[bytes], object]


def doors() -> list[Door]:
    """All of them."""
    form, kind = _form()
    _, options = parse_options_header(kind)
    return [
        Door("picture", _pictures(), lambda data: to_input(data, size=32, limits=PICTURES)),
        Door("npz", _npzs(), lambda data: _decoded(read_npz(data, LIMITS))),
        Door("form", [form], lambda data: _decoded(read_form(data, options, LIMITS))),
        Door("content type", [kind.encode()], lambda data: _typed(data, form)),
        Door("json", _jsons(), lambda data: _decoded(read_json(data, LIMITS))),
        Door("entry", _entries(), lambda data: Sample.from_fields(fields_of(data))),
    ]


def _decoded(batch: Batch) -> object:
    checked(batch, LIMITS, labelled=True)
    return inputs(batch.images, SHAPE, PICTURES, 5.0)


def _typed(header: bytes, form: bytes) -> object:
    _, options = parse_options_header(header)
    return read_form(form, options, LIMITS)


def fields_of(data: bytes) -> dict[bytes, bytes]:
    """An entry's fields from bytes; whatever the bytes are."""
    parts = data.split(FIELD_END)
    return dict(zip(parts[::2], parts[1::2], strict=False))


def _pictures() -> list[bytes]:
    colours = pixels(side=48)[0]
    wide = pixels(side=64, seed=1)[0][:40]
    palette, ink = io.BytesIO(), io.BytesIO()
    Image.fromarray(colours).convert("P").save(palette, "PNG", transparency=3)
    Image.fromarray(colours).convert("CMYK").save(ink, "JPEG")
    deep = io.BytesIO()
    Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32) * 64).save(deep, "PNG")
    moving = io.BytesIO()
    frames = [Image.fromarray(p) for p in pixels(3, seed=2)]
    frames[0].save(moving, "WEBP", save_all=True, append_images=frames[1:])
    tagged = Image.Exif()
    tagged[0x0112] = 6
    return [
        encoded(colours, "JPEG"),
        encoded(wide, "JPEG", progressive=True, exif=tagged, icc_profile=bytes(500)),
        encoded(colours, "PNG"),
        encoded(wide, "PNG", exif=tagged, icc_profile=bytes(5000)),
        encoded(colours, "WEBP"),
        encoded(wide, "WEBP", lossless=True, exif=tagged),
        *(made.getvalue() for made in (palette, ink, deep, moving)),
        png_claiming(30_000),
        jpeg_claiming(30_000),
    ]


def _npzs() -> list[bytes]:
    images = pixels(3)
    return [
        npz(images=images, labels=np.arange(3)),
        npz(images=images[:, :, :, 0], labels=np.array(["a", "bb", "ccc"]), packed=True),
        npz(images=np.asfortranarray(images), labels=np.arange(3, dtype=np.uint8)),
        npz_of_objects(),
        zipped(images=b"\x93NUMPY\x03\x00", labels=b""),
        *(zipped(images=npy(shape), labels=npy("(0,)", "'<i8'")) for shape in IMPOSSIBLE),
    ]


def _form() -> tuple[bytes, str]:
    small = [encoded(p, "PNG") for p in pixels(2, side=8)]
    request = httpx2.Request(
        "POST",
        "http://x",
        files=[("images", (f"{n}.png", data)) for n, data in enumerate(small)],
        data={"labels": ["cat", "dog"], "ids": ["one", "two"]},
    )
    return request.read(), request.headers["content-type"]


def _jsons() -> list[bytes]:
    small = [coded(encoded(p, "PNG")) for p in pixels(2, side=8)]
    return [
        orjson.dumps({"images": small, "labels": ["cat", 7]}),
        orjson.dumps({"images": small, "labels": [1, 2], "ids": ["one", "two"]}),
        orjson.dumps({"labels": ["\u00e9\u0301", "\U0001f600"], "images": small}),
        orjson.dumps({"labels": ["a" + "\u0300" * 500 + "\u0316" * 500, "b"], "images": small}),
    ]


def _entries() -> list[bytes]:
    fields = Sample(pixels()[0], "cat", 1764046800.5).to_fields()
    return [FIELD_END.join(part for pair in fields.items() for part in pair)]
