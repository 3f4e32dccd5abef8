"""The learner of the newest checkpoint: loaded ahead, and again if it is old when it is needed."""

from __future__ import annotations

from pathlib import Path

from learndrop.disk import checkpoint_files
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.server.ids import START
from learndrop.settings import Settings


class Restorer:
    """What a worker that stands by has ready."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._folder = settings, settings.checkpoints_dir
        self._loaded: tuple[Learner, str, bool] | None = None
        self._newest: Path | None = None

    def restored(self) -> tuple[Learner, str, bool]:
        """Learner, its position, and whether it is an older one because the newest is damaged.

        Raises:
            LearndropError: see checkpoint.load_latest.
        """
        newest = checkpoint_files.newest(self._folder)
        if self._loaded is None or newest != self._newest:
            found = checkpoint.load_latest(self._folder, self._settings)
            learner, position = found or (Learner(self._settings), START)
            older = newest is not None and checkpoint_files.position_of(newest) != position
            self._loaded, self._newest = (learner, position, older), newest
        return self._loaded

    def taken(self) -> tuple[Learner, str, bool]:
        """The same, for whoever goes on learning with it."""
        loaded = self.restored()
        self._loaded = None
        return loaded
