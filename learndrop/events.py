"""What happened to the learner, as the API, the metrics, the demo and the logs all show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

EventType = Literal[
    "start",
    "drop",
    "freeze",
    "return",
    "thaw",
    "drift",
    "reset",
    "publish",
    "grow",
    "rollback",
    "skip",
    "quarantine",
    "release",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One change of the learner.

    Attributes:
        type: `drop` units left training; `freeze` on probation; `return` units came back;
            `thaw` what is dropped trains for a window (a `drop` ends it);
            `drift` the stream changed; `reset` what was done about it; `publish` a new version;
            `grow` a new label; `rollback` weights taken back; `skip` a step not taken;
            `quarantine` a key is not believed; `release` it is again.
        time: unix time, seconds.
        samples: samples learned when it happened.
        cause: one sentence with the figures that led to it.
        depth: number of leading units out of training after it.
        detail: more figures, JSON values only.
    """

    type: EventType
    time: float
    samples: int
    cause: str
    depth: int
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The event as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Event:
        """Read what `to_json` wrote; what a newer learndrop added is passed over."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})
