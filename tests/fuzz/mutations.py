"""Mutants of whole inputs: the same number always gives the same one."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Sequence

_ODD = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE]
_WORDS = [
    *(b"\xff" + bytes([n]) for n in (0xC0, 0xC2, 0xC4, 0xC9, 0xD8, 0xD9, 0xDA, 0xDB, 0xE1, 0xEE)),
    *(b"IHDR", b"IDAT", b"IEND", b"acTL", b"iCCP", b"tRNS", b"PLTE", b"zTXt"),
    *(b"RIFF", b"VP8X", b"VP8L", b"ANIM", b"ANMF", b"Exif\0\0", b"\0field\0"),
    *(b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"'descr'", b"'|O'"),
    *(b"'<U99999999'", b"fortran_order", b"(9999999999,)", b"(-1,)", b"(0, 1", b"9" * 30),
    *(b"--", b"\r\n\r\n"),
    *(b'; name="images"', b'; name="labels"', b"[", b"]", b"{", b'"', b"null", b"1e999"),
    *(b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\0", b"nan", b"x", b"-"),
]


def mutant(seeds: Sequence[bytes], number: int, salt: int = 0) -> bytes:
    """One input with one to eight changes: bits, bytes, numbers, words, cuts, repeats, splices."""
    chance = random.Random(f"{salt}/{number}")
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5, 8))):
        _change(data, seeds, chance)
    return mended(bytes(data)) if chance.random() < 0.5 else bytes(data)


def mended(data: bytes) -> bytes:
    """With checksums that fit what they stand for, so that a mutant gets further than these."""
    made = bytearray(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        at = 8
        while at + 12 <= len(made):
            end = at + 8 + int.from_bytes(made[at : at + 4], "big")
            if end + 4 > len(made):
                break
            made[end : end + 4] = zlib.crc32(made[at + 4 : end]).to_bytes(4, "big")
            at = end + 4
    elif (at := data.find(b"PK\x01\x02")) >= 0 and at + 46 <= len(data):
        method, packed, size = struct.unpack_from("<10xH8xII", data, at)
        local = struct.unpack_from("<I", data, at + 42)[0]
        if method == 0 and packed == size and data[local : local + 4] == b"PK\x03\x04":
            name, extra = struct.unpack_from("<HH", data + bytes(30), local + 26)
            begin = local + 30 + name + extra
            made[at + 16 : at + 20] = zlib.crc32(data[begin : begin + size]).to_bytes(4, "little")
    return bytes(made)


def _change(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    # Heads decide more than the pixels behind them: half of the changes are near the beginning.
    reach = len(data) if chance.random() < 0.5 else min(len(data), 120)
    at = chance.randrange(reach) if reach else 0
    match chance.randrange(9):
        case 0 if data:
            data[at] ^= 1 << chance.randrange(8)
        case 1 if data:
            data[at] = chance.randrange(256)
        case 2:
            order = chance.choice("<>")
            size, code = chance.choice(((1, "B"), (2, "H"), (4, "I")))
            odd = chance.choice(_ODD) & (256**size - 1)
            data[at : at + size] = struct.pack(order + code, odd)
        case 3:
            data[at:at] = chance.choice(_WORDS)
        case 4:
            word = chance.choice(_WORDS)
            data[at : at + len(word)] = word
        case 5:
            del data[at : at + chance.randrange(1, 64)]
        case 6:
            del data[chance.randrange(len(data) + 1) :]
        case 7:
            some = data[at : at + chance.randrange(1, 200)]
            data[at:at] = some * chance.choice((1, 2, 30))
        case 8:
            other = chance.choice(seeds)
            begin = chance.randrange(len(other) + 1)
            data[at:] = other[begin:]
