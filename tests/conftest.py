"""For every test: whatever arrives, nothing of ours may unpickle it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OURS = tuple(f"{ROOT / name}/" for name in ("learndrop", "service", "worker"))


class Unpickled(BaseException):
    """Not an Exception: no handler of ours may take it for a damaged file and go on."""


def refuse(event: str, given: tuple[Any, ...]) -> None:
    """Fail when a class is looked up for a pickle, and one of our functions is waiting for it."""
    if event != "pickle.find_class":
        return
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            raise Unpickled(f"{given} for {frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back


sys.addaudithook(refuse)
