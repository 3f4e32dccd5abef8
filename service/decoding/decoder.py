"""`python -m service.decoding.decoder FD BYTES FILTER`: decodes picture files of a socket.

The service starts it and ends it. Here a decoder in native code may hang or crash: no more is lost
than the picture that did it. It imports what decoding needs and nothing else, has none of the
service's settings, and ends when the service is gone. It may not write files; with FILTER 1, where
the system can see to it, it can do little more than compute (see syscalls.py).
"""

from __future__ import annotations

import contextlib
import faulthandler
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence

from PIL import Image, ImageColor, ImagePalette, MpoImagePlugin, TiffImagePlugin, WebPImagePlugin

from learndrop.errors import BadPicture, TooLong
from service.decoding.inputs import inputs
from service.decoding.syscalls import keep_few
from service.decoding.wire import GREETING, Ask, pixels_answer, refusal_answer

ALONE_S = 5.0
"""What hangs longer than it may by so much is ended by the kernel, should the service be gone."""
OF_SOME_PICTURES = (ImageColor, ImagePalette, MpoImagePlugin, TiffImagePlugin)
"""What Pillow imports only for some: palettes, tags of Exif, JPEGs of several views."""
UNFIT = 800
"""Where Linux runs out of memory, it ends this process before the service (0 to 1000)."""


def main(arguments: Sequence[str]) -> None:
    """Answer until the socket is closed."""
    number, memory_bytes, filtered = map(int, arguments)
    # A terminal's Ctrl-C and a manager's SIGTERM are for the service, which may have more to ask.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    faulthandler.enable()
    Image.preinit()  # JPEG and PNG now, not with the first picture: then no file can be read
    assert WebPImagePlugin.SUPPORTED and all(OF_SOME_PICTURES)
    confine(memory_bytes)
    with socket.socket(fileno=number) as service:
        if filtered:
            keep_few()
        try:
            service.sendall(GREETING)
            while True:
                service.sendall(answer(Ask.received(lambda count: receive(service, count))))
        except (EOFError, ConnectionError):
            return


def answer(ask: Ask) -> bytes:
    """Decode what is asked, as far as a turn is enough."""
    began = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, max(0.0, ask.left_s) + ALONE_S)
    try:
        made = inputs(ask.files, ask.shape, ask.limits, ask.left_s, first=ask.first)
    except (BadPicture, TooLong) as exc:
        return refusal_answer(exc, time.perf_counter() - began)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return pixels_answer(made, time.perf_counter() - began)


def receive(service: socket.socket, count: int) -> bytearray:
    """Exactly so many bytes.

    Raises:
        EOFError: if the other side ends before.
    """
    data = bytearray(count)
    view, got = memoryview(data), 0
    while got < count:
        came = service.recv_into(view[got:], 0, socket.MSG_WAITALL)
        if not came:
            raise EOFError
        got += came
    return data


def confine(memory_bytes: int) -> None:
    """Bound what this process can take, as far as the system has such bounds."""
    for name, most in (
        ("RLIMIT_DATA", memory_bytes),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
    ):
        kind = getattr(resource, name, None)
        if kind is not None:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(kind, (most, most))
    with contextlib.suppress(OSError):
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(UNFIT))


if __name__ == "__main__":
    main(sys.argv[1:])
