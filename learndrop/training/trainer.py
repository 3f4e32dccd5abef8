"""What is in training, the steps that train it, and the full network's answer before each.

Dropped means gone: units below the cut are not called in a step, hold no gradient, sit in no
optimizer group, and their BatchNorm stays in eval for good. The step starts from the maps that
leave the cut, and those come free from the answer that every arriving sample gets first.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from learndrop.networks.chain import Chain
from learndrop.networks.heads import head
from learndrop.settings import Settings
from learndrop.training.averages import Averages
from learndrop.training.graphs import Graphs
from learndrop.training.mixup import Mix
from learndrop.training.norm_momentum import follow_closely
from learndrop.training.optimizer import Optimizer
from learndrop.training.precision import Choice, autocast
from learndrop.training.updates import Step, Updates


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
        follow_closely(u.module for u in chain.units)
        self.cut = 0
        self.averages = Averages()
        self.optimizer = Optimizer(settings, device)
        self.updates = Updates(chain, self.optimizer, settings, device, choice)
        self._watched = Graphs(self._outputs, device, wanted=settings.cuda_graphs)
        self._train({})

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
        with torch.no_grad(), autocast(self.device, self.choice.dtype):
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
        self.optimizer.set_rate(rate)
        self.updates.tell(log_shares)
        given = (maps, targets) if mix is None else (maps, targets, *mix)
        if shallow:
            return self.updates.shallow(first, *given)
        step = self.updates.whole(*given, norms=norms)
        self.averages.after_step()
        return step

    def take_averages(self, cut: int) -> None:
        """Give the units that are to leave training, up to `cut`, the mean of their latest weights.

        Their BatchNorm statistics then belong to other weights: see `norms.adapt_statistics`.
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
        momentum = self.optimizer.momentum()
        if fresh:
            for name in returned:
                momentum.pop(name, None)
        self.cut = cut
        self._train(momentum)

    def forget_momentum(self) -> None:
        """Start the optimizer and the averages fresh for everything in training."""
        self._train({})
        self.averages.start_over()

    def grow(self, classes: int) -> None:
        """Give the head more outputs; old rows and the rest of the momentum stay."""
        momentum = self.optimizer.momentum()
        self.chain.grow(classes)
        self._watched.forget()
        self.chain.to(device=self.device, memory_format=self.choice.memory_format)
        self._train(momentum)

    def rename(self, rows: Mapping[int, int]) -> None:
        """Give each class in `rows` the head's row that another one had: new names, old meaning.

        A class that has lost its own and got none has the mean of all, as a new one: with a row
        that another one has as well it would be the answer for half of that one's pictures.
        """
        bereft = sorted(set(rows.values()) - set(rows))
        layer = head(self.chain.units[-1].module)[1]
        with torch.no_grad():
            for parameter in layer.parameters(recurse=False):
                old = parameter.clone()
                for new, before in rows.items():
                    parameter[new] = old[before]
                parameter[bereft] = old.mean(0)

    def prefix(self, x: Tensor) -> Tensor:
        """Maps that enter the cut, for images [N, 3, S, S]."""
        return self.run(x, 0, self.cut)

    def run(self, x: Tensor, start: int, end: int) -> Tensor:
        """From the maps at cut `start` to those at cut `end`, in eval mode."""
        self.chain.eval()
        with torch.no_grad(), autocast(self.device, self.choice.dtype):
            return self.chain.run(x, start, end)

    def load_momentum(self, momentum: Mapping[str, Tensor], cut: int) -> None:
        """Take back what `optimizer.momentum` gave, with the cut it belongs to."""
        self.cut = cut
        self._train({n: t.to(self.device) for n, t in momentum.items()})

    def _train(self, momentum: Mapping[str, Tensor]) -> None:
        """Train the units from the cut on, and nothing else, with that momentum."""
        for unit in self.chain.units:
            for p in unit.module.parameters():
                p.requires_grad_(unit.position >= self.cut)
                if unit.position < self.cut:
                    p.grad = None
        named = list(self.chain.named_parameters(self.cut))
        self.optimizer.follow(named, momentum)
        self.averages.follow(named)
        self.updates.follow(self.cut)
