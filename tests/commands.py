"""The `learndrop` command as a process, with no settings but those that a test gives."""

from __future__ import annotations

import os
import subprocess
import sys


def learndrop(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `learndrop` to its end; what it wrote is text."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
    return subprocess.run(
        [sys.executable, "-m", "learndrop.cli", *arguments],
        capture_output=True,
        text=True,
        env={**clean, "COLUMNS": "100", **environment},
        check=False,
    )
