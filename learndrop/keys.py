"""Where one model's things lie in Redis; nothing else spells a key."""

from __future__ import annotations

from dataclasses import dataclass

GROUP = "learners"
"""Name of the consumer group on the stream."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the model called `name`.

    Attributes:
        name: `settings.name`; several models share one server under different names.
    """

    name: str

    def _key(self, thing: str) -> str:
        return f"learndrop:{self.name}:{thing}"

    @property
    def stream(self) -> str:
        """Stream of samples that are accepted and not yet learned; one entry a sample."""
        return self._key("stream")

    @property
    def dead(self) -> str:
        """Stream of buried entries: their fields, and why."""
        return self._key("dead")

    @property
    def counters(self) -> str:
        """Hash: accepted, learned, buried, vanished, bytes (of pixels that wait), rate."""
        return self._key("counters")

    @property
    def in_hand(self) -> str:
        """String: ids of the entries that the worker is learning at this moment."""
        return self._key("in-hand")

    @property
    def suspects(self) -> str:
        """Hash: how often an entry was in hand when the worker died."""
        return self._key("suspects")

    @property
    def foreign(self) -> str:
        """Set: ids of waiting entries that somebody else than the service wrote."""
        return self._key("foreign")

    @property
    def state(self) -> str:
        """String: the learner's state as JSON."""
        return self._key("state")

    @property
    def events(self) -> str:
        """Stream of what happened to the learner."""
        return self._key("events")

    @property
    def predictions(self) -> str:
        """Stream of answers that can be asked for again."""
        return self._key("predictions")
