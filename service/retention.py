"""Takes away in the background what is over its age: predictions with their pictures, dead letters.

A page of answers leaves out what is over its age at once; this frees the bytes. With several
services each does it, which does no harm. The stream has no age: what waits to be learned is never
taken away unlearned. The worker looks after its own replay buffer and checkpoints.
"""

from __future__ import annotations

from learndrop.answers.kept import Answers
from learndrop.settings import Settings
from learndrop.upkeep.dead_letters import DeadLetters
from service.background import Background
from service.metrics import ServiceMetrics

LONGEST_S = 60.0


class Retention(Background):
    """Looks at least every minute, and ten times within the shortest age."""

    def __init__(
        self, settings: Settings, answers: Answers, letters: DeadLetters, metrics: ServiceMetrics
    ) -> None:
        shortest_s = min(settings.predictions_ttl_s, settings.dead_letters_ttl_s)
        super().__init__(self.look, min(LONGEST_S, shortest_s / 10), "retention_waits")
        self._answers, self._letters, self._metrics = answers, letters, metrics

    async def look(self) -> None:
        """Take away what is over its age now.

        Raises:
            StreamAway: when Redis does not answer.
        """
        self._metrics.expired.labels("prediction").inc(await self._answers.expire())
        self._metrics.expired.labels("dead_letter").inc(await self._letters.expire())
