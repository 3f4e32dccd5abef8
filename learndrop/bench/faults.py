"""Noise in one block of the network: a drift whose depth is known.

Nothing in a picture can touch one block alone: whatever reaches block 5 has passed blocks 0 to 4.
So this drift is put where it can be put. From one sample on, the weights of one unit are disturbed:
for the units before it nothing has changed, its own output is the first that has, and it is the
unit that has to learn again (the synthetic test of surgical fine-tuning, Lee et al. 2022). Where
the locator says that the change begins can therefore be right or wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from learndrop.learning.learner import Learner

STRENGTH = 3.0
"""Of the noise, in standard deviations of the tensor that it is added to. At 1 a residual network
of 10 units answers nearly as before, and there is nothing to notice."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Gaussian noise on the weights of one unit.

    Attributes:
        unit: position of the unit; counted from the end where negative.
        strength: standard deviation of the noise, in that of the tensor it is added to.
        seed: of the noise.
    """

    unit: int
    strength: float = STRENGTH
    seed: int = 0

    def strike(self, learner: Learner) -> int:
        """Disturb the unit, in training or out of it; its position.

        Stored maps below the cut that were made by other weights are forgotten by their key.
        """
        import torch  # seconds, which nobody waits for who only names a stream

        unit = learner.chain.units[self.unit]
        generator = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for tensor in unit.module.parameters():
                if tensor.ndim > 1:  # a bias or a scale of BatchNorm has no spread to go by
                    noise = torch.randn(tensor.shape, generator=generator).to(tensor)
                    tensor.add_(noise, alpha=self.strength * float(tensor.std()))
        learner.rehearsal.open_store()
        return unit.position


def fault(world: str, seed: int = 0) -> Fault | None:
    """The fault that a world's name means: `block3`, `block-1`; None for every other name.

    >>> fault("block3").unit, fault("block-1").unit, fault("noise40")
    (3, -1, None)
    """
    found = re.fullmatch(r"block(-?\d+)", world)
    return Fault(int(found[1]), seed=seed) if found else None
