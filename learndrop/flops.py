"""Counts floating point operations of a module for one image, without computing anything.

torch's FlopCounterMode counts matrix products and convolutions (a multiply and an add are two);
the module runs on the meta device, where tensors have shapes and no numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(module: nn.Module, in_shape: Sequence[int]) -> int:
    """FLOPs of `module` for one input of `in_shape` (without the batch)."""
    with FlopCounterMode(display=False) as counter:
        _forward(module, in_shape, input_gradient=False)
    return int(counter.get_total_flops())


def backward_flops(module: nn.Module, in_shape: Sequence[int], *, input_gradient: bool) -> int:
    """FLOPs of the gradients of all parameters for one input; also of the input's, if asked."""
    given, parameters, result = _forward(module, in_shape, input_gradient=input_gradient)
    wanted = [*parameters, given] if input_gradient else parameters
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(result, wanted, torch.empty_like(result), allow_unused=True)
    return int(counter.get_total_flops())


def _forward(
    module: nn.Module, in_shape: Sequence[int], *, input_gradient: bool
) -> tuple[Tensor, list[Tensor], Tensor]:
    """Input, parameters and result of one pass on the meta device, with gradients on.

    With gradients on, also because attention then takes the path that the counter knows.
    """
    given = torch.empty(1, *in_shape, device="meta", requires_grad=input_gradient)
    parameters = {
        name: torch.empty_like(p, device="meta", dtype=torch.float32).requires_grad_()
        for name, p in module.named_parameters()
    }
    buffers = {name: b.to("meta") for name, b in module.named_buffers()}
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        with torch.enable_grad():
            result = functional_call(module, {**parameters, **buffers}, (given,))
    finally:
        for part, mode in modes:
            part.training = mode
    return given, list(parameters.values()), result
