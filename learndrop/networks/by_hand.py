"""Units named by hand, for a network whose own forward pass cannot be traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from learndrop.errors import BadNetwork
from learndrop.networks.chain import Chain, make_unit
from learndrop.networks.following import in_mode

Step = str | Callable[[Tensor], Tensor]
Part = Step | Sequence[Step]


class Piece(nn.Module):
    """Modules of a network and functions, called in order; parameters keep their names there."""

    def __init__(self, model: nn.Module, steps: Sequence[Step]) -> None:
        super().__init__()
        self._steps = list(steps)
        for step in steps:
            if isinstance(step, str):
                _place(self, step, model.get_submodule(step))

    def forward(self, x: Tensor) -> Tensor:
        """From one tensor to one tensor."""
        for step in self._steps:
            x = self.get_submodule(step)(x) if isinstance(step, str) else step(x)
        return x


def by_hand(model: nn.Module, parts: Sequence[Part], example: Tensor) -> Chain:
    """The chain of the units that somebody names.

    Args:
        model: the network; the chain shares its parameters.
        parts: a unit each, in the order of the forward pass: the qualified name of a module (or
            the module itself), a function of one tensor without parameters, or several of both.
        example: one input, float [1, 3, S, S].

    Raises:
        BadNetwork: if a name is unknown, a unit has nothing to learn, parameters are in no unit or
            in two, or the units one after the other do not give what the network gives.
    """
    listed = [_steps(model, part) for part in parts]
    if not listed:
        raise BadNetwork("units=[] names no unit")
    pieces = [Piece(model, steps) for steps in listed]
    _check_parameters(model, pieces)
    modules_in_eval = in_mode(model, training=False)
    units = []
    with modules_in_eval, torch.no_grad():
        x = example
        for position, (steps, piece) in enumerate(zip(listed, pieces, strict=True)):
            before = tuple(x.shape[1:])
            x = _pass(piece.eval(), x, position)
            name = "-".join(s for s in steps if isinstance(s, str)) or f"unit{position}"
            units.append(make_unit(name, position, piece, before, tuple(x.shape[1:])))
        if x.ndim != 2:
            raise BadNetwork(f"units by hand give {list(x.shape)}, not logits [N, classes]")
        chain = Chain(units)
        _check_agreement(model, chain, example)
    return chain


def _steps(model: nn.Module, part: Part) -> list[Step]:
    steps = [part] if isinstance(part, str) or callable(part) else list(part)
    paths = {id(module): path for path, module in model.named_modules() if path}
    named: list[Step] = []
    for step in steps:
        if isinstance(step, nn.Module):
            if id(step) not in paths:
                raise BadNetwork(f"units: {type(step).__name__} is no module of this network")
            step = paths[id(step)]
        elif isinstance(step, str) and step not in paths.values():
            known = ", ".join(name for name, _ in model.named_children())
            raise BadNetwork(f"units: no module is called {step!r}; there are {known}")
        named.append(step)
    return named


def _place(piece: nn.Module, path: str, module: nn.Module) -> None:
    *above, last = path.split(".")
    for name in above:
        if name not in dict(piece.named_children()):
            piece.add_module(name, nn.Module())
        piece = piece.get_submodule(name)
    piece.add_module(last, module)


def _check_parameters(model: nn.Module, pieces: Sequence[Piece]) -> None:
    owner: dict[int, int] = {}
    for position, piece in enumerate(pieces):
        mine = [id(t) for t in (*piece.parameters(), *piece.buffers())]
        if not list(piece.parameters()):
            raise BadNetwork(f"units[{position}] has nothing to learn: join it to a neighbour")
        if any(owner.setdefault(key, position) != position for key in mine):
            raise BadNetwork(f"units[{position}] shares parameters with an earlier unit")
    left = [name for name, p in model.named_parameters() if id(p) not in owner]
    if left:
        raise BadNetwork(f"units leave out {left[0]} ({len(left)} parameters in all)")


def _pass(piece: Piece, x: Tensor, position: int) -> Tensor:
    try:
        result = piece(x)
    except (RuntimeError, ValueError, TypeError) as exc:
        told = str(exc).partition("\n")[0]
        raise BadNetwork(f"units[{position}] cannot take {list(x.shape)}: {told}") from exc
    if not isinstance(result, Tensor) or len(result) != len(x):
        raise BadNetwork(f"units[{position}] does not give one tensor [N, ...]")
    return result


def _check_agreement(model: nn.Module, chain: Chain, example: Tensor) -> None:
    noise = torch.randn((2, *example.shape[1:]), generator=torch.Generator().manual_seed(0))
    noise = noise.to(example)
    whole = model(noise)
    for k in range(len(chain) + 1):
        if not torch.equal(whole, chain.tail(chain.prefix(noise, k), k)):
            raise BadNetwork(f"units by hand give other results than the network ({k} before cut)")
