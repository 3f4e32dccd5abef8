"""Labels that come after the prediction: the kept picture becomes a sample, the answer is scored.

Each label has one of these outcomes; none of them is an error of the stream:

accepted      the first label of that prediction: its picture lies on the stream as a sample
scored        the same, but no pixels were kept: the answer is scored and nothing can be learned
repeated      the label that it has already: nothing changes
corrected     another label, said to be a correction: it replaces the one before
contradicted  another label, not said to be one: refused, the one before stays
foreign       a correction of a label that came from another key: refused alike
expired       the prediction is over its age, or newer ones took its place
unknown       no such prediction was given, or it was deleted
full          the stream has no room, or its key holds its share: try later
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from learndrop.answers.answer_scripts import GIVE
from learndrop.errors import Contradiction, Expired, NotFound, RoleNeeded
from learndrop.server.connections import connect_async
from learndrop.server.ids import is_id, oldest_id
from learndrop.server.keys import GROUP, Keys
from learndrop.server.mending import mending_async
from learndrop.settings import Settings
from learndrop.stream.taking import full, share_factor, share_full

Taken = Literal["accepted", "scored", "repeated", "corrected"]
Refused = Literal["contradicted", "foreign", "expired", "unknown", "full", "bad"]
OUTCOMES = (*get_args(Taken), *get_args(Refused))
VERSIONS_SCORED = 256
"""Model versions whose score is kept; the oldest go first, the sum over all stays."""


@dataclass(frozen=True, slots=True)
class Given:
    """What came of one label.

    Attributes:
        outcome: one of `Taken`.
        sample_id: of the sample on the stream; None where no pixels were kept.
        replaced: of a correction, the id of the sample before; the worker forgets it.
    """

    outcome: Taken
    sample_id: str | None
    replaced: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How answers turned out, by labels that came later."""

    labelled: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None before the first label."""
        return self.right / self.labelled if self.labelled else None


class LateLabels:
    """The labels of one model. Every method raises StreamAway when Redis does not answer."""

    def __init__(self, settings: Settings) -> None:
        self._redis: Any = connect_async(settings)
        self._settings, self._keys = settings, Keys(settings.name)
        self._give = self._redis.register_script(GIVE)

    async def give(
        self,
        prediction_id: str,
        label: str,
        *,
        correct: bool = False,
        key: str = "",
        of_others: bool = False,
    ) -> Given:
        """Take one label. The same again changes nothing, so a lost answer may be asked for again.

        Args:
            prediction_id: of the answer that the label is for.
            label: what is on the picture.
            correct: whether it may replace another label.
            key: name of the API key that sent it.
            of_others: whether it may correct what came from another key, as an admin's may.

        Raises:
            NotFound: unknown.
            Expired: over its age, or gone to make room.
            Contradiction: it has another label.
            RoleNeeded: it has one of another key, which this one may not correct.
            StreamFull, ShareFull: nothing was taken.
        """
        if not is_id(prediction_id):
            raise NotFound(f"no prediction {prediction_id[:80]!r} is known")
        known, keys = self._settings, self._keys
        named = [*keys.settled, keys.predictions, keys.given, keys.given_samples]
        named += [keys.scores, keys.score_totals, keys.deletions, keys.given_by]
        named += [keys.moved, keys.dead, keys.dead_reasons, keys.fates]
        factor = share_factor(known) if key else None
        args: list[Any] = [GROUP, prediction_id, label, int(correct), f"{time.time():.3f}", key]
        args += [known.max_pending, known.max_pending_bytes]
        args += [f"{oldest_id(known.predictions_ttl_s)}-0", VERSIONS_SCORED, int(of_others)]
        args.append("" if factor is None else f"{factor:.6f}")
        async with mending_async(self._redis, self._keys):
            outcome, *more = await self._give(named, args)
        return self._read(outcome.decode(), more, prediction_id, label, key)

    async def scores(self) -> tuple[Score, dict[int, Score]]:
        """How all answers turned out, and those of each version, newest first."""
        async with mending_async(self._redis, self._keys):
            async with self._redis.pipeline(transaction=True) as both:
                both.hmget(self._keys.score_totals, "labelled", "right")
                both.hgetall(self._keys.scores)
                totals, told = await both.execute()
        by_version = {}
        for version, text in sorted(told.items(), key=lambda pair: -int(pair[0])):
            right, labelled = map(int, text.split())
            by_version[int(version)] = Score(labelled, right)
        return Score(*(int(n or 0) for n in totals)), by_version

    async def close(self) -> None:
        """Give the connections back."""
        await self._redis.aclose()

    def _read(
        self, outcome: str, more: list[Any], prediction_id: str, label: str, key: str
    ) -> Given:
        match outcome:
            case "accepted" | "scored" | "repeated" | "corrected":
                sample_id = None if more[0] == b"-" else more[0].decode()
                replaced = more[1].decode() if outcome == "corrected" else ""
                return Given(outcome, sample_id, replaced if is_id(replaced) else None)
            case "contradicted":
                earlier = more[1].decode(errors="replace")
                raise Contradiction(
                    f"prediction {prediction_id} has the label {earlier!r}; send"
                    " `correct: true` to replace it",
                    item="label",
                    limit=earlier,
                    value=label,
                )
            case "foreign":
                raise RoleNeeded(
                    f"the label of prediction {prediction_id} came from another key: that key may"
                    " correct it, or one with the role 'admin'",
                    role="admin",
                )
            case "full":
                waiting, held, rate = more
                raise full(self._settings, 1, int(waiting), int(held), float(rate or 0))
            case "share":
                waiting, mine, rate, allowed = more
                raise share_full(key, 1, int(waiting), int(mine), int(allowed), float(rate or 0))
            case "expired":
                raise Expired(
                    f"prediction {prediction_id} is not kept any more: the newest"
                    f" {self._settings.predictions_kept} are, for"
                    f" {self._settings.predictions_ttl_s:g} s"
                )
        raise NotFound(f"no prediction {prediction_id!r} is known")


def told(totals: Score, by_version: Mapping[int, Score], most: int = 20) -> dict[str, Any]:
    """The scores as JSON values, of the newest `most` versions.

    >>> told(Score(3, 2), {7: Score(1, 1)})["versions"]
    [{'version': 7, 'labelled': 1, 'right': 1, 'accuracy': 1.0}]
    """
    rows = [
        {"version": v, "labelled": s.labelled, "right": s.right, "accuracy": s.accuracy}
        for v, s in by_version.items()
    ]
    return {
        "labelled": totals.labelled,
        "right": totals.right,
        "accuracy": totals.accuracy,
        "versions": rows[:most],
    }
