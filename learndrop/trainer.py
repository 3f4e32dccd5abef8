"""One training step on whatever is left in training, and the full network's answer before it.

Dropped means gone: units below the cut are not called in a step, hold no gradient, sit in no
optimizer group, and their BatchNorm stays in eval for good. The step starts from the maps that
leave the cut, and those come free from the answer that every arriving sample gets first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from learndrop import networks
from learndrop.averages import Averages
from learndrop.compiled import Run, Tail
from learndrop.graphs import Graphs
from learndrop.mixup import Mix, cross_entropy
from learndrop.precision import Choice, autocast
from learndrop.settings import Settings
from learndrop.units import Chain


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


class Trainer:
    """Owns the chain, the optimizer and the cut.

    Args:
        chain: the whole network, cut into units.
        settings: momentum, weight decay, clipping.
        device: where the chain lives.
        choice: arithmetic and memory format of a step.
    """

    def __init__(
        self, chain: Chain, settings: Settings, device: torch.device, choice: Choice
    ) -> None:
        self.chain, self.settings, self.device, self.choice = chain, settings, device, choice
        chain.to(device=device, memory_format=choice.memory_format)
        self.cut = 0
        self._momentum: dict[str, Tensor] = {}
        self.averages = Averages()
        self._tail = Tail(chain, 0, compiled=settings.compile)
        # read by the optimizer where it lies: a number would become a part of a recorded step
        self._rate = torch.zeros((), device=device)
        self._log_shares, self._skewed = torch.zeros(chain.classes, device=device), False
        recorded = settings.cuda_graphs and not settings.compile
        self._pulled: list[nn.Parameter] = []
        self._steps = Graphs(self._whole_update, device, wanted=recorded)
        self._watched = Graphs(self._outputs, device, wanted=settings.cuda_graphs)
        self._build()

    @property
    def trained(self) -> dict[int, list[nn.Parameter]]:
        """Parameters in training by unit position."""
        return {
            u.position: list(u.module.parameters())
            for u in self.chain.units[self.cut :]
            if u.parameters
        }

    def test(self, x: Tensor, *, watch: bool = False) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The full network's answer in eval mode.

        Args:
            x: float images [N, 3, S, S].
            watch: keep every unit's output.

        Returns:
            the maps that enter the cut [N, ...], float32 logits [N, classes], and every unit's
            output if `watch` is set. On a GPU the next such test overwrites what this gave.
        """
        self.chain.eval()
        if watch:
            outputs = list(self._watched(x))
            return outputs[self.cut - 1] if self.cut else x, outputs[-1].float(), outputs
        maps = self.run(x, 0, self.cut)
        return maps, self.run(maps, self.cut, len(self.chain)).float(), []

    def _outputs(self, x: Tensor) -> list[Tensor]:
        """Every unit's output in eval mode."""
        outputs = []
        with torch.no_grad(), self._autocast():
            for unit in self.chain.units:
                x = unit.module(x)
                outputs.append(x)
        return outputs

    def step(
        self,
        maps: Tensor,
        targets: Tensor,
        rate: float,
        mix: Mix | None = None,
        *,
        start: int | None = None,
        norms: bool = True,
        log_shares: Tensor | None = None,
    ) -> Step:
        """One step of SGD on the units from the cut on, or on those from `start` on alone.

        Nothing is read back from the device: whether the step may be taken is decided there, and
        a caller that asks later lets it run ahead.

        Args:
            maps: [N, ...] maps that enter the cut (images when the cut is 0).
            targets: int64 [N] class indices.
            rate: learning rate of this step.
            mix: what the maps were mixed with, if they were.
            start: a unit behind the cut: the maps enter there, and for this one step the units
                before it stay as they are, momentum and averages included.
            norms: False where the batch is of few classes: its spread is theirs, not the world's,
                so BatchNorm goes on with the statistics that it knows (what its own do to a
                learner of ordered classes: arXiv 2203.16102, 2310.08855).
            log_shares: float32 [classes], by skew.py, added to the logits in the loss.
        """
        shallow = start is not None and start > self.cut
        first = start if start is not None and shallow else self.cut
        # nor has one sample a spread of its own
        self.chain.train_from(first, norms=norms and len(maps) > 1)
        self._set_rate(rate)
        self._skewed = log_shares is not None
        if log_shares is not None:
            self._log_shares.copy_(log_shares)
        given = (maps, targets) if mix is None else (maps, targets, *mix)
        if shallow:
            return Step(*self._update(first, *given))
        loss, taken, right, *gradients = self._steps(*given, mode=(norms, self._skewed))
        self.averages.after_step()
        if not self._rate.is_cuda:
            return Step(loss, taken, right)
        for p, gradient in zip(self._pulled, gradients, strict=True):
            p.grad = gradient  # a step of another shape, or a shallow one, may have left its own
        return Step(loss.clone(), taken.clone(), right.clone())  # the next may write where they lie

    def _whole_update(self, maps: Tensor, targets: Tensor, *mix: Tensor) -> list[Tensor]:
        """An update of all that is in training, with the gradients that it was made by."""
        done = self._update(self.cut, maps, targets, *mix)
        # one that the network does not use has no gradient
        self._pulled = [p for p in self._parameters if p.grad is not None]
        return [*done, *(p.grad for p in self._pulled if p.grad is not None)]

    def _set_rate(self, rate: float) -> None:
        on_gpu = self._rate.is_cuda
        if on_gpu:
            self._rate.fill_(rate)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate if on_gpu else rate

    def _update(
        self, start: int, maps: Tensor, targets: Tensor, *mix: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Forward, back, and the optimizer; what `Step` holds."""

        def run(tail: Run) -> tuple[Tensor, Tensor]:
            with self._autocast():
                logits = tail(maps)
            told = logits.float() + self._log_shares if self._skewed else logits.float()
            loss = cross_entropy(told, targets, Mix(*mix) if mix else None)
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            return logits, loss

        if start > self.cut:
            logits, loss = run(lambda x: self.chain.run(x, start, len(self.chain)))
        else:
            logits, loss = self._tail.step(run)
        norm = nn.utils.clip_grad_norm_(self._parameters, self.settings.clip_norm, foreach=True)
        loss = loss.detach()
        taken = loss.isfinite() & norm.isfinite() & (loss <= self.settings.loss_limit)
        # the fused optimizer looks at this on the device, as for a gradient scaler
        self.optimizer.found_inf = (~taken).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        return loss, taken, logits.detach().argmax(1) == targets

    def take_averages(self, cut: int) -> None:
        """Give the units that are to leave training, up to `cut`, the mean of their latest weights.

        Their BatchNorm statistics then belong to other weights: see `adapt_statistics`.
        """
        for unit in self.chain.units[self.cut : cut]:
            self.averages.take(unit.module)

    def move_cut(self, cut: int, *, fresh: bool = False) -> None:
        """Train from unit `cut` on. Momentum stays with its parameter, by name; `fresh` forgets
        that of the units that come back."""
        returned = {
            name
            for unit in self.chain.units[cut : self.cut]
            for name, _ in unit.module.named_parameters()
        }
        self._keep_momentum()
        if fresh:
            for name in returned:
                self._momentum.pop(name, None)
        self.cut = cut
        self._build()

    def forget_momentum(self) -> None:
        """Start the optimizer and the averages fresh for everything in training."""
        self._momentum = {}
        self._build()
        self.averages.start_over()

    def grow(self, classes: int) -> None:
        """Give the head more outputs; old rows and the rest of the momentum stay."""
        self._keep_momentum()
        self.chain.grow(classes)
        self._watched.forget()
        self._log_shares = torch.zeros(self.chain.classes, device=self.device)
        self.chain.to(device=self.device, memory_format=self.choice.memory_format)
        for name, p in self.chain.units[-1].module.named_parameters():
            held = self._momentum.get(name)
            if held is not None and held.shape != p.shape:
                grown = torch.zeros_like(p)
                grown[: held.shape[0]] = held
                self._momentum[name] = grown
        self._build()

    def adapt_statistics(self, x: Tensor, part: int = 32, *, start: int = 0) -> None:
        """Take BatchNorm's statistics of the units from `start` on anew from the maps [N, ...]
        that enter it (images where it is 0), as their mean over parts of a batch's size; weights
        stay."""
        norms = [
            m
            for u in self.chain.units[start:]
            for m in u.module.modules()
            if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
        ]
        momentum = [m.momentum for m in norms]
        self.chain.eval()
        for m in norms:
            m.train()
        with torch.no_grad(), self._autocast():
            for i, images in enumerate(torch.split(x, part)):
                if len(images) < 2:  # one has no spread
                    continue
                for m in norms:
                    m.momentum = 1.0 / (i + 1)
                self.chain.run(images, start, len(self.chain))
        for m, value in zip(norms, momentum, strict=True):
            m.momentum = value
            m.eval()

    def rename(self, rows: Mapping[int, int]) -> None:
        """Give each class in `rows` the head's row that another one had: new names, old meaning."""
        layer = networks.head(self.chain.units[-1].module)[1]
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                old = parameter.clone()
                for new, before in rows.items():
                    parameter[new] = old[before]

    def prefix(self, x: Tensor) -> Tensor:
        """Maps that enter the cut, for images [N, 3, S, S]."""
        return self.run(x, 0, self.cut)

    def run(self, x: Tensor, start: int, end: int) -> Tensor:
        """From the maps at cut `start` to those at cut `end`, in eval mode."""
        self.chain.eval()
        with torch.no_grad(), self._autocast():
            return self.chain.run(x, start, end)

    def prefix_hash(self, cut: int | None = None) -> str:
        """Hash of weights and statistics of the units below the cut, or below another one."""
        digest = hashlib.sha256()
        for unit in self.chain.units[: self.cut if cut is None else cut]:
            for name, value in sorted(unit.module.state_dict().items()):
                digest.update(name.encode())
                digest.update(
                    value.detach()
                    .cpu()
                    .contiguous()
                    .reshape(-1)
                    .view(torch.uint8)
                    .numpy()
                    .tobytes()
                )
        return digest.hexdigest()

    def momentum(self) -> dict[str, Tensor]:
        """Momentum by parameter name."""
        self._keep_momentum()
        return dict(self._momentum)

    def load_momentum(self, momentum: Mapping[str, Tensor], cut: int) -> None:
        """Take back what `momentum` gave, with the cut it belongs to."""
        self._momentum = {n: t.to(self.device) for n, t in momentum.items()}
        self.cut = cut
        self._build()

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, self.choice.dtype)

    def _keep_momentum(self) -> None:
        for unit in self.chain.units[self.cut :]:
            for name, p in unit.module.named_parameters():
                held = self.optimizer.state.get(p, {}).get("momentum_buffer")
                if held is not None:
                    self._momentum[name] = held

    def _build(self) -> None:
        """A new optimizer for what is in training: never a toggled group."""
        for unit in self.chain.units:
            for p in unit.module.parameters():
                p.requires_grad_(unit.position >= self.cut)
                if unit.position < self.cut:
                    p.grad = None
        named = [
            (name, p)
            for unit in self.chain.units[self.cut :]
            for name, p in unit.module.named_parameters()
        ]
        self._steps.forget()
        self.averages.follow(named)
        self._parameters = [p for _, p in named]
        self.optimizer = torch.optim.SGD(
            self._parameters,
            lr=self.settings.rate,
            momentum=self.settings.momentum,
            weight_decay=self.settings.weight_decay,
            fused=True,  # one pass over the weights: 0.9 for 2.1 ms with 2.8 million on 2 cores
        )
        for name, p in named:
            held = self._momentum.get(name)
            # From the start: a first step that is not taken would leave the buffer unwritten. In
            # the parameter's own memory format: the fused optimizer walks both as they lie there.
            kept = torch.zeros_like(p)
            if held is not None:
                kept.copy_(held.reshape(p.shape))
            self.optimizer.state[p]["momentum_buffer"] = kept
        if not self._tail.is_of(self.cut, self._parameters):
            self._tail = Tail(self.chain, self.cut, compiled=self._tail.is_compiled)
