"""One update of what is in training: forward, back, and the optimizer; recorded on a GPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from learndrop.networks.chain import Chain
from learndrop.settings import Settings
from learndrop.training.compiled import Run, Tail
from learndrop.training.graphs import Graphs
from learndrop.training.mixup import Mix, cross_entropy
from learndrop.training.optimizer import Optimizer
from learndrop.training.precision import Choice, autocast


class Step(NamedTuple):
    """What a step gave, on the device.

    Attributes:
        loss: float32 [], mean cross-entropy.
        taken: bool []; False where the loss or the gradient was no number or the loss was over
            the setting `loss_limit`: no weight and no momentum was touched.
        right: bool [N], which samples were answered right, in training mode.
    """

    loss: Tensor
    taken: Tensor
    right: Tensor


class Updates:
    """Makes updates; one as a whole from a recording where there is a GPU.

    Args:
        chain: the whole network.
        optimizer: knows what is in training.
        settings: clipping, the limit of the loss, compiling and recording.
        device: where the chain lives.
        choice: arithmetic of a step.

    Attributes:
        recorded: the recordings of whole updates.
    """

    def __init__(
        self,
        chain: Chain,
        optimizer: Optimizer,
        settings: Settings,
        device: torch.device,
        choice: Choice,
    ) -> None:
        self._chain, self._optimizer, self._settings = chain, optimizer, settings
        self._device, self._choice = device, choice
        self._cut = 0
        self.tail = Tail(chain, 0, compiled=settings.compile)
        self._log_shares, self._skewed = torch.zeros(chain.classes, device=device), False
        self._pulled: list[nn.Parameter] = []
        wanted = settings.cuda_graphs and not settings.compile
        self.recorded = Graphs(self._whole, device, wanted=wanted)

    def follow(self, cut: int) -> None:
        """The optimizer is of the units from `cut` on now, and all it holds are other tensors."""
        self._cut = cut
        self.recorded.forget()
        self._log_shares = torch.zeros(self._chain.classes, device=self._device)
        if not self.tail.is_of(cut, self._optimizer.parameters):
            self.tail = Tail(self._chain, cut, compiled=self.tail.is_compiled)

    def tell(self, log_shares: Tensor | None) -> None:
        """What the loss of the next update adds to the logits: float32 [classes], or nothing."""
        self._skewed = log_shares is not None
        if log_shares is not None:  # where it lies: a recording reads it there
            self._log_shares.copy_(log_shares)

    def whole(self, maps: Tensor, targets: Tensor, *mix: Tensor, norms: bool) -> Step:
        """Update all that is in training, with the maps [N, ...] that enter the cut.

        `norms` tells apart the modes of BatchNorm, which a recording cannot change.
        """
        loss, taken, right, *gradients = self.recorded(
            maps, targets, *mix, mode=(norms, self._skewed)
        )
        if self._device.type != "cuda":
            return Step(loss, taken, right)
        for p, gradient in zip(self._pulled, gradients, strict=True):
            p.grad = gradient  # an update of another shape, or a shallow one, may have left its own
        return Step(loss.clone(), taken.clone(), right.clone())  # the next may write where they lie

    def shallow(self, start: int, maps: Tensor, targets: Tensor, *mix: Tensor) -> Step:
        """Update the units from `start` on, behind the cut, with the maps that enter there."""
        return Step(*self._update(start, maps, targets, *mix))

    def _whole(self, maps: Tensor, targets: Tensor, *mix: Tensor) -> list[Tensor]:
        """An update of all that is in training, with the gradients that it was made by."""
        done = self._update(self._cut, maps, targets, *mix)
        # one that the network does not use has no gradient
        self._pulled = [p for p in self._optimizer.parameters if p.grad is not None]
        return [*done, *(p.grad for p in self._pulled if p.grad is not None)]

    def _update(
        self, start: int, maps: Tensor, targets: Tensor, *mix: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What `Step` holds."""

        def run(tail: Run) -> tuple[Tensor, Tensor]:
            with autocast(self._device, self._choice.dtype):
                logits = tail(maps)
            told = logits.float() + self._log_shares if self._skewed else logits.float()
            loss = cross_entropy(told, targets, Mix(*mix) if mix else None)
            self._optimizer.forget_gradients()
            torch.autograd.backward(loss)
            return logits, loss

        if start > self._cut:
            logits, loss = run(lambda x: self._chain.tail(x, start))
        else:
            logits, loss = self.tail.step(run)
        parameters, most = self._optimizer.parameters, self._settings.clip_norm
        norm = nn.utils.clip_grad_norm_(parameters, most, foreach=True)
        loss = loss.detach()
        taken = loss.isfinite() & norm.isfinite() & (loss <= self._settings.loss_limit)
        self._optimizer.step(taken)
        return loss, taken, logits.detach().argmax(1) == targets
