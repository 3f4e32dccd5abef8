"""Cuts any traceable classifier into an ordered chain of units.

Of all legal cuts (tracing.py) those remain that make sense to drop at: a unit holds weights, ends
where its tensor is small, and never ends inside a residual block. In VGG that is after a pool, in a
ResNet after a block.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from learndrop.errors import BadNetwork
from learndrop.networks.blocks import Blocks
from learndrop.networks.chain import Chain, Unit, make_unit
from learndrop.networks.tracing import Cut, Trace, shared_path, trace

__all__ = ["Chain", "Cut", "Unit", "cut", "legal_cuts"]

Weights = Literal["none", "minor", "major"]
TOO_MUCH_LARGER = 2.0
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
DROPOUTS = (nn.modules.dropout._DropoutNd,)
POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def legal_cuts(model: nn.Module, example: Tensor) -> tuple[Cut, ...]:
    """Every point of the forward pass at which exactly one tensor is alive.

    Raises:
        BadNetwork: as `cut` does.
    """
    return trace(model, example).cuts


def cut(model: nn.Module, example: Tensor) -> Chain:
    """Cut `model` into units; the chain takes over its parameters and replaces it.

    Args:
        model: any classifier that torch.fx can trace, on the device of `example`.
        example: one input of the size it will see, float [1, 3, S, S]; its values do not matter.

    Raises:
        BadNetwork: if the forward pass cannot be traced, if the size does not fit, or if the
            pieces together would not do what the network does.
    """
    traced = trace(model, example)
    ends = [segments[-1].cut for segments in _units(traced)]
    chain = chain_at(traced, ends)
    _must_agree(model, chain, example)
    return chain


def chain_at(traced: Trace, ends: Sequence[Cut]) -> Chain:
    """The chain whose units end at the given cuts, the last of which is the network's output."""
    units: list[Unit] = []
    seen: set[int] = set()
    names = _names(traced, ends)
    start: Cut | None = None
    for position, end in enumerate(ends):
        module = traced.piece(start, end, copy_input=_writes_into_input(traced, start, end))
        _own_what_is_shared(module, seen)
        in_shape = start.shape if start else traced.shapes[traced.nodes[0]][1:]
        units.append(make_unit(names[position], position, module, in_shape, end.shape))
        start = end
    return Chain(units)


def _must_agree(model: nn.Module, chain: Chain, example: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(example.shape, generator=generator).to(example)
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    chain.eval()
    with torch.no_grad():
        same = torch.equal(model(noise).nan_to_num(), chain(noise).nan_to_num())
    for module, mode in modes:
        module.training = mode
    if not same:
        raise BadNetwork(f"{type(model).__name__} cut into units gives other results than whole")


def _own_what_is_shared(module: nn.Module, seen: set[int]) -> None:
    """Copy modules that an earlier unit calls too (they hold no weights): a unit has its mode."""
    for name, part in list(module.named_modules()):
        if name and id(part) in seen:
            module.set_submodule(name, copy.deepcopy(part))
    seen.update(id(part) for part in module.modules())


def _writes_into_input(traced: Trace, start: Cut | None, end: Cut) -> bool:
    """Whether the piece works in place on the tensor that it is given, or on a view of it."""
    given = start.node if start else traced.nodes[0]
    for node in traced.between(start, end):
        if given in node.all_input_nodes and node.kwargs.get("inplace"):
            return True
        if given in node.all_input_nodes and node.op == "call_module":
            called = traced.model.get_submodule(str(node.target))
            if getattr(called, "inplace", False):
                return True
    piece = traced.piece(start, end).eval()
    shape = start.shape if start else traced.shapes[given][1:]
    like = next(traced.model.parameters())
    x = torch.zeros(1, *shape, device=like.device, dtype=like.dtype)
    with torch.no_grad():
        before = x._version
        piece(x)
        return x._version != before


@dataclass(frozen=True, slots=True)
class _Segment:
    """What lies between two neighbouring cuts, and the cut at its end."""

    cut: Cut
    weights: Weights
    path: str  # of its first layer with weights; empty for a bare parameter
    in_block: bool
    dropout: bool
    pools: bool


def _units(traced: Trace) -> list[list[_Segment]]:
    """Segments grouped into units."""
    segments = _segments(traced)
    majors = [i for i, s in enumerate(segments) if s.weights == "major"]
    majors = majors or [i for i, s in enumerate(segments) if s.weights == "minor"]
    if not majors:
        raise BadNetwork(f"{type(traced.model).__name__} has nothing to learn")
    groups: list[_Group] = []
    start = 0
    for major, following in zip(majors, majors[1:], strict=False):
        end = _best_end(segments, major, following)
        groups.append(_Group(segments[start : end + 1], major - start))
        start = end + 1
    groups.append(_Group(segments[start:], majors[-1] - start))
    return _merged(groups)


def _segments(traced: Trace) -> list[_Segment]:
    blocks = Blocks(traced)
    found: list[_Segment] = []
    start: Cut | None = None
    for end in traced.cuts:
        if end is traced.cuts[-1] or not blocks.divided_by(end):
            found.append(_segment(traced, blocks, start, end))
            start = end
    return found


def _segment(traced: Trace, blocks: Blocks, start: Cut | None, end: Cut) -> _Segment:
    nodes = traced.between(start, end)
    layers = traced.layers(nodes)
    major = [path for path, layer in layers.items() if not isinstance(layer, NORMS)]
    minor = [path for path in layers if path not in major]
    bare = any(isinstance(t, nn.Parameter) for n in nodes for _, t in traced.tensors(n))
    weights: Weights = "major" if major else "minor" if minor or bare else "none"
    called = [traced.model.get_submodule(str(n.target)) for n in nodes if n.op == "call_module"]
    return _Segment(
        end,
        weights,
        path=[*major, *minor, ""][0],
        in_block=any(blocks.of(n) for n in nodes),
        dropout=any(isinstance(m, DROPOUTS) for m in called),
        pools=any(isinstance(m, POOLS) for m in called) or any(n.target == "mean" for n in nodes),
    )


def _best_end(segments: Sequence[_Segment], major: int, following: int) -> int:
    """Where the unit of segment `major` ends: at the smallest tensor before `following`.

    The last of equals, yet before a dropout, which belongs to the training of what comes after.
    A lone norm goes with the neighbour whose path in the network it shares.
    """
    first, last = major, following - 1
    for i in range(major + 1, following):
        segment = segments[i]
        if segment.dropout:
            last = min(last, i - 1)
        if segment.weights == "minor":
            before = len(shared_path(segment.path, segments[major].path))
            if len(shared_path(segment.path, segments[following].path)) > before:
                last = min(last, i - 1)
            else:
                first = i
    last = max(first, last)
    return min(range(last, first - 1, -1), key=lambda i: segments[i].cut.numbers)


@dataclass(frozen=True, slots=True)
class _Group:
    """Segments of one layer (or block) with weights and what goes with it."""

    segments: list[_Segment]
    major: int

    def body(self) -> tuple[int, int]:
        """Dimensions and size of what it gives, before any global pooling or flattening."""
        cut = self.segments[self.major].cut
        sizes = [cut.numbers]
        for segment in self.segments[self.major + 1 :]:
            if segment.pools or len(segment.cut.shape) != len(cut.shape):
                break
            sizes.append(segment.cut.numbers)
        return len(cut.shape), min(sizes)

    def ends_a_stage(self) -> bool:
        """Whether it is a block, or a layer with a pool after it, rather than one layer of many."""
        major = self.segments[self.major]
        return major.in_block or self.body()[1] < major.cut.numbers


def _merged(groups: list[_Group]) -> list[list[_Segment]]:
    """Join a group to the next where that ends in a much smaller tensor of the same kind.

    Plain layers of equal size before it join as well: to store what they give costs as much. The
    head stays alone, so that it can be all that is left in training.
    """
    merged = [groups[-1].segments]
    joins = False
    for i in range(len(groups) - 2, -1, -1):
        group, after = groups[i], groups[i + 1]
        (rank, numbers), (next_rank, next_numbers) = group.body(), after.body()
        much_larger = numbers > TOO_MUCH_LARGER * next_numbers
        like_next = joins and not group.ends_a_stage() and numbers >= next_numbers
        joins = i < len(groups) - 2 and rank == next_rank and (much_larger or like_next)
        if joins:
            merged[0] = [*group.segments, *merged[0]]
        else:
            merged.insert(0, group.segments)
    return merged


def _names(traced: Trace, ends: Sequence[Cut]) -> list[str]:
    """Names from the paths of the layers with weights: stem, layer1.0, features.0-2, head."""
    blocks = Blocks(traced)
    names: list[str] = []
    start: Cut | None = None
    for end in ends:
        paths: dict[str, None] = {}
        for node in traced.between(start, end):
            for layer in traced.layers([node]):
                called = str(node.target) if node.op == "call_module" else layer
                paths[blocks.of(node) or called] = None
        names.append(_name(list(paths)))
        start = end
    if "." not in names[0]:
        names[0] = "stem"
    names[-1] = "head"
    return [n if names.index(n) == i else f"{n}~{i}" for i, n in enumerate(names)]


def _name(paths: list[str]) -> str:
    if len(paths) < 2:
        return "".join(paths) or "weights"
    above = shared_path(paths[0], *paths[1:])
    first, last = (".".join(p.split(".")[len(above) :]) for p in (paths[0], paths[-1]))
    return ".".join([*above, f"{first}-{last}"])
