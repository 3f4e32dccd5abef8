"""Requests at fixed times, whether or not the ones before are answered, as strangers send them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

TIMEOUT_S = 30.0
NPZ = {"content-type": "application/x-npz"}


@dataclass(frozen=True, slots=True)
class Answer:
    """When a request was due (time.monotonic), how long until its answer, and what that was."""

    due: float
    seconds: float
    status: int
    told: dict[str, Any] | None = None


@dataclass
class Answers:
    """What came back, and what did not (`lost`, by kind of error)."""

    all: list[Answer] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def __iadd__(self, other: Answers) -> Answers:
        self.all += other.all
        self.lost += other.lost
        return self

    def of(self, status: int) -> list[Answer]:
        """Those with that status."""
        return [one for one in self.all if one.status == status]

    def statuses(self) -> dict[int, int]:
        """How many of each."""
        return {s: len(self.of(s)) for s in sorted({one.status for one in self.all})}


async def paced(
    url: str,
    path: str,
    body: Callable[[int], bytes],
    *,
    a_second: float,
    seconds: float,
    keep: bool = False,
) -> Answers:
    """POST `body(n)` as .npz at n / a_second; with `keep` the answers' JSON is kept.

    A request that is late because the client was busy counts from when it was due.
    """
    answers = Answers()
    limits = httpx2.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=limits) as http:

        async def one(n: int, due: float) -> None:
            try:
                answer = await http.post(path, content=body(n), headers=NPZ)
            except httpx2.TransportError as exc:
                answers.lost.append(type(exc).__name__)
                return
            took = time.monotonic() - due
            told = answer.json() if keep else None
            answers.all.append(Answer(due, took, answer.status_code, told))

        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for n in range(int(a_second * seconds)):
                due = begin + n / a_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(one(n, due))
    return answers


def percentile(seconds: list[float], share: float) -> float:
    """The value that `share` of them do not pass; NaN of nothing.

    >>> percentile([0.1, 0.2, 0.3, 0.4], 0.5)
    0.2
    """
    if not seconds:
        return float("nan")
    ordered = sorted(seconds)
    return ordered[max(0, round(share * len(ordered)) - 1)]


def p99_ms(answers: list[Answer]) -> float:
    """99th percentile of the answers' times, in ms."""
    return 1000 * percentile([one.seconds for one in answers], 0.99)


def rss(pid: int | None) -> int:
    """Resident bytes of a process; 0 if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0
