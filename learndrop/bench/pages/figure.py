"""One figure beside the aim that it is held to, and what measures of figures share."""

from __future__ import annotations

from dataclasses import dataclass

from learndrop.bench.pages.runs import Group, Run


@dataclass(frozen=True)
class Figure:
    """One row: what was measured against what; `reached` is None where there is no aim to hold."""

    what: str
    aim: str
    measured: str
    reached: bool | None

    @property
    def row(self) -> list[str]:
        """As a row of a table."""
        told = {True: "yes", False: "**no**", None: ""}[self.reached]
        return [self.what, self.aim, self.measured, told]


def accuracy(run: Run) -> float:
    """Share answered right, before each batch was learned."""
    return run.accuracy


def plays_drifts(group: Group) -> bool:
    """Whether it is about worlds that give way to others, and the stream waits."""
    job = group.runs[0].job
    return not job["rate"] and job["stream"] not in {"block", "stationary"}
