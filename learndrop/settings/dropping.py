"""Settings of dropping and drift."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from learndrop.settings.group import MIB, Group


class DroppingSettings(Group):
    """When units leave training, and when a drift brings them back."""

    drop: bool = True
    """False trains every unit for ever (the plain control)."""
    window: int = Field(8, ge=4, le=10_000)
    """Steps between two readings of the scores."""
    warmup_windows: int = Field(1, ge=0)
    """Windows after a start or a drift in which nothing is dropped."""
    settled_windows: int = Field(2, ge=1, le=100)
    """Windows in a row a unit must score low to count as learned."""
    score: Literal["persistence", "motion", "directedness", "function", "gradient"] = "persistence"
    """What tells that a unit has settled; `python -m learndrop.bench.rank` compares them."""
    score_low: float = Field(0.0, ge=0, le=1)
    """Bound of any `score` but persistence; 0 takes that score's own."""
    persistence_low: float = Field(0.4, gt=0, le=1)
    """A unit wanders instead of learning when its persistence (-1 to 1) is at most this."""
    keep_units: int = Field(1, ge=1)
    """Last units that are never dropped."""
    thaw_every: int = Field(12, ge=0, le=100_000)
    """Windows from a drop until all units train again for one window (the thaw probe), doubled each
    time that finds nothing to learn. 0 lets what is dropped be until a drift."""
    drift_delta: float = Field(0.002, gt=0, lt=1)
    """Confidence of ADWIN on the test-then-train error; smaller means fewer alarms."""
    drift_cooldown: int = Field(512, ge=0)
    """Samples after a drift in which no second one is declared, but by pictures that are plainly
    others."""
    recovery_samples: int = Field(1024, ge=1)
    """Samples after which a reset that did not help is followed by a stronger one; up to twice as
    many while answers still get better."""
    candidate: bool = False
    """Train a copy of the whole network beside, from a warning to the verdict on the drift, and a
    perturbed one where a reset did not help, one with the first weights where that did not either;
    whichever answers better goes on."""
    earlier_worlds: int = Field(3, ge=0, le=100)
    """Most worlds that have ended whose weights are kept: if one comes back, they do."""
    earlier_bytes: int = Field(256 * MIB, ge=0)
    """Most bytes of such weights."""
    accuracy_window: int = Field(512, ge=16)
    """Samples over which the present prequential accuracy is taken."""
