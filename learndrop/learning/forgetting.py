"""What must not be kept: samples are taken out of all that a learner holds of them."""

from __future__ import annotations

from collections.abc import Sequence

from learndrop.learning.learner import Learner


class Forgetting:
    """Takes samples out of replay buffer, feature store and reserve.

    Weights are not unlearned: what they took from these samples stays in them.
    """

    def __init__(self, learner: Learner) -> None:
        self._reserve, self._rehearsal = learner.belief.reserve, learner.rehearsal

    def forget(self, stream_ids: Sequence[str]) -> set[str]:
        """Take out those with these ids on the stream; the ids of those that were replayed."""
        self._reserve.forget(stream_ids)
        return self._rehearsal.forget(stream_ids)

    def forget_before(self, unix_s: float) -> int:
        """The same for everything that the stream was given before that time; how many."""
        self._reserve.forget_before(unix_s)
        return self._rehearsal.forget_before(unix_s)
