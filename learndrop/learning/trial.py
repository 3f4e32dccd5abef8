"""The trial that follows an alarm: a copy of the network stands it while all units train."""

from __future__ import annotations

from torch import Tensor

from learndrop.drift.earlier import restored
from learndrop.drift.witness import Witness
from learndrop.learning.parts import Parts


def call(learner: Parts) -> None:
    """An alarm was raised: where units are dropped a copy stands trial, and all train until the
    verdict. A candidate that trains beside does as much."""
    if learner.trainer.cut == 0 or learner.candidate is not None or not learner.settings.drop:
        return
    learner.witness = Witness(learner.trainer)
    learner.settling.probation = None  # what is on it had settled: the verdict decides what returns
    # stored maps stay where they are: if nothing comes back, they are as good as before
    learner.trainer.move_cut(0, fresh=True)
    learner.settling.scorer.start(learner.trainer.trained)


def dismiss(learner: Parts) -> dict[str, Tensor]:
    """The trial is over: network and cut are again as they were at the alarm.

    Returns:
        the weights that were learned since, by name; none where no copy stood trial.
    """
    witness, learner.witness = learner.witness, None
    if witness is None:
        return {}
    learned = {n: t.clone() for n, t in learner.chain.state_dict().items()}
    restored(learner.chain, witness.weights)
    learner.trainer.move_cut(witness.cut)
    return learned
