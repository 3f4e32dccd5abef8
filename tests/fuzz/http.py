"""Row 10: cases that schemathesis makes of /openapi.json, over HTTP, against the whole service.

`python -m tests.fuzz.http --count 20000`. Half of the cases fit the schema
and half do not. An answer is wrong if it is a 5xx or not what the schema says of that status.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Err
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deploy.local import LocalStack
from learndrop.client import Client
from tests.fuzz.mutations import mutant
from tests.fuzz.targets import doors
from tests.rows import Found, arguments, report
from tests.services import pixels

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def give_bodies() -> None:
    """What schemathesis cannot invent: .npz bodies, and pictures in forms are mutants."""
    (npz_door,) = (door for door in doors() if door.name == "npz")
    numbers = st.integers(0, 10**6)
    made = st.one_of(
        st.sampled_from(list(npz_door.seeds)), numbers.map(lambda n: mutant(npz_door.seeds, n))
    )
    schemathesis.openapi.media_type("application/x-npz", made)


class Tally:
    """Answers by status, and what was wrong with which."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.operations: Counter[str] = Counter()
        self.faults: list[str] = []
        self.outside: list[str] = []
        self.slowest_s = 0.0

    @property
    def asked(self) -> int:
        """Cases so far."""
        return sum(self.statuses.values())

    def look_at(self, case: Any, session: requests.Session) -> None:
        """Send one case and judge its answer."""
        began = time.perf_counter()
        answer = case.call(session=session, timeout=60)
        self.slowest_s = max(self.slowest_s, time.perf_counter() - began)
        self.statuses[answer.status_code] += 1
        self.operations[case.operation.label] += 1
        if answer.status_code >= 500:
            self.faults.append(f"{case.operation.label}: {answer.status_code} {answer.text[:200]}")
        try:
            case.validate_response(answer, checks=CHECKS)
        except FailureGroup as group:
            told = "; ".join(str(one)[:300] for one in group.exceptions)
            self.outside.append(f"{case.operation.label}: {answer.status_code}: {told}")


def play(url: str, count: int, tally: Tally, ends_s: float) -> None:
    """As many cases for each operation, half of them against the schema.

    Operations that take nothing run out of different cases early: the others get theirs.
    """
    give_bodies()
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = []
    for found in schema.get_all_operations():
        if isinstance(found, Err):
            raise found.err()  # our own schema is not valid
        operations.append(found.ok())
    fertile = [
        operation.as_strategy(generation_mode=mode)
        for operation in operations
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    ]
    number = 0
    with requests.Session() as session:
        while fertile and (left := count - tally.asked) > 0 and time.monotonic() < ends_s:
            each = max(1, -(-left // len(fertile)))
            number += 1
            fertile = [
                strategy
                for strategy in fertile
                if _cases(strategy, min(each, 200), number, tally, session, ends_s)
                > min(each, 200) // 4
            ]


def _cases(
    strategy: Any, count: int, number: int, tally: Tally, session: Any, ends_s: float
) -> int:
    """Ask up to that many cases; how many there were."""
    made = 0

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def ask(case: Any) -> None:
        nonlocal made
        if time.monotonic() < ends_s:
            made += 1
            tally.look_at(case, session)

    try:
        ask()
    except Unsatisfiable:
        pass  # an operation that takes nothing cannot be asked wrongly
    return made


def find(options: argparse.Namespace) -> Mapping[int, Found]:
    """Play the cases against a stack that has learned something."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder) / "logs"
        stack = LocalStack.on_free_ports(Path(folder), logs=logs, log_level="warning")
        with stack, Client(stack.service.url) as client:
            client.learn(pixels(64), np.arange(64) % 3)
            client.predict(pixels(1))  # waits for the first version
            play(stack.service.url, options.count, tally, time.monotonic() + options.most_s)
            alive = stack.dead() is None
        faults = (logs / "service.log").read_text().count('"fault"')
    for text in (*tally.faults[:20], *tally.outside[:20]):
        print(text, file=sys.stderr)
    told = ", ".join(f"{status}: {n}" for status, n in sorted(tally.statuses.items()))
    return {
        10: Found(
            figure=f"{len(tally.faults)} answers of 5xx, {len(tally.outside)} outside the schema,"
            f" {faults} faults in the log, slowest {tally.slowest_s:.1f} s",
            count=f"{tally.asked:,} cases of schemathesis over {len(tally.operations)} operations",
            passed=not tally.faults
            and not tally.outside
            and alive
            and tally.asked >= 0.95 * options.count,
            notes=f"Statuses {told}.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--most-s", type=float, default=900.0, help="stop asking after this long")
    sys.exit(report(find, parser, rows=[10]))
