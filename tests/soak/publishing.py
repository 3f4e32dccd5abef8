"""`python -m tests.soak.publishing FOLDER KEPT EVERY_S`: a new model version every so many seconds.

Each has every tensor of the current one a little changed, so that all of it is written, loaded and
warmed each time. Prints number and time (time.monotonic) of each; ends when its input does.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from learndrop.disk.registry import Registry, Version


def changed(version: Version, number: int) -> dict[str, bytes]:
    """The version's parts, every tensor of floats a little different."""
    parts = {}
    for name, data in version.parts.items():
        tensors = load(data)
        for tensor in tensors.values():
            if tensor.dtype == np.float32:
                tensor += np.float32(1e-6 * number)
        parts[name] = save(tensors)
    return parts


def main(folder: str, kept: str, every_s: str) -> None:
    """Publish until there is no more input."""
    registry = Registry(Path(folder), keep=int(kept))
    first, ended, count = registry.load(None), threading.Event(), 0

    def listen() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    while not ended.wait(float(every_s)):
        count += 1
        number = registry.publish(changed(first, count), first.about)
        print(number, time.monotonic(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
