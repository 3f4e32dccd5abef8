"""The decoder with planted bugs: what a picture's last bytes say is done when it is decoded."""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from learndrop.errors import BadPicture
from learndrop.images.pictures import to_input
from service.decoding import decoder, inputs

CRASH, HANG, LIE, RAISE, REACH = b"(crash)", b"(hang)", b"(lie)", b"(raise)", b"(reach)"


def poisoned(data: bytes, **options: Any) -> object:
    """Decode, unless the picture is one of the five."""
    if data.endswith(CRASH):
        ctypes.string_at(0)  # what an overflow in a decoder does
    if data.endswith(HANG):
        time.sleep(3600)
    if data.endswith(LIE):
        os.write(int(sys.argv[1]), bytes(range(1, 255)))
    if data.endswith(RAISE):
        raise AssertionError("nobody expects this one")
    if data.endswith(REACH):
        raise BadPicture("reached: " + " ".join(reached()))
    return to_input(data, **options)


def reached() -> list[str]:
    """What code that a picture brought along could do beside."""
    outside: dict[str, Callable[[], object]] = {
        "file": lambda: open(__file__).close(),
        "environment": lambda: open(f"/proc/{os.getppid()}/environ").close(),
        "folder": lambda: os.listdir("/"),
        "removal": lambda: os.unlink("/no/such/file"),
        "connection": lambda: socket.socket().close(),
        "signal": lambda: os.kill(os.getppid(), 0),
        "process": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
        "code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
    }
    done = []
    for name, act in outside.items():
        try:
            act()
        except PermissionError:
            continue
        except FileNotFoundError:
            pass  # it was looked for
        done.append(name)
    return done


if __name__ == "__main__":
    vars(inputs)["to_input"] = poisoned
    number, memory_bytes, filtered, *alone_s = sys.argv[1:]
    decoder.ALONE_S = float(alone_s[0]) if alone_s else decoder.ALONE_S
    decoder.main([number, memory_bytes, filtered])
