"""The machine that a figure was measured on, in a few words."""

from __future__ import annotations

import platform
from pathlib import Path

from deploy.children import cores


def machine() -> str:
    """Cores, processor and system."""
    return f"{cores()} cores of {_processor()}, {platform.system()}"


def _processor() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in told.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
