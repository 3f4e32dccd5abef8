"""Counts floating point operations of a module for one image, without computing anything.

torch's FlopCounterMode counts matrix products and convolutions (a multiply and an add are two);
the module runs on the meta device, where tensors have shapes and no numbers. One that looks at
numbers to find its way cannot: it runs on zeros.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

T = TypeVar("T")


def forward_flops(module: nn.Module, in_shape: Sequence[int]) -> int:
    """FLOPs of `module` for one input of `in_shape` (without the batch)."""

    def count(device: str) -> int:
        with FlopCounterMode(display=False) as counter:
            _forward(module, in_shape, device, input_gradient=False)
        return int(counter.get_total_flops())

    return _without_numbers(count)


def backward_flops(module: nn.Module, in_shape: Sequence[int], *, input_gradient: bool) -> int:
    """FLOPs of the gradients of all parameters for one input; also of the input's, if asked."""

    def count(device: str) -> int:
        given, parameters, result = _forward(
            module, in_shape, device, input_gradient=input_gradient
        )
        wanted = [*parameters, given] if input_gradient else parameters
        with FlopCounterMode(display=False) as counter:
            torch.autograd.grad(result, wanted, torch.empty_like(result), allow_unused=True)
        return int(counter.get_total_flops())

    return _without_numbers(count)


def _without_numbers(count: Callable[[str], T]) -> T:
    try:
        return count("meta")
    except RuntimeError:
        return count("cpu")


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
