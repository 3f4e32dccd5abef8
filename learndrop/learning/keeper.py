"""Keeps what is served good: measures the weights before they are published, and goes back.

Weights that are not finite, or that answer the learner's reserve worse by `rollback_fall` than they
did, go to nobody: readers and learner go back to the newest kept version that fits better.
"""

from __future__ import annotations

import logging

from safetensors import SafetensorError

from learndrop.disk.registry import Registry, Version
from learndrop.errors import LearndropError
from learndrop.events import Event
from learndrop.learning.learner import Learner
from learndrop.learning.returning import fitness_of, is_finite

TRIED = 4  # kept versions that are measured, newest first

log = logging.getLogger(__name__)


class Keeper:
    """Asked before each version and each checkpoint.

    Args:
        learner: whose weights are judged.
        registry: has the versions to go back to.
    """

    def __init__(self, learner: Learner, registry: Registry) -> None:
        self._learner, self._registry = learner, registry
        self._not_before = 0

    def before_checkpoint(self) -> Event | None:
        """Go back if the weights are not finite; what happened, None if all is well."""
        if is_finite(self._learner.trainer):
            return None
        return self._return("the weights are not finite", least=0.0)

    def before_publish(self) -> Event | None:
        """Go back if the weights are spoiled; what happened, None if all is well."""
        if event := self.before_checkpoint():
            return event
        learner = self._learner
        if learner.watch.monitor.on_trial:  # the reserve is of the world that may have ended
            return None
        belief, fall = learner.belief, learner.settings.rollback_fall
        now, best = belief.fitness(), belief.best_fitness
        if now is None:
            return None
        if best is not None and now < best - fall:
            if learner.progress.samples < self._not_before:
                return None
            why = f"accuracy on the reserve fell from {best:.3f} to {now:.3f}"
            if event := self._return(why, least=now + fall / 2):
                return event
            best = None  # nothing kept fits better: it has to learn
        belief.best_fitness = max(now, best or 0.0)
        return None

    def _return(self, why: str, least: float) -> Event | None:
        """Back to the best of the newest versions of this world that reach `least`."""
        learner = self._learner
        self._not_before = learner.progress.samples + learner.settings.rollback_cooldown
        best: tuple[float, Version] | None = None
        for number in self._registry.numbers()[:TRIED]:
            try:
                version = self._registry.load(number)
                found = fitness_of(learner, version.parts)
            except (LearndropError, SafetensorError, KeyError, RuntimeError) as exc:
                log.warning("version %d is not taken back: %s", number, exc)
                continue
            if found >= least and (best is None or found > best[0]):
                best = found, version
        if best is None:
            if is_finite(learner.trainer):
                return None
            return learner.take_back(None, f"{why} and no kept version can be used: fresh weights")
        found, version = best
        if self._registry.current() != version.number:
            self._registry.roll_back(version.number, hold=self._registry.held())
        cause = f"{why}: back to version {version.number}"
        return learner.take_back(version.parts, cause, version=version.number, accuracy=found)
