"""What a window on trial is compared with: units frozen before a drop, or thawed after one."""

from __future__ import annotations

from dataclasses import dataclass

from learndrop.standard_error import error_of_difference, tolerance


@dataclass
class Probation:
    """A window that shows whether a move may stand.

    Attributes:
        back_to: the cut that comes back if it may not.
        error: of the answers before.
        samples: answers that had counted when it began (`Progress.telling`).
        of: answers that `error` is of; 0: as many as it is compared with.
    """

    back_to: int
    error: float
    samples: int
    of: int = 0

    def worse(self, error: float, n: int) -> bool:
        """Whether an error of `n` samples is higher than chance explains.

        >>> trial = Probation(back_to=0, error=0.1, samples=0)
        >>> trial.worse(0.18, 128), trial.worse(0.19, 128)
        (False, True)
        """
        return error > self.error + tolerance(self.error, n, self.of)

    def in_doubt(self, error: float, n: int) -> bool:
        """Whether it is higher by a standard error: where many answers are wrong a window shows
        great harm only.

        >>> trial = Probation(back_to=0, error=0.5, samples=0, of=512)
        >>> trial.worse(0.58, 256), trial.in_doubt(0.58, 256), trial.in_doubt(0.53, 256)
        (False, True, False)
        >>> trial.worse(0.58, 1024)
        True
        """
        return error > self.error + error_of_difference(self.error, n, self.of)

    def told(self, error: float, n: int) -> str:
        """The figures, for people."""
        allowed = tolerance(self.error, n, self.of)
        return f"error {error:.3f} against {self.error:.3f} before, {allowed:.3f} allowed"
