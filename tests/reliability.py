"""Measures the rows of docs/reliability.md and redraws that page.

`python -m tests.reliability chaos` (or fuzz, soak) runs every module of that group, goes on after a
row that failed, writes docs/figures/reliability/<row>.json and the page, and exits with 1 if a row
failed. `python -m tests.reliability page` only redraws the page from these files.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from deploy.children import ROOT
from tests.rows import FIGURES, ROWS, Found, Group, record, write

PAGE = ROOT / "docs" / "reliability.md"
LONGEST_S = 30 * 60.0

HEAD = """# What it withstands

Each row was measured on real processes: service, worker and an embedded Redis. The table is drawn
by `python -m tests.reliability page` from `docs/figures/reliability/`, which `make chaos`,
`make fuzz` and `make soak` write; a row that failed stays in it. Counts are those of the run shown,
which may be smaller than the target's where time was short.
"""


def modules(group: Group) -> list[str]:
    """Modules that measure the group's rows, each once, in the order of the rows."""
    return list(dict.fromkeys(row.module for row in ROWS.values() if row.group == group))


def missing(module: str) -> bool:
    """Whether nobody has written the module yet."""
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


def run(module: str, folder: Path, more: Sequence[str] = ()) -> bool:
    """Run one module; True if all its rows passed. A death of it is written down as a failure."""
    print(f"-- {module}", flush=True)
    rows = [number for number, row in ROWS.items() if row.module == module]
    began, wall = time.monotonic(), time.time()
    asked = [sys.executable, "-m", module, "--json", str(folder), *more]
    try:
        code = subprocess.run(asked, cwd=ROOT, check=False, timeout=LONGEST_S).returncode
        death = f"the measurement ended with {code}"
    except subprocess.TimeoutExpired:
        code, death = 1, f"the measurement took longer than {LONGEST_S:g} s"
    for number in rows:
        file = folder / f"{number:02d}.json"
        if not file.exists() or file.stat().st_mtime < wall - 1:
            seconds = time.monotonic() - began
            write(record(number, Found(death, "", False), seconds, f"python -m {module}"), folder)
    return code == 0


def read(folder: Path = FIGURES) -> dict[int, dict[str, Any]]:
    """What was measured, by row."""
    told = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return {one["row"]: one for one in told}


def page(measured: Mapping[int, Mapping[str, Any]]) -> str:
    """The page as Markdown."""
    passed = sum(bool(one["passed"]) for one in measured.values())
    lines = [
        HEAD,
        f"{passed} rows passed, {len(measured) - passed} failed,"
        f" {len(ROWS) - len(measured)} were not run.",
        "",
        "| # | what | target | figure | | count | date, commit |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, row in ROWS.items():
        one = measured.get(number)
        if one is None:
            lines.append(f"| {number} | {row.name} | {row.target} | | not run | | |")
            continue
        verdict = "passed" if one["passed"] else "**failed**"
        when = f"{one['date']}, {one['commit']}"
        cells = [row.name, row.target, one["figure"], verdict, one["count"], when]
        lines.append(f"| {number} | " + " | ".join(_cell(c) for c in cells) + " |")
    lines += ["", "## How", ""]
    for number, one in sorted(measured.items()):
        notes = f" {one['notes']}" if one["notes"] else ""
        lines.append(f"- {number}: `{one['command']}`, {one['seconds']:.0f} s.{notes}")
    machines = sorted({one["machine"] for one in measured.values()})
    if machines:
        lines += ["", "## On", ""]
        for name in machines:
            rows = ", ".join(
                str(n) for n, one in sorted(measured.items()) if one["machine"] == name
            )
            lines.append(f"- {name}: {rows}")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(given: Sequence[str] | None = None) -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["page", *get_args(Group)])
    parser.add_argument("--only", type=int, nargs="+", help="rows; default all of the group")
    parser.add_argument("--json", type=Path, default=FIGURES, help="folder of <row>.json")
    options = parser.parse_args(given)
    good = True
    if options.what != "page":
        wanted = {ROWS[number].module for number in options.only or ROWS}
        for module in modules(options.what):
            if module not in wanted:
                continue
            if missing(module):
                print(f"-- {module}: not written, its rows stay as they are", flush=True)
                continue
            good &= run(module, options.json)
    PAGE.write_text(page(read(options.json)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
