"""Row 27: what `appendfsync always` costs, images a second beside `everysec` in one run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from deploy.bench_ingest import BATCH, KINDS, TITLES, measure
from tests.rows import Found, arguments, report


def find(options: argparse.Namespace) -> Mapping[int, Found]:
    """Measure both in the same rounds."""
    found = measure(options.rounds, options.requests, connections=4)
    told = [
        f"{name} {found[f'{kind} always']:,.0f} and {found[f'{kind} everysec']:,.0f}"
        for kind, name in {**{kind: TITLES[kind] for kind in KINDS}, "redis": "XADD alone"}.items()
    ]
    return {
        27: Found(
            figure="images/s under always and everysec: " + "; ".join(told),
            count=f"{options.rounds} rounds of {options.requests} batches of {BATCH} each",
            passed=True,
            notes="The service's own work hides the difference that Redis alone shows.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=150)
    sys.exit(report(find, parser, rows=[27]))
