"""Row 9: mutants of pictures, npz, forms, JSON and entries, without HTTP, in a child process.

`python -m tests.fuzz.mutants --count 100000`. Two planted bugs must be found, an error that nobody
expects and a crash of the process: a run that does not find them says nothing, and fails.
"""

from __future__ import annotations

import argparse
import json
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.children import ROOT
from tests.rows import Found, arguments, report

MIB = 1024 * 1024
BLOCK = 10_000
"""Mutants of one child."""
SLOWEST_S, MOST_GROWN = 1.0, 32 * MIB
SILENT_S = 300.0
PLANTED_COUNT = 30_000
"""Mutants within which a planted bug must be found; its child stops at it."""


@dataclass
class Outcome:
    """What all children found together."""

    fed: int = 0
    taken: int = 0
    crashes: list[str] = field(default_factory=list)
    unhandled: list[str] = field(default_factory=list)
    unhandled_count: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    grown_bytes: int = 0

    def add(self, told: Mapping[str, Any]) -> None:
        """Add one child's findings."""
        self.fed += told["mutants"] + told["invented"]
        self.taken += told["taken"]
        self.unhandled += told["unhandled"]
        self.unhandled_count += told["unhandled_count"]
        self.grown_bytes = max(self.grown_bytes, told["grown_bytes"])
        if told["slowest_s"] > self.slowest_s:
            self.slowest_s, self.slowest = told["slowest_s"], told["slowest"]


def fuzz(count: int, salt: int, bug: str = "none") -> Outcome:
    """Feed that many mutants; a child that dies is followed by another after the deadly mutant."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "at"
        first = 0
        while first < count:
            last = min(first + BLOCK, count)
            progress.write_bytes(bytes(8))
            command = [
                sys.executable, "-m", "tests.fuzz.child",
                str(first), str(last), str(salt), bug, str(progress),
            ]  # fmt: skip
            try:
                done = subprocess.run(
                    command, cwd=ROOT, capture_output=True, text=True, timeout=SILENT_S
                )
                code, output, error = done.returncode, done.stdout, done.stderr
            except subprocess.TimeoutExpired:
                code, output, error = -signal.SIGKILL, "", f"silent for {SILENT_S:g} s"
            at = struct.unpack("<Q", progress.read_bytes())[0]
            if code == 0:
                outcome.add(json.loads(output.splitlines()[-1]))
                if bug != "none" and outcome.unhandled:
                    break
                first = last
                continue
            outcome.crashes.append(f"mutant {salt}/{at}: ended with {code}: {error[-300:]}")
            outcome.fed += max(0, at + 1 - first)
            first = at + 1
            if bug != "none":
                break
    return outcome


def find(options: argparse.Namespace) -> Mapping[int, Found]:
    """Plant the bugs, look for them, then look without."""
    error = fuzz(PLANTED_COUNT, options.salt, "error").unhandled_count > 0
    crash = bool(fuzz(PLANTED_COUNT, options.salt, "crash").crashes)
    outcome = fuzz(options.count, options.salt)
    for text in (*outcome.crashes, *outcome.unhandled):
        print(text, file=sys.stderr)
    passed = (
        error
        and crash
        and not outcome.crashes
        and not outcome.unhandled_count
        and outcome.slowest_s <= SLOWEST_S
        and outcome.grown_bytes <= MOST_GROWN
    )
    planted = f"planted error {'found' if error else 'NOT found'}, planted crash "
    return {
        9: Found(
            figure=f"{len(outcome.crashes)} crashes, {outcome.unhandled_count} unhandled, slowest"
            f" {outcome.slowest_s:.2f} s, peak RSS +{outcome.grown_bytes / MIB:.0f} MB; "
            + planted
            + ("found" if crash else "NOT found"),
            count=f"{outcome.fed:,} inputs through 6 doors, {outcome.taken:,} of them taken",
            passed=passed,
            notes=f"Slowest: {outcome.slowest}. Pictures of up to 1.5 million pixels were decoded.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--salt", type=int, default=0, help="another one gives other mutants")
    sys.exit(report(find, parser, rows=[9]))
