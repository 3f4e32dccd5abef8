"""How the worker is told to end."""

from __future__ import annotations

import os
import signal
from types import FrameType


class Stop:
    """True once SIGTERM or SIGINT came; the second one does not wait for the batch in hand."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        return self.asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(128 + number)
        self.asked = True
