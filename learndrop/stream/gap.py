"""A stream and a checkpoint that do not belong together: what the one has and the other lacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GapKind = Literal["stream_behind", "checkpoint_behind"]


@dataclass(frozen=True, slots=True)
class Gap:
    """What was found when the worker came to the stream.

    Attributes:
        kind: `stream_behind`: the stream ends before the checkpoint, as after a replica that had
            not heard everything was promoted, or never had what it learned, as after Redis lost
            all; `checkpoint_behind`: samples were acknowledged that this checkpoint lacks, as with
            another data folder.
        samples: how many samples the one has and the other lacks.
        why: in words, with the ids.
        waiting: whether the worker waits to be told (setting `on_gap`).
    """

    kind: GapKind
    samples: int
    why: str
    waiting: bool


def gap_between(
    found: str,
    position: str,
    last: str,
    acked: str,
    *,
    ours: int,
    theirs: int,
    lost: int = 0,
    waiting: bool,
) -> Gap | None:
    """Say what the stream's answer to a worker that comes means; None when all is well.

    Args:
        found: `behind`, `ahead` or `foreign`, what JOIN found; anything else is well unless
            samples are lost.
        position: of the checkpoint.
        last: id of the stream's last entry.
        acked: id up to which entries were acknowledged.
        ours: samples that the checkpoint has learned.
        theirs: samples that the stream counts as learned, or has and this worker has learned.
        lost: samples that the checkpoint has learned and that the stream was never given.
        waiting: whether the worker is to wait.

    >>> gap_between("well", "9-0", "9-0", "9-0", ours=9, theirs=9, waiting=True)
    >>> gap_between("behind", "9-0", "7-0", "7-0", ours=9, theirs=7, waiting=True).samples
    2
    >>> gap_between("ahead", "0-0", "9-0", "7-0", ours=0, theirs=7, waiting=False).kind
    'checkpoint_behind'
    >>> gap_between("well", "9-0", "9-0", "0-0", ours=9, theirs=0, lost=9, waiting=True).samples
    9
    """
    if found == "foreign":
        why = (
            f"samples up to {acked} were learned into another data folder than that of this"
            f" checkpoint, which ends at {position}: it lacks {theirs} of them"
        )
        return Gap("checkpoint_behind", theirs, why, waiting)
    if found == "behind":
        missing = max(0, ours - theirs)
        why = (
            f"the stream ends at {last}, before the checkpoint at {position}: Redis lost what came"
            f" after it ({missing} samples that the checkpoint has learned, and what waited)"
        )
        return Gap("stream_behind", missing, why, waiting)
    if found == "ahead":
        missing = max(0, theirs - ours)
        why = (
            f"samples up to {acked} were learned and acknowledged, this checkpoint ends at"
            f" {position}: it lacks {missing} of them (is it the right data folder?)"
        )
        return Gap("checkpoint_behind", missing, why, waiting)
    if lost:
        why = (
            f"the checkpoint at {position} has learned {ours} samples, and {lost} of them were"
            " never given to this stream: Redis lost all that it had, or it is not this"
            " data folder's Redis"
        )
        return Gap("stream_behind", lost, why, waiting)
    return None
