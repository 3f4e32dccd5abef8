"""Counts floating point operations of a module for one image, mostly without computing anything.

torch's formulas for matrix products and convolutions (a multiply and an add are two) are summed;
the module runs on the meta device, where tensors have shapes and no numbers. One that looks at
numbers to find its way cannot: it runs on zeros. So does a small one, to be ready sooner: the meta
device imports torch's compiler, as long as torch itself. Nothing here may import it but that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

SMALL = 1_000_000_000  # multiplications of a forward pass, about: hundredths of a second


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's has no types
    """Sums what FlopCounterMode would; that one imports torch's compiler.

    Attributes:
        counted: FLOPs so far.
        attended: whether there was attention, which has another formula on a CPU.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counted, self.attended = 0, False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # skipping it would import it

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self.attended = self.attended or "attention" in str(func)
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.counted += formula(*args, **kwargs, out_val=result)
        return result


def forward_flops(module: nn.Module, in_shape: Sequence[int]) -> int:
    """FLOPs of `module` for one input of `in_shape` (without the batch)."""

    def count(device: str) -> _Counter:
        counter = _Counter()
        with counter:
            _forward(module, in_shape, device, input_gradient=False)
        return counter

    return _on_its_device(module, in_shape, count)


def backward_flops(module: nn.Module, in_shape: Sequence[int], *, input_gradient: bool) -> int:
    """FLOPs of the gradients of all parameters for one input; also of the input's, if asked."""

    def count(device: str) -> _Counter:
        given, parameters, result = _forward(
            module, in_shape, device, input_gradient=input_gradient
        )
        wanted = [*parameters, given] if input_gradient else parameters
        total = result.sum()  # a gradient that is handed in would import sympy
        counter = _Counter()
        with counter:
            torch.autograd.grad(total, wanted, allow_unused=True)
        return counter

    return _on_its_device(module, in_shape, count)


def _on_its_device(
    module: nn.Module, in_shape: Sequence[int], count: Callable[[str], _Counter]
) -> int:
    weights = sum(p.numel() for p in module.parameters())
    if weights * math.prod(in_shape[1:]) <= SMALL:
        counter = count("cpu")
        if not counter.attended:
            return counter.counted
    try:
        return count("meta").counted
    except RuntimeError:
        return count("cpu").counted


def _forward(
    module: nn.Module, in_shape: Sequence[int], device: str, *, input_gradient: bool
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Input, parameters and result of one pass, with gradients on.

    With gradients on, also because attention then takes the path that the counter knows.
    """
    given = torch.zeros(1, *in_shape, device=device, requires_grad=input_gradient)
    parameters = {
        name: torch.zeros_like(p, device=device, dtype=torch.float32).requires_grad_()
        for name, p in module.named_parameters()
    }
    buffers = {name: b.to(device, copy=True) for name, b in module.named_buffers()}
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.enable_grad():
            result = functional_call(module, {**parameters, **buffers}, (given,))
    finally:
        for part, mode in modes:
            part.training = mode
    return given, list(parameters.values()), result
