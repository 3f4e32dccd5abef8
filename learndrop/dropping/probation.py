"""What a window on trial is compared with: units frozen before a drop, or thawed after one."""

from __future__ import annotations

from dataclasses import dataclass

from learndrop.standard_error import tolerance


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

    def worse(self, error: float, n: int) -> bool:
        """Whether an error of `n` samples is higher than chance explains.

        >>> trial = Probation(back_to=0, error=0.1, samples=0)
        >>> trial.worse(0.18, 128), trial.worse(0.19, 128)
        (False, True)
        """
        return error > self.error + tolerance(self.error, n)

    def told(self, error: float, n: int) -> str:
        """The figures, for people."""
        allowed = tolerance(self.error, n)
        return f"error {error:.3f} against {self.error:.3f} before, {allowed:.3f} allowed"
