"""One training step of a learner: what goes in, and what becomes of it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learndrop.learning.batch import Batch
from learndrop.learning.parts import Parts
from learndrop.networks.transfer import to_device
from learndrop.training.guard import Judgement
from learndrop.training.skew import log_shares


def entering(learner: Parts, batch: Batch, *, same: bool) -> Tensor:
    """Maps [N, ...] of a batch that enter the cut.

    They come free from its answers where cut, weights and statistics are the `same` since.
    """
    cut = learner.trainer.cut
    if cut == 0:
        return batch.x
    if same:
        return batch.outputs[cut - 1]
    learner.ledger.build(0, cut, len(batch.x))
    return learner.trainer.prefix(batch.x)


def step(learner: Parts, maps: Tensor, targets: NDArray[np.int64], start: int) -> float:
    """Train on arriving samples, with replays beside them.

    Args:
        learner: whose weights move.
        maps: [N, ...] that enter the unit `start`, of the arriving samples.
        targets: class indices [N].
        start: the first unit that trains: the cut, or one behind it where there is hurry.

    Returns:
        the loss; nan where the step was not taken.
    """
    n, hurried = len(targets), start > learner.trainer.cut
    if not hurried:
        maps, targets = _with_replays(learner, maps, targets)
    rate = learner.rate
    with learner.timed("train"):
        wanted = to_device(targets, learner.device)
        maps, mix = learner.rehearsal.mixed(maps.to(learner.device), wanted, n)
        made = learner.trainer.step(
            maps,
            wanted,
            rate,
            mix,
            start=start,
            norms=not learner.rehearsal.narrow,
            log_shares=_log_shares(learner, targets, n, hurried=hurried),
        )
        # in one transfer: each would wait for the device anew
        loss, taken = torch.stack([made.loss, made.taken.to(made.loss.dtype)]).tolist()
        learner.ledger.train(start, len(targets), arriving=n)
    judged = learner.guard.after_step(loss, taken=bool(taken))
    if judged != "good":
        _not_taken(learner, judged)
    else:
        learner.progress.loss = loss
        if not hurried:  # of units that stood still nothing can be read
            learner.settling.scorer.after_step(rate)
    learner.life.steps += 1
    learner.life.hurried += hurried
    return loss if taken else float("nan")


def _with_replays(
    learner: Parts, maps: Tensor, targets: NDArray[np.int64]
) -> tuple[Tensor, NDArray[np.int64]]:
    scratch = not learner.settings.weights
    count = learner.rehearsal.replays(
        learner.labels, learner.samples_in_world, from_scratch=scratch
    )
    places = learner.rehearsal.places(len(targets) * count)
    if not len(places):
        return maps, targets
    with learner.timed("build"):
        maps = torch.cat([maps, learner.rehearsal.maps(places, learner.floats)])
    return maps, np.concatenate([targets, learner.replay.targets[places]])


def _log_shares(
    learner: Parts, targets: NDArray[np.int64], arriving: int, *, hurried: bool
) -> Tensor | None:
    """What the loss has to allow for, where few classes arrive and others are replayed, or would be
    if there were time: then it tells only those that arrive from each other, and the rest rests."""
    replayed = len(targets) - arriving
    if not (learner.rehearsal.narrow and (replayed or hurried)):
        return None
    known = np.zeros(learner.chain.classes, np.bool_)
    known[list(learner.replay.by_class())] = True
    return to_device(log_shares(targets[:arriving], replayed, known), learner.device)


def _not_taken(learner: Parts, judged: Judgement) -> None:
    """A step that did not count, or weights that came back instead of it."""
    learner.life.skipped += 1
    learner.trainer.forget_momentum()
    if judged != "skip":
        learner.trainer.averages.start_over()
        learner.features.clear()  # the spoilt units may have made some of the maps
        learner.rehearsal.open_store()
        learner.settling.scorer.start(learner.trainer.trained)
        learner.publish_soon()
    learner.tell("skip" if judged == "skip" else "rollback", learner.guard.why)
