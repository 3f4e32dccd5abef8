"""The network as it was at an alarm: it stands trial while the learner already learns.

What has changed is told by the same weights looking at the new world as at the old one, and for as
long nothing that is dropped may move. Without a copy every sample of the trial would be answered by
the world before, statistics included. So a copy is looked at, all units train at once, and the
verdict says what of that stays: where the change asks for nothing to come back, what was dropped
is as the copy has it. What it costs is counted as probes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learndrop.networks.heads import with_rows_since
from learndrop.training.trainer import Trainer


class Witness:
    """A copy of the network that learns nothing.

    Args:
        trainer: of the network that is copied.

    Attributes:
        cut: units that were out of training at the alarm.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.cut = trainer.cut
        settings = trainer.settings.model_copy(update={"compile": False})
        self._trainer = Trainer(
            copy.deepcopy(trainer.chain), settings, trainer.device, trainer.choice
        )

    def look(self, x: Tensor, classes: int) -> tuple[list[Tensor], NDArray[np.int64]]:
        """Every unit's output for images float [N, 3, S, S], and the answers [N] among so many
        classes as are known now."""
        _, logits, outputs = self._trainer.test(x, watch=True)
        return outputs, logits[:, :classes].argmax(1).cpu().numpy()

    @property
    def weights(self) -> dict[str, Tensor]:
        """Weights and statistics as they were, by name."""
        return self._trainer.chain.state_dict()

    def tensors(self) -> dict[str, Tensor]:
        """What it holds, for a checkpoint."""
        return self.weights

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {"cut": self.cut}

    @classmethod
    def from_state(
        cls, trainer: Trainer, tensors: Mapping[str, Tensor], data: Mapping[str, Any]
    ) -> Witness:
        """Bring back what `tensors` and `to_json` gave; `trainer` is of the learner's network."""
        witness = cls(trainer)
        witness.cut = data["cut"]
        chain = witness._trainer.chain
        chain.load_state_dict(with_rows_since(tensors, chain.state_dict()))
        return witness
