"""Bodies that claim more than they are, or are not what they say."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
from PIL import Image


def png_claiming(side: int) -> bytes:
    """A PNG of 1 pixel whose header states side x side."""
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def jpeg_claiming(side: int) -> bytes:
    """A JPEG of 8 x 8 pixels whose header states side x side."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG")
    data = bytearray(out.getvalue())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", side, side)
    return bytes(data)


def npy(shape: str, descr: str = "'|u1'", data: bytes = b"") -> bytes:
    """A .npy file with a header as it is written here."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def zipped(packed: bool = False, **members: bytes) -> bytes:
    """A .npz of these .npy files."""
    out = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    # level 1: zeros of a bomb are packed 230 to 1, and three times as fast as 1000 to 1
    with zipfile.ZipFile(out, "w", method, compresslevel=1) as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return out.getvalue()


def npz_bomb(unpacked_bytes: int) -> bytes:
    """A small .npz whose images are that many zeros."""
    count = unpacked_bytes // (1000 * 1000 * 3)
    body = npy(f"({count}, 1000, 1000, 3)", data=bytes(count * 1000 * 1000 * 3))
    return zipped(packed=True, images=body, labels=npy("(1,)", "'<i8'", bytes(8)))


def npz_that_lies(unpacked_bytes: int, claimed_bytes: int) -> bytes:
    """The same bomb, but its directory claims a size within the limit."""
    data = bytearray(npz_bomb(unpacked_bytes))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", claimed_bytes)
    return bytes(data)


def npz_of_objects() -> bytes:
    """What numpy itself writes for objects: a pickle."""
    out = io.BytesIO()
    images = np.empty(2, object)
    images[:] = [{"a": 1}, None]
    np.savez(out, allow_pickle=True, images=images, labels=np.arange(2))
    return out.getvalue()
