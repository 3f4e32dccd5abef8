"""What is told of a deletion: plainly, also what it does not reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

Learned = Literal["no", "yes", "unknown"]

NOT_REACHED = (
    "weights that have learned it: learning is not undone",
    "copies and backups that somebody made",
    "files that the server of Redis keeps until it rewrites its log, which it is asked to do",
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was done to delete one sample.

    Attributes:
        sample_id: as it was asked for.
        asked_s: unix time of the request; of several, the last that found something.
        names: every id that it had: one that was put back from the dead letters has several.
        stream: what it was on the stream: `waiting`, `seen` by the learner, or `gone` from there.
        learned: whether weights have learned from it.
        dead_letters: ids of dead letters thrown away for it.
        prediction: id of the prediction that it was made of, taken away with its picture.
        replayed: whether it lay in the replay buffer; None until the worker has looked.
        forgotten_s: when the worker took it out of replay buffer and feature store.
        erased_s: since when no checkpoint has it.
        erase_within_s: how long that may take after the request, while a worker runs.
    """

    sample_id: str
    asked_s: float
    names: list[str]
    stream: str
    learned: Learned
    dead_letters: list[str]
    prediction: str | None
    erase_within_s: float
    replayed: bool | None = None
    forgotten_s: float | None = None
    erased_s: float | None = None

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.erased_s is not None

    def added_to(self, first: Receipt) -> Receipt:
        """What an earlier receipt of the same sample says, with what was found since.

        Only something that was still there makes the worker's part be done anew.

        >>> first = Receipt("7-0", 1.0, ["7-0"], "waiting", "no", ["8-0"], "6-0", 600.0, False, 2.0)
        >>> again = Receipt("7-0", 9.0, ["7-0"], "gone", "unknown", [], None, 600.0)
        >>> again.added_to(first) == first
        True
        >>> later = Receipt("7-0", 9.0, ["7-0", "9-0"], "seen", "yes", [], None, 600.0)
        >>> both = later.added_to(first)
        >>> both.stream, both.learned, both.dead_letters, both.prediction, both.forgotten_s
        ('seen', 'yes', ['8-0'], '6-0', None)
        """
        whole = replace(
            first,
            names=list(dict.fromkeys([*first.names, *self.names])),
            dead_letters=list(dict.fromkeys([*first.dead_letters, *self.dead_letters])),
            prediction=self.prediction or first.prediction,
        )
        if self.stream == "gone" and self.names == first.names:
            learned = self.learned if first.learned == "unknown" else first.learned
            return replace(whole, learned=learned)
        return replace(
            whole,
            asked_s=self.asked_s,
            stream=self.stream,
            learned="yes" if first.learned == "yes" else self.learned,
            replayed=first.replayed or None,
            forgotten_s=None,
            erased_s=None,
        )

    def said(self, first_version: int | None) -> str:
        """In one sentence what became of its traces in weights.

        >>> receipt = Receipt("7-0", 0.0, ["7-0"], "gone", "yes", [], None, 600.0)
        >>> receipt.said(4)
        'It was learned: model version 4 and all after it have learned from it, and keep that.'
        >>> receipt.said(None)
        'It was learned: the present weights have learned from it, and keep that.'
        """
        if self.learned == "no":
            return "It was not learned: no weights have seen it."
        whether = "It was learned" if self.learned == "yes" else "Whether it was learned is unknown"
        if self.learned == "unknown":
            return f"{whether} (it ended too long ago): weights that learned from it keep that."
        if first_version is None:
            return f"{whether}: the present weights have learned from it, and keep that."
        return (
            f"{whether}: model version {first_version} and all after it have learned from it,"
            " and keep that."
        )

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what is stored of one; what a younger learndrop says besides is left out.

        >>> stored = dict.fromkeys(Receipt.__slots__) | {"sample_id": "7-0", "mood": "good"}
        >>> Receipt.from_json(stored).sample_id
        '7-0'
        """
        return cls(**{name: value for name, value in told.items() if name in cls.__slots__})

    def to_json(self, first_version: int | None = None) -> dict[str, Any]:
        """As the API tells it."""
        own = {name: getattr(self, name) for name in self.__slots__}
        return own | {
            "done": self.done,
            "first_model_version": first_version,
            "weights": self.said(first_version),
            "not_reached": list(NOT_REACHED),
        }
