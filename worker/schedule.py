"""When it is time for a checkpoint and for a new version. Seconds come in, a yes or no goes out."""

from __future__ import annotations

from learndrop.settings import Settings

SOON_S = 1.0  # an idle worker saves what it learned this soon, so that the account shows it
SHARE = 0.02  # but early checkpoints take no more than this share of the time
IDLE_SHARE = 0.05  # ... and of the time in which nothing else is to do
PUBLISH_SHARE = 0.1  # of the time for versions that nobody waits for, while there is more to learn
PUBLISH_WAIT_S = 60.0  # but they wait no longer than this for their share
AGAIN_S = 5.0  # after a write that failed


class Checkpoints:
    """Due after `checkpoint_s`; sooner when nothing else is to do or the stream fills up.

    The first comes after a second, and the distance doubles: a worker that is killed every few
    seconds still gets on.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self._longest_s = settings.checkpoint_s
        self._every_s = min(SOON_S, self._longest_s)
        # What is learned and not acknowledged fills the stream just like what waits.
        self._most_unsaved = max(1, settings.max_pending // 2)
        self._since, self._cost_s = now, 0.0
        self._not_before = now
        self.unsaved = 0
        self._passed = False

    def learned(self, count: int) -> None:
        """So many samples are in the learner and in no checkpoint."""
        self.unsaved += count

    def passed(self) -> None:
        """Entries were buried: the position moved, and only a checkpoint lets their fates go on."""
        self._passed = True

    def due(self, now: float, *, idle: bool) -> bool:
        """Whether to save now."""
        if now < self._not_before:
            return False
        age_s = now - self._since
        if not self.unsaved:
            return self._passed and age_s >= self._longest_s
        soonest_s = self._cost_s / (IDLE_SHARE if idle else SHARE)
        every_s = SOON_S if idle else self._every_s
        return (
            age_s >= min(self._longest_s, max(every_s, soonest_s))
            or self.unsaved >= self._most_unsaved
        )

    def done(self, now: float, cost_s: float) -> None:
        """Saved."""
        self._since, self._cost_s, self.unsaved, self._passed = now, cost_s, 0, False
        self._every_s = min(2 * self._every_s, self._longest_s)

    def failed(self, now: float) -> None:
        """Not saved: try again in a while."""
        self._not_before = now + AGAIN_S


class Versions:
    """Due `publish_s` after the last one when something was learned; at once when it matters.

    A version is measured before it goes out. Where that takes long, as on a slow processor, the
    next waits longer, unless nothing is left to learn.
    """

    def __init__(self, settings: Settings, now: float) -> None:
        self._every_s = settings.publish_s
        self._since, self._cost_s = now - settings.publish_s, 0.0
        self._urgent = False
        self._not_before = now
        self.unpublished = 0

    def learned(self, count: int, *, urgent: bool) -> None:
        """So many samples are in the learner and in no version."""
        self.unpublished += count
        self._urgent |= urgent

    def due(self, now: float, *, idle: bool) -> bool:
        """Whether to publish now."""
        if not self.unpublished or now < self._not_before:
            return False
        soonest_s = 0.0 if idle else min(self._cost_s / PUBLISH_SHARE, PUBLISH_WAIT_S)
        return self._urgent or now - self._since >= max(self._every_s, soonest_s)

    def done(self, now: float, cost_s: float) -> None:
        """Published."""
        self._since, self._cost_s = now, cost_s
        self._urgent, self.unpublished = False, 0

    def failed(self, now: float) -> None:
        """Not published: try again in a while."""
        self._not_before = now + AGAIN_S
