"""The whole product on this machine, as the soaks load it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.local import LocalStack

CLASSES = tuple("abcd")


def small_stack(folder: Path, **own: Any) -> LocalStack:
    """A stack on free ports that is not started yet: four classes, a network worth measuring."""
    return LocalStack.on_free_ports(
        folder / "data", logs=folder / "logs", network="small-resnet18", classes=CLASSES,
        max_pending=5000, **own,
    )  # fmt: skip
