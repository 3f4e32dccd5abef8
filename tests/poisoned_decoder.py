"""The decoder with planted bugs: what a picture's last bytes say is done when it is decoded."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Any

from learndrop.pictures import to_input
from service import decoder, inputs

CRASH, HANG, LIE, RAISE = b"(crash)", b"(hang)", b"(lie)", b"(raise)"


def poisoned(data: bytes, **options: Any) -> object:
    """Decode, unless the picture is one of the four."""
    if data.endswith(CRASH):
        ctypes.string_at(0)  # what an overflow in a decoder does
    if data.endswith(HANG):
        time.sleep(3600)
    if data.endswith(LIE):
        os.write(int(sys.argv[1]), bytes(range(1, 255)))
    if data.endswith(RAISE):
        raise AssertionError("nobody expects this one")
    return to_input(data, **options)


if __name__ == "__main__":
    vars(inputs)["to_input"] = poisoned
    number, memory_bytes, *alone_s = sys.argv[1:]
    decoder.ALONE_S = float(alone_s[0]) if alone_s else decoder.ALONE_S
    decoder.main([number, memory_bytes])
