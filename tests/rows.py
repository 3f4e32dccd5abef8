"""The 27 rows of docs/reliability.md: what each promises, which module measures it, and how a
measurement is written down.

A module of tests/chaos, tests/fuzz or tests/soak measures one row (or two that need the same run):

    def find(options: argparse.Namespace) -> dict[int, Found]: ...

    if __name__ == "__main__":
        sys.exit(report(find, arguments(__doc__), rows=[23]))

It prints one JSON line a row, writes FOLDER/<row>.json when told `--json FOLDER`, and exits with 1
if a row failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from deploy.children import ROOT, cores

FIGURES = ROOT / "docs" / "figures" / "reliability"

Group = Literal["chaos", "fuzz", "soak"]


@dataclass(frozen=True, slots=True)
class Row:
    """One promise. `module` is run as `python -m module`."""

    name: str
    target: str
    group: Group
    module: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a measurement found.

    Attributes:
        figure: the measured values, in the words of the row's target.
        count: what was counted over: rounds, samples, requests.
        passed: whether the target was met.
        notes: what the figure does not cover, or what it was compared with.
    """

    figure: str
    count: str
    passed: bool
    notes: str = ""


ROWS: dict[int, Row] = {
    1: Row(
        "kill -9 of Redis on a slow disk (fdatasync delayed 1.5 s)",
        "0 acknowledged samples lost, of 5,000 in 10 rounds",
        "chaos",
        "tests.chaos.slow_disk",
    ),
    2: Row(
        "100 random kills -9 and pauses of worker, service and Redis in 10 minutes of load",
        "0 lost, 0 learned twice, weights bit-equal to an undisturbed run of the same order",
        "chaos",
        "tests.chaos.kills",
    ),
    3: Row(
        "a crash at every write, fsync and rename of a checkpoint and a publish",
        "all recover to before or after, none to between",
        "chaos",
        "tests.chaos.crash_points",
    ),
    4: Row(
        "bit rot: flipped bits, truncated and swapped files",
        "100 % refused, the last good version served, 0 wrong answers",
        "chaos",
        "tests.chaos.bit_rot",
    ),
    5: Row(
        "the account, read from outside during row 2",
        "1,000 readings, 0 violations of accepted = learned + buried + deleted + pending",
        "chaos",
        "tests.chaos.kills",
    ),
    6: Row(
        "the same request again after a cut at a random byte",
        "2,000 posts, 0 second batches, 0 lost",
        "chaos",
        "tests.chaos.cut_requests",
    ),
    7: Row(
        "answers after cancelled requests",
        "10,000 requests, half of them cut, 0 answers of others",
        "chaos",
        "tests.chaos.cancelled",
    ),
    8: Row(
        "overload: ten times what the worker learns, for 5 minutes",
        "RSS +64 MB at most in each process, refusals within 50 ms and predictions within 2 x idle"
        " at the 99th percentile, no answer but 202, 200, 429, 503",
        "soak",
        "tests.soak.overload",
    ),
    9: Row(
        "fuzz without HTTP: pictures, npz, forms, stream entries",
        "100,000 mutants, 0 crashes, 0 unhandled, slowest 1 s, RSS +32 MB, a planted bug found",
        "fuzz",
        "tests.fuzz.mutants",
    ),
    10: Row(
        "fuzz over HTTP",
        "20,000 schemathesis cases, 0 answers of 5xx, 0 outside the schema",
        "fuzz",
        "tests.fuzz.http",
    ),
    11: Row(
        "bombs: headers, zips, profiles, gzip, a chunked body of 2 GiB",
        "each refused in 1 s, RSS at most +32 MB over the body limit, /healthz p99 100 ms",
        "fuzz",
        "tests.fuzz.bombs",
    ),
    12: Row(
        "300 slow clients and 300 idle ones",
        "predictions p99 at most 1.2 x, slow ones closed at the stated time-out",
        "soak",
        "tests.soak.slow_clients",
    ),
    13: Row(
        "a new version every 2 s for 5 minutes under load",
        "0 errors, predictions p99 at most 1.2 x, last 50 swaps +5 MB at most, answers name the"
        " new version within 1 s",
        "soak",
        "tests.soak.swaps",
    ),
    14: Row(
        "NaN and infinite values by every road",
        "0 non-finite tensors published, 0 answers of 5xx, accuracy back in one window",
        "soak",
        "tests.soak.non_finite",
    ),
    15: Row(
        "60 s of wrong labels from one key at ten times the rate",
        "served accuracy falls at most 5 points, is back by itself within 60 s, the key is named",
        "soak",
        "tests.soak.wrong_labels",
    ),
    16: Row(
        "soak: 30,000 predictions of random shapes, 20,000 steps with drops and resets",
        "memory grows less than 1 MB a minute after minute 2; a planted leak of 1 KB a step fails",
        "soak",
        "tests.soak.memory",
    ),
    17: Row(
        "threads of two services and a worker",
        "compute threads at most cores + 1, throughput at least 90 % of the best setting found",
        "soak",
        "tests.soak.threads",
    ),
    18: Row(
        "clocks: an hour ahead, an hour behind, an id from the future",
        "no lost lease, no false 429, no expired key, ingest goes on",
        "chaos",
        "tests.chaos.clocks",
    ),
    19: Row(
        "hands in Redis: FLUSHALL, lost group, deleted and trimmed entries, foreign ones",
        "back in 5 s, under 10 log lines a second, what is gone is counted as gone",
        "chaos",
        "tests.chaos.hands",
    ),
    20: Row(
        "full disks: AOF, checkpoints, versions, temporary files",
        "no 202 without storage, not ready in 5 s, well again 10 s after there is space",
        "chaos",
        "tests.chaos.full_disk",
    ),
    21: Row(
        "a replica promoted without the last entries",
        "the gap is seen and counted, and the worker goes on only as told",
        "chaos",
        "tests.chaos.promoted_replica",
    ),
    22: Row(
        "a worker paused for 3 x its lease, beside a stand-by, then woken",
        "taken over in 5 s; the woken one writes nothing: 0 acks, 0 versions, 0 checkpoints",
        "chaos",
        "tests.chaos.standby",
    ),
    23: Row(
        "an entry that kills the worker",
        "buried after 3 deliveries, the others learned, under 60 s lost",
        "chaos",
        "tests.chaos.poison",
    ),
    24: Row(
        "liveness: Redis hung, a step hung",
        "seen in 10 s, restarted by itself, no false alarm in an idle hour",
        "chaos",
        "tests.chaos.liveness",
    ),
    25: Row(
        "upgrade and downgrade by one version, with data",
        "0 lost, 0 learned again, an unknown newer format refused by name",
        "chaos",
        "tests.chaos.upgrade",
    ),
    26: Row(
        "exposed by default",
        "loopback only without keys, 0 calls of pickle, not root, 0 secrets in logs",
        "chaos",
        "tests.chaos.exposed",
    ),
    27: Row(
        "what safe durability costs",
        "appendfsync always beside everysec in one run, images a second, both published",
        "soak",
        "tests.soak.durability",
    ),
}


def arguments(about: str | None) -> argparse.ArgumentParser:
    """A parser that knows `--json`; a module adds its own counts."""
    parser = argparse.ArgumentParser(description=(about or "").strip().splitlines()[0])
    parser.add_argument("--json", type=Path, help="folder to write <row>.json to")
    return parser


def report(
    find: Callable[[argparse.Namespace], Mapping[int, Found]],
    parser: argparse.ArgumentParser,
    rows: Sequence[int],
) -> int:
    """Measure, print and write; 1 if a row failed.

    A measurement that ends with an error is a failed row that says so.
    """
    options = parser.parse_args()
    began = time.monotonic()
    try:
        found = find(options)
    except Exception as exc:  # the figure of a row that could not be measured is a failure too
        traceback.print_exc()
        found = {n: Found(f"not measured: {type(exc).__name__}: {exc}", "", False) for n in rows}
    seconds = time.monotonic() - began
    for number, one in found.items():
        line = record(number, one, seconds, command())
        print(json.dumps(line), flush=True)
        if options.json:
            write(line, options.json)
    return 0 if all(one.passed for one in found.values()) else 1


def record(number: int, found: Found, seconds: float, how: str) -> dict[str, Any]:
    """A row as JSON."""
    row = ROWS[number]
    return {
        "row": number,
        "name": row.name,
        "target": row.target,
        "figure": found.figure,
        "count": found.count,
        "passed": found.passed,
        "notes": found.notes,
        "seconds": round(seconds, 1),
        "machine": machine(),
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": how,
    }


def write(line: Mapping[str, Any], folder: Path) -> None:
    """Write <row>.json into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(line, indent=2, ensure_ascii=False)
    (folder / f"{line['row']:02d}.json").write_text(text + "\n")


def command() -> str:
    """How this process was called, without where it wrote to."""
    spec = sys.modules["__main__"].__spec__
    called = ["python", "-m", spec.name if spec else sys.argv[0], *sys.argv[1:]]
    if "--json" in called:
        at = called.index("--json")
        del called[at : at + 2]
    return shlex.join(called)


def machine() -> str:
    """What it ran on: the cores that this process may use, memory, kernel, interpreter, torch."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{cores()} of {os.cpu_count()} cores of {model}, {gib:.0f} GiB, Linux {kernel},"
        f" Python {platform.python_version()}, torch {version('torch')}"
    )


def commit() -> str:
    """The commit that was measured, with a + when the tree had changes."""
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.check_output([*git, "rev-parse", "--short", "HEAD"], text=True).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+" if changed.strip() else "")
