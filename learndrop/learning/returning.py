"""Goes back to weights that were better, and says whether it should."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors.torch import load
from torch import Tensor

from learndrop.errors import DamagedFile
from learndrop.learning import moving, trial
from learndrop.learning.parts import Parts
from learndrop.networks.heads import begun_anew, with_rows_since
from learndrop.training.trainer import Trainer


def is_finite(trainer: Trainer) -> bool:
    """Whether every weight and statistic is a finite number."""
    return all(
        bool(torch.isfinite(tensor).all())
        for unit in trainer.chain.units
        for tensor in unit.module.state_dict().values()
        if tensor.is_floating_point()
    )


def tensors_of(parts: Mapping[str, bytes]) -> dict[str, Tensor]:
    """The weights of a model version, by the names that the network has for them."""
    return {name: tensor for part in parts.values() for name, tensor in load(part).items()}


def fitness_of(learner: Parts, parts: Mapping[str, bytes]) -> float:
    """`Belief.fitness` of a version, 0 where the reserve tells nothing; the present weights stay.

    Raises:
        DamagedFile: if one of the weights is not finite.
        KeyError, RuntimeError: if the parts are not those of this network.
    """
    present = {n: t.clone() for n, t in learner.chain.state_dict().items()}
    try:
        learner.chain.load_state_dict(with_rows_since(tensors_of(parts), present))
        if not is_finite(learner.trainer):
            raise DamagedFile("a weight is not finite")
        return learner.belief.fitness() or 0.0
    finally:
        learner.chain.load_state_dict(present)


def put_back(learner: Parts, parts: Mapping[str, bytes] | None) -> None:
    """Give the learner the weights of a version, or fresh ones; labels that came since a version
    keep their rows of the head. What it holds beside them starts anew where it belongs to the old
    ones.

    Raises:
        KeyError, RuntimeError: if the parts are not those of this network; nothing was changed.
    """
    present = learner.chain.state_dict()
    if parts is None:
        weights = begun_anew(learner.first_weights(), present)
    else:
        weights = with_rows_since(tensors_of(parts), present)
    spoilt = not is_finite(learner.trainer)
    moving.abandon_thaw(learner, "other weights are taken")
    trial.dismiss(learner)
    learner.chain.load_state_dict(weights)
    if parts is None:  # nothing below the cut has learned anything
        learner.trainer.move_cut(0, fresh=True)
        learner.settling.start_over(0)
        learner.life.world_start, learner.life.begun = learner.progress.samples, 0
    learner.trainer.forget_momentum()
    learner.trainer.averages.start_over()
    learner.rehearsal.open_store()
    learner.settling.probation = learner.recovery = learner.candidate = None
    learner.settling.scorer.start(learner.trainer.trained)
    learner.guard.end_window()
    learner.watch.withdraw()
    # the errors of before are those that a version had in its time: if the present ones stay above
    # them, not the weights were spoilt but the world has changed, and that is still to be told
    if parts is None or spoilt:
        learner.watch.detector.reset()
        learner.watch.warner.reset()
