"""A second network that learns beside the first and takes its place if it is better.

It begins at a warning, before a drift is certain (as River's adaptive trees grow theirs), with
every unit in training; or, perturbed, when a reset has not helped (shrink and perturb, arXiv
1910.08475); or afresh, with the first weights, when that has not helped either: units that answer
nothing any more cannot be trained back (loss of plasticity: arXiv 2306.13812). It answers and
learns the same batches. What it costs is counted as probes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from learndrop.networks.chain import Chain
from learndrop.networks.heads import begun_anew, with_rows_since
from learndrop.networks.transfer import to_device
from learndrop.training.ledger import Ledger
from learndrop.training.trainer import Trainer

Kind = Literal["warned", "perturbed", "fresh"]
LIFE = 512  # samples: a warning that no alarm followed until then was none
JUDGED = 256  # newest answers of both that are compared, at most
SHRINK, NOISE = 0.6, 0.01


class Candidate:
    """A copy of the network, all units in training.

    Args:
        trainer: of the network beside which it learns; its chain is copied.
        kind: why it was begun.
        seed: of the noise on a perturbed one.
        life: samples after which it is judged.
        wanted: share of right answers that the reset on trial was to bring back.
    """

    def __init__(
        self, trainer: Trainer, kind: Kind, *, seed: int = 0, life: int = LIFE, wanted: float = 0.0
    ) -> None:
        self.kind: Kind = kind
        self.life, self.wanted = life, wanted
        chain = copy.deepcopy(trainer.chain)
        settings = trainer.settings.model_copy(update={"compile": False})  # it lives for seconds
        self.trainer = Trainer(chain, settings, trainer.device, trainer.choice)
        self.own: list[bool] = []
        self.others: list[bool] = []
        self.samples = 0
        if kind == "perturbed":
            perturb(chain, seed)

    def learn(
        self,
        x: Tensor,
        targets: NDArray[np.int64],
        right: NDArray[np.bool_],
        rate: float,
        classes: int,
    ) -> None:
        """Answer one batch, then learn it.

        Args:
            x: float [N, 3, S, S].
            targets: class indices [N].
            right: what the first network answered right [N].
            rate: of the step.
            classes: that the first network tells apart.
        """
        if classes > self.trainer.chain.classes:
            self.trainer.grow(classes)
        _, logits, _ = self.trainer.test(x)
        answers = logits.argmax(1).cpu().numpy()
        self.own = [*self.own, *(answers == targets).tolist()][-JUDGED:]
        self.others = [*self.others, *right.tolist()][-JUDGED:]
        self.samples += len(targets)
        self.trainer.step(x, to_device(targets, x.device), rate)

    def accuracies(self, n: int = JUDGED) -> tuple[float, float, int]:
        """Share right of the newest `n` answers, its own and the other's, and of how many."""
        own, others = self.own[-n:], self.others[-n:]
        count = max(1, len(own))
        return sum(own) / count, sum(others) / count, len(own)

    def cost(self, ledger: Ledger, n: int) -> None:
        """Enter the answers and one step of n samples into the account."""
        ledger.probe(n)
        ledger.probe(n, trained_from=0)

    def begin_anew(self, first: Mapping[str, Tensor]) -> None:
        """Take the weights and statistics that the network had when it had learned nothing."""
        chain = self.trainer.chain
        chain.load_state_dict(begun_anew(first, chain.state_dict()))

    def tensors(self) -> dict[str, Tensor]:
        """Weights and momentum, for a checkpoint."""
        weights = {f"weights.{n}": t for n, t in self.trainer.chain.state_dict().items()}
        momentum = self.trainer.optimizer.momentum()
        return weights | {f"momentum.{n}": t for n, t in momentum.items()}

    def to_json(self) -> dict[str, Any]:
        """The rest of the state, for a checkpoint."""
        return {
            "kind": self.kind,
            "own": self.own,
            "others": self.others,
            "samples": self.samples,
            "life": self.life,
            "wanted": self.wanted,
        }

    @classmethod
    def from_state(
        cls, trainer: Trainer, tensors: Mapping[str, Tensor], data: Mapping[str, Any]
    ) -> Candidate:
        """Bring back what `tensors` and `to_json` gave."""
        candidate = cls(trainer, "warned")
        candidate.kind = data["kind"]
        candidate.own, candidate.others = list(data["own"]), list(data["others"])
        candidate.samples = data["samples"]
        if "life" in data:  # younger than the format
            candidate.life, candidate.wanted = data["life"], data["wanted"]
        weights = with_rows_since(_part(tensors, "weights."), candidate.trainer.chain.state_dict())
        candidate.trainer.chain.load_state_dict(weights)
        shapes = {n: p.shape for n, p in candidate.trainer.chain.named_parameters()}
        held = _part(tensors, "momentum.")
        momentum = {n: t for n, t in held.items() if t.shape == shapes[n]}
        candidate.trainer.load_momentum(momentum, 0)
        return candidate


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def perturb(chain: Chain, seed: int) -> None:
    """Shrink the weights towards nothing and add a little noise: what was learned stays as a
    direction, and what is new is learned as from a fresh start. Statistics and biases stay."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in chain.parameters():
            if parameter.ndim < 2:
                continue
            fresh = torch.empty(parameter.shape)
            nn.init.kaiming_normal_(fresh, generator=draws)
            parameter.mul_(SHRINK).add_(NOISE * fresh.to(parameter.device))
