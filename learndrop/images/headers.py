"""What a picture file claims to be, read from its first bytes and before any decoder sees it.

Only JPEG, PNG and WebP have a name here; everything else is no picture for learndrop.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["JPEG", "PNG", "WEBP"]

MOST_PARTS = 5000
"""Marker segments of a JPEG; a phone's picture has under 300."""
MOST_SCANS = 100
"""Passes of a progressive JPEG. Each costs a walk over the whole picture, whatever its bytes."""

_MARKERS = frozenset({*range(0x01, 0xD0), *range(0xD8, 0xFF)})
_MARKER = re.compile(b"\xff[" + re.escape(bytes(_MARKERS)) + b"]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_TOLD = frozenset({0xE1, 0xEE})  # Exif and XMP (orientation), Adobe (inks)
_SCAN, _END, _BARE = 0xDA, 0xD9, frozenset({0x01, 0xD8})


@dataclass(frozen=True, slots=True)
class Claim:
    """The format and the size in pixels that a header states.

    `plain` is a JPEG of brightness, or brightness and two colours, with 8 bits each, that says
    nothing else about how it is to be shown: no orientation, no inks. `scans` are its passes.
    """

    kind: Kind
    width: int
    height: int
    plain: bool = False
    scans: int = 1


def claim(data: bytes | bytearray) -> Claim | None:
    """Read the claim of a picture file; None if it is none of the three formats or cut too short.

    >>> claim(b"\\x89PNG\\r\\n\\x1a\\n" + b"\\0\\0\\0\\rIHDR" + b"\\0\\0\\0\\x07\\0\\0\\0\\x05")
    Claim(kind='PNG', width=7, height=5, plain=False, scans=1)
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        return Claim("PNG", int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp(data)
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    return None


def _webp(data: bytes | bytearray) -> Claim | None:
    match data[12:16]:
        case b"VP8X":
            width = int.from_bytes(data[24:27], "little") + 1
            return Claim("WEBP", width, int.from_bytes(data[27:30], "little") + 1)
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return Claim("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8 ":
            width = int.from_bytes(data[26:28], "little") & 0x3FFF
            return Claim("WEBP", width, int.from_bytes(data[28:30], "little") & 0x3FFF)
    return None


def _jpeg(data: bytes | bytearray) -> Claim | None:
    """Walk the segments up to the end of the first view; the largest frame header counts."""
    width = height = parts = scans = 0
    at, end, plain = 2, len(data), True
    while True:
        if at + 1 < end and data[at] == 0xFF and data[at + 1] in _MARKERS:
            at += 2  # segments follow each other: nothing to search
        elif found := _MARKER.search(data, at):
            at = found.end()
        else:
            break
        marker = data[at - 1]
        parts += 1
        scans += marker == _SCAN
        if parts > MOST_PARTS or scans > MOST_SCANS:
            return None
        if marker == _END:
            break
        if marker in _BARE:
            continue
        plain &= marker not in _TOLD
        if marker in _FRAMES and at + 8 <= end:
            plain &= data[at + 2] == 8 and data[at + 7] in (1, 3)
            tall, wide = data[at + 3] << 8 | data[at + 4], data[at + 5] << 8 | data[at + 6]
            if wide * tall >= width * height:
                width, height = wide, tall
        at += max(2, data[at] << 8 | data[at + 1]) if at + 1 < end else 2
    return Claim("JPEG", width, height, plain, scans) if width and height else None
