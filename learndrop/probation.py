"""What a window on trial is compared with: units frozen before a drop, or thawed after one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Probation:
    """A window that shows whether a move may stand.

    Attributes:
        back_to: the cut that comes back if it may not.
        error: of the answers in the window before.
        samples: answers that had counted when it began (`Progress.telling`).
    """

    back_to: int
    error: float
    samples: int

    def slack(self, n: int) -> float:
        """How far the error of `n` samples may lie above: two standard errors and a hundredth.

        >>> round(Probation(back_to=0, error=0.1, samples=0).slack(128), 3)
        0.085
        """
        return float(0.01 + 2.0 * (max(self.error * (1 - self.error), 0.01) * 2 / n) ** 0.5)

    def worse(self, error: float, n: int) -> bool:
        """Whether an error of `n` samples is higher than chance explains.

        >>> trial = Probation(back_to=0, error=0.1, samples=0)
        >>> trial.worse(0.18, 128), trial.worse(0.19, 128)
        (False, True)
        """
        return error > self.error + self.slack(n)

    def told(self, error: float, n: int) -> str:
        """The figures, for people."""
        return f"error {error:.3f} against {self.error:.3f} before, {self.slack(n):.3f} allowed"
