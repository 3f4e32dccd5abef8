"""Decides when the stream has changed, from the test-then-train errors.

River's ADWIN does the statistics; around it: a minimum of samples, a cool-down, one event a
drift, a reset by hand. Only a rise of the error counts: getting better is no drift, and no reason
to forget what the error was.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import numpy as np

from learndrop.installed import file_of
from learndrop.standard_error import standard_error

HISTORY_LIMIT = 100_000  # bits kept since the last reset, so that a checkpoint can bring ADWIN back


class DriftDetector:
    """Speaks river's dialect: `update(error)`, then read `drift_detected`.

    Args:
        delta: confidence of ADWIN; smaller means fewer alarms.
        cooldown: samples after a reset in which no drift is declared; one that began there and
            lasts is declared at its end.
    """

    def __init__(self, delta: float, cooldown: int) -> None:
        self.delta, self.cooldown = delta, cooldown
        self.drift_detected = False
        self.before = 0.0
        self.after = 0.0
        self._history: list[bool] = []
        self._held: float | None = None  # the error before a rise in the cool-down
        self._adwin: Any = _adwin(delta)

    @property
    def seen(self) -> int:
        """Errors since the last reset."""
        return len(self._history)

    @property
    def width(self) -> int:
        """Samples in ADWIN's window: right after an alarm, those of the new world."""
        return int(self._adwin.width)

    @property
    def error(self) -> float:
        """Mean error over ADWIN's present window."""
        return float(self._adwin.estimation)

    def update(self, wrong: bool) -> None:
        """Take the next error; `drift_detected`, `before` and `after` then tell the verdict."""
        self._take(wrong)
        if len(self._history) >= HISTORY_LIMIT:
            self._replay(self._history[-HISTORY_LIMIT // 5 :])

    def _take(self, wrong: bool) -> None:
        before = self.error
        self._feed(wrong)
        rose = bool(self._adwin.drift_detected) and self.error > before
        if rose and self.seen <= self.cooldown:
            self._held = before if self._held is None else min(before, self._held)
            rose = False
        if self._held is not None and self.seen > self.cooldown:
            before, self._held = self._held, None
            rose = rose or self.error > before + 3 * standard_error(before, self.width)
        self.drift_detected = rose
        if rose:
            self.before, self.after = before, self.error

    def reset(self) -> None:
        """Start anew; the cool-down begins here."""
        self.drift_detected = False
        self._history = []
        self._held = None
        self._adwin = _adwin(self.delta)

    def _feed(self, wrong: bool) -> None:
        if self._adwin.drift_detected:
            self._keep_window()
        self._adwin.update(int(wrong))
        self._history.append(wrong)

    def _keep_window(self) -> None:
        """Go on with the window that ADWIN has kept at a change that was no drift for us.

        River's begins from nothing at the update after any change, also one for the better: a
        drift that comes next would have nothing before it to be compared with, and would never be
        noticed. The algorithm itself (Bifet and Gavalda 2007) goes on with the newer part.
        """
        kept = self._history[-self.width :]
        self._adwin = _adwin(self.delta)
        for wrong in kept:
            self._adwin.update(int(wrong))

    def _replay(self, history: list[bool]) -> None:
        self.reset()
        for wrong in history:
            self._take(wrong)

    def to_json(self) -> dict[str, Any]:
        """Everything needed to go on identically: river's objects have no safe format of their
        own, but ADWIN is deterministic, so its input since the last reset is its state."""
        bits = np.packbits(np.array(self._history, dtype=np.uint8)).tobytes()
        return {"seen": self.seen, "errors": base64.b64encode(bits).decode()}

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` wrote."""
        packed = np.frombuffer(base64.b64decode(data["errors"]), np.uint8)
        self._replay([bool(b) for b in np.unpackbits(packed)[: data["seen"]]])


def _adwin(delta: float) -> Any:
    return _adwin_class()(delta=delta)


@cache
def _adwin_class() -> Any:  # river's classes carry no types
    """River's ADWIN from its file alone.

    `river.drift` also imports data sets and, where they are installed, scikit-learn and scipy: more
    than 1 s of every start.
    """
    file = file_of("river", "drift", "adwin.py")
    spec = spec_from_file_location("river.drift.adwin", file) if file else None
    if spec is None or spec.loader is None:
        from river.drift import ADWIN  # a river that is laid out in another way

        return ADWIN
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ADWIN
