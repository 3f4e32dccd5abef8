"""ResNets for small images, without torchvision: importing that takes as long as importing torch.

A stem of stride 1 and no max pool, else the basic blocks of He and others (arXiv 1512.03385).
Tensors have the names that torchvision gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

SMALL_RESNETS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # name: blocks and width of each stage
    "small-resnet10": ((1, 1, 1, 1), (16, 32, 64, 128)),
    "small-resnet18": ((2, 2, 2, 2), (32, 64, 128, 256)),
}


class SmallResNet(nn.Module):
    """A ResNet of basic blocks for images of 16 px and more."""

    def __init__(self, blocks: Sequence[int], widths: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        before = widths[0]
        for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), 1):
            stride = 1 if stage == 1 else 2
            self.add_module(f"layer{stage}", _stage(before, width, count, stride))
            before = width
        self.stages = len(blocks)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(before, n_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N, n_classes] of images float [N, 3, H, W]."""
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return cast(Tensor, self.fc(torch.flatten(self.avgpool(x), 1)))


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self, before: int, width: int, stride: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, width, H / stride, W / stride] of maps [N, before, H, W]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        # the way around comes second, as torchvision has it: the last bits of a step hang on that
        out += x if self.downsample is None else self.downsample(x)
        return cast(Tensor, self.relu(out))


def _stage(before: int, width: int, count: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or before != width:
        shortcut = nn.Sequential(
            nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width)
        )
    first = Block(before, width, stride, shortcut)
    return nn.Sequential(first, *(Block(width, width, 1, None) for _ in range(count - 1)))
