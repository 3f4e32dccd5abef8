"""How one sample ended, or that it still waits: what the stream's scripts wrote of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from learndrop.errors import NotFound
from learndrop.settings import Settings

Status = Literal["pending", "learned", "buried", "deleted"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one sample.

    Attributes:
        id: the sample's.
        status: `pending` as long as no checkpoint has it.
        model_version: of a learned one, the first version that has learned it; None while
            none is out.
        reason: of a buried one, as in the metrics.
        why: of a buried one, in words.
        replayed_as: its id since it was put back from the dead letters, if it was.
    """

    id: str
    status: Status
    model_version: int | None = None
    reason: str | None = None
    why: str | None = None
    replayed_as: str | None = None


def fate_from(sample_id: str, told: str, version: int | None = None) -> Fate:
    """Read a fate as the scripts write it.

    >>> fate_from("7-0", "learned", 3)
    Fate(id='7-0', status='learned', model_version=3, reason=None, why=None, replayed_as=None)
    >>> fate_from("7-1", "buried wrong_size 8 x 8, not 32 x 32").why
    '8 x 8, not 32 x 32'
    """
    if told.startswith("buried "):
        _, reason, why = told.split(" ", 2)
        return Fate(sample_id, "buried", None, reason, why)
    if told == "learned":
        return Fate(sample_id, "learned", version)
    return Fate(sample_id, "deleted" if told == "deleted" else "pending")


def unknown(sample_id: str, settings: Settings) -> NotFound:
    """Say that nothing is known of a sample."""
    kept = settings.fates_kept
    return NotFound(f"no sample {sample_id[:80]!r} is known (the newest {kept} that ended are)")
