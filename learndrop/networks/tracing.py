"""Finds the points of a network's forward graph at which exactly one tensor is alive.

Between two such points lies a piece that takes one tensor and gives one; `Trace.piece` makes it a
module of its own, with the parameter names of the original network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from learndrop.errors import BadNetwork
from learndrop.networks.following import CONSTANT, follow, in_mode

# torch's own layers; their base class and containers live elsewhere in torch.nn.modules
LAYERS = tuple(
    f"torch.nn.modules.{n}" for n in ("activation", "batchnorm", "conv", "linear", "normalization")
)


@dataclass(frozen=True, slots=True)
class Cut:
    """A point where one tensor is alive.

    Attributes:
        position: how many nodes lie before it.
        node: the node whose value is alive; not always the last one before the cut.
        shape: of that tensor, without the batch.
    """

    position: int
    node: fx.Node
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers the tensor holds for one image."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Trace:
    """A network's forward graph.

    Attributes:
        model: the network itself.
        nodes: its steps in the order of execution, the last one is the output.
        owner: path of the module in whose forward a node was made.
        shapes: of each node that gives one tensor, with the example's batch of 1.
    """

    model: nn.Module
    nodes: tuple[fx.Node, ...]
    owner: dict[fx.Node, str]
    shapes: dict[fx.Node, tuple[int, ...]]

    @cached_property
    def computed(self) -> frozenset[fx.Node]:
        """Nodes that depend on the image; all others can be made again wherever they are used."""
        computed = {self.nodes[0]}
        for node in self.nodes:
            if not computed.isdisjoint(node.all_input_nodes):
                computed.add(node)
        return frozenset(computed)

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """All points where one tensor is alive and no parameter is used on both sides.

        The last one is the network's output.
        """
        index = {n: i for i, n in enumerate(self.nodes)}
        last_use = {n: max((index[u] for u in n.users), default=-1) for n in self.computed}
        tied = self._tied_until()
        found: list[Cut] = []
        alive: list[fx.Node] = []
        for i, node in enumerate(self.nodes[:-1]):
            if node in self.computed:
                alive.append(node)
            alive = [n for n in alive if last_use[n] > i]
            if i and len(alive) == 1 and tied[i] <= i:
                shape = self.shapes.get(alive[0], ())
                if shape[:1] == (1,):
                    found.append(Cut(i + 1, alive[0], shape[1:]))
        return tuple(found)

    def between(self, start: Cut | None, end: Cut) -> tuple[fx.Node, ...]:
        """The nodes after `start` (None: the image) up to `end`, and constants that they need."""
        wanted: dict[fx.Node, None] = {}

        def add(node: fx.Node) -> None:
            for needed in node.all_input_nodes:
                if needed not in self.computed:
                    add(needed)
            wanted[node] = None

        for node in self.nodes[start.position if start else 1 : end.position]:
            if node in self.computed:
                add(node)
        return tuple(wanted)

    def layers(self, nodes: Sequence[fx.Node]) -> dict[str, nn.Module]:
        """The layers of torch's own kind whose weights these nodes use, by path.

        A parameter that is used bare (a class token, a scale) belongs to no layer.
        """
        found: dict[str, nn.Module] = {}
        for node in nodes:
            names = [n for n, t in self.tensors(node) if isinstance(t, nn.Parameter)]
            for path in (name.rpartition(".")[0] for name in names):
                layer = self.model.get_submodule(path)
                if any(c.__module__.startswith(LAYERS) for c in type(layer).__mro__):
                    found[path] = layer
        return found

    def tensors(self, node: fx.Node) -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers that a node uses, by their names in the network."""
        path = str(node.target)
        if node.op == "call_module":
            module = self.model.get_submodule(path)
            for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                yield f"{path}.{name}", tensor
        elif node.op == "get_attr":
            value: Any = self.model
            for name in path.split("."):
                value = getattr(value, name)
            if isinstance(value, Tensor):
                yield path, value

    def piece(self, start: Cut | None, end: Cut, *, copy_input: bool = False) -> fx.GraphModule:
        """The network from `start` to `end` as a module that takes and gives one tensor.

        It shares its parameters with the network. `copy_input` is for a piece that would write
        into what it is given.
        """
        graph = fx.Graph()
        given = graph.placeholder("x")
        if copy_input:
            given = graph.call_method("clone", (given,))
        new: dict[fx.Node, fx.Node] = {start.node if start else self.nodes[0]: given}
        for node in self.between(start, end):
            new[node] = graph.node_copy(node, new.__getitem__)
        graph.output(new[end.node])
        piece = fx.GraphModule(self.model, graph, type(self.model).__name__)
        for name, constant in list(piece.named_buffers(recurse=False)):
            if name.startswith(CONSTANT):  # a tensor made in forward: no part of the state
                piece.register_buffer(name, constant, persistent=False)
        return piece

    def _tied_until(self) -> list[int]:
        """For each node, the last node that uses a tensor of the network used up to here."""
        uses: list[set[int]] = []
        for i, node in enumerate(self.nodes[:-1]):
            near = self.between(Cut(i, node, ()), Cut(i + 1, node, ()))
            uses.append({id(t) for n in near for _, t in self.tensors(n)})
        last = {tensor: i for i, used in enumerate(uses) for tensor in used}
        tied: list[int] = []
        reach = 0
        for used in uses:
            reach = max([reach, *(last[t] for t in used)])
            tied.append(reach)
        return tied


def trace(model: nn.Module, example: Tensor) -> Trace:
    """Follow the forward pass of `model`, whose mode (training or eval) is left as it was.

    Args:
        model: any module that maps float [N, 3, S, S] to float [N, classes].
        example: one input, float [1, 3, S, S].

    Raises:
        BadNetwork: if torch.fx cannot follow, with the place, or the input does not fit.
    """
    graph, owner = follow(model)
    shapes = _shapes(model, graph, example)
    nodes = tuple(graph.nodes)
    if len(shapes.get(nodes[-1], ())) != 2:
        raise BadNetwork(f"{type(model).__name__} does not give logits [N, classes]")
    return Trace(model, nodes, owner, shapes)


def shared_path(*paths: str) -> list[str]:
    """The leading names that all dotted paths have in common.

    >>> shared_path("features.1.conv", "features.1.norm", "features.12")
    ['features']
    """
    shared: list[str] = []
    for names in zip(*(p.split(".") for p in paths), strict=False):
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return [name for name in shared if name]


def _shapes(model: nn.Module, graph: fx.Graph, example: Tensor) -> dict[fx.Node, tuple[int, ...]]:
    shapes: dict[fx.Node, tuple[int, ...]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                shapes[n] = tuple(value.shape)
            return value

    recorder = Recorder(model, graph=graph)
    recorder.extra_traceback = False
    try:
        with in_mode(model, training=False), torch.no_grad():
            recorder.run(example.clone())
    except (RuntimeError, ValueError, AssertionError) as exc:
        told = str(exc).partition("\n")[0]
        size = " x ".join(str(n) for n in example.shape[1:])
        raise BadNetwork(f"{type(model).__name__} cannot take an input of {size}: {told}") from exc
    return shapes
