"""A network as an ordered chain of units, each of which takes one tensor and gives one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from learndrop.errors import BadNetwork
from learndrop.networks.flops import forward_flops
from learndrop.networks.heads import grow_layer, head, n_outputs

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of the network that is trained, frozen or dropped as a whole.

    Attributes:
        name: from the paths of its modules; unique in the chain.
        position: counted from the image, 0 first.
        module: takes one tensor and gives one; its parameters keep their names in the network.
        parameters: how many numbers are learned in it.
        flops: of its forward pass for one image.
        in_shape, out_shape: of its tensors, without the batch.
        out_bytes: of what it gives for one image, in float32.
    """

    name: str
    position: int
    module: nn.Module
    parameters: int
    flops: int
    in_shape: tuple[int, ...]
    out_shape: tuple[int, ...]
    out_bytes: int


def make_unit(
    name: str,
    position: int,
    module: nn.Module,
    in_shape: tuple[int, ...],
    out_shape: tuple[int, ...],
) -> Unit:
    """A unit with its figures measured."""
    return Unit(
        name=name,
        position=position,
        module=module,
        parameters=sum(p.numel() for p in module.parameters()),
        flops=forward_flops(module, in_shape),
        in_shape=in_shape,
        out_shape=out_shape,
        out_bytes=FLOAT32_BYTES * math.prod(out_shape),
    )


class Chain:
    """The units of one network in order; it takes the place of the network.

    In eval mode `tail(prefix(x, k), k)` is `chain(x)` bit for bit for every k, and the network
    that was cut gave the same. A cut `k` lies before unit k: 0 is the image, len(units) the logits.
    """

    def __init__(self, units: list[Unit]) -> None:
        self.units = units
        self._flat: dict[int, tuple[nn.Module, list[nn.Module], list[nn.Module]]] = {}

    def __len__(self) -> int:
        return len(self.units)

    def __call__(self, x: Tensor) -> Tensor:
        """Logits float [N, classes] of images float [N, 3, S, S]."""
        return self.run(x, 0, len(self.units))

    def prefix(self, x: Tensor, k: int) -> Tensor:
        """What units 0 to k-1 make of images: the features at cut k."""
        return self.run(x, 0, k)

    def tail(self, x: Tensor, k: int) -> Tensor:
        """Logits from the features at cut k, which are left as they are."""
        return self.run(x, k, len(self.units))

    def run(self, x: Tensor, start: int, end: int) -> Tensor:
        """From the features at cut `start` to those at cut `end`."""
        if not 0 <= start <= end <= len(self.units):
            raise IndexError(f"no way from cut {start} to {end} in {len(self.units)} units")
        for unit in self.units[start:end]:
            x = unit.module(x)
        return x

    def train_from(self, k: int, *, norms: bool = True) -> None:
        """Units from k on in training mode, those before in eval; no gradient flag is changed.

        Args:
            k: position of the first unit that trains.
            norms: False leaves every BatchNorm in eval: it takes the statistics that it knows.
        """
        for unit in self.units:
            training = unit.position >= k
            # Twice a step: walking the flat list costs a tenth of Module.train's recursion, and
            # setting the flag past Module's own __setattr__ a tenth of that.
            modules, batch_norms = self._modules(unit)
            for module in modules:
                vars(module)["training"] = training
            if training and not norms:
                for module in batch_norms:
                    vars(module)["training"] = False

    def eval(self) -> None:
        """All units in eval mode."""
        self.train_from(len(self.units))

    def _modules(self, unit: Unit) -> tuple[list[nn.Module], list[nn.Module]]:
        """All modules of the unit, and those that are BatchNorm."""
        known = self._flat.get(unit.position)
        if known is None or known[0] is not unit.module:  # a head that has grown is another one
            all_of_it = list(unit.module.modules())
            norms: list[nn.Module] = [
                m for m in all_of_it if isinstance(m, nn.modules.batchnorm._BatchNorm)
            ]
            known = self._flat[unit.position] = (unit.module, all_of_it, norms)
        return known[1], known[2]

    def named_parameters(self, start: int = 0) -> Iterator[tuple[str, nn.Parameter]]:
        """Parameters of the units from `start` on, by their names in the network."""
        for unit in self.units[start:]:
            yield from unit.module.named_parameters()

    def parameters(self, start: int = 0) -> Iterator[nn.Parameter]:
        """Parameters of the units from `start` on."""
        for _, parameter in self.named_parameters(start):
            yield parameter

    def state_dict(self) -> dict[str, Tensor]:
        """Parameters and buffers by their names in the network (not copied)."""
        state: dict[str, Tensor] = {}
        for unit in self.units:
            state.update(unit.module.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over the numbers of a `state_dict` of this chain or of the network it was cut from.

        Raises:
            BadNetwork: if a name is missing or unknown, or a shape differs; nothing is changed.
        """
        own = self.state_dict()
        wrong = sorted(own.keys() ^ state.keys())
        wrong = wrong or [k for k, v in own.items() if v.shape != state[k].shape]
        if wrong:
            raise BadNetwork(f"state does not fit the network at {wrong[0]} ({len(wrong)} in all)")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])

    def to(
        self,
        *,
        device: torch.device | str | None = None,
        memory_format: torch.memory_format | None = None,
    ) -> Chain:
        """Move all units, in place; 4-D weights take the memory format."""
        for unit in self.units:
            if device is not None:
                unit.module.to(device)
            if memory_format is not None:
                unit.module.to(memory_format=memory_format)
        return self

    @property
    def classes(self) -> int:
        """How many classes the last unit tells apart."""
        return n_outputs(head(self.units[-1].module)[1])

    def grow(self, n_classes: int) -> None:
        """Give the head rows for more classes, as `networks.grow_head` does, and count it anew.

        The head's weight and bias are new Parameters: an optimizer has to be told.

        Raises:
            BadNetwork: if the head would shrink.
        """
        last = self.units[-1]
        grow_layer(head(last.module)[1], n_classes)
        shape = (n_classes, *last.out_shape[1:])
        self.units[-1] = make_unit(last.name, last.position, last.module, last.in_shape, shape)
