"""Follows a network's forward pass into a graph that holds in eval and in training alike.

torch.fx does the tracing, with torchvision's NodePathTracer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torchvision
from torch import fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from learndrop.errors import BadNetwork

MOST_RETRACES = 1000
CONSTANT = "_tensor_constant"  # torch.fx's name for tensors made in forward, with a number


class _Tracer(NodePathTracer):  # type: ignore[misc]
    """Records for every node the path of the module whose forward made it.

    Modules named in `whole`, and those of torch.nn and torchvision.ops, are not entered.
    """

    # Else a buffer becomes a nameless constant of the graph, and is lost to state_dict().
    proxy_buffer_attributes = True

    def __init__(self, whole: set[str]) -> None:
        super().__init__(autowrap_modules=(math, torchvision.ops))
        self.whole = whole
        self.owner: dict[fx.Node, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        of_ops = any(c.__module__.startswith("torchvision.ops.") for c in type(m).__mro__)
        return of_ops or module_qualname in self.whole or super().is_leaf_module(m, module_qualname)

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        proxy = super().create_proxy(*args, **kwargs)
        self.owner[proxy.node] = self.current_module_qualname
        return proxy


Followed = tuple[fx.Graph, dict[fx.Node, str]]


def follow(model: nn.Module) -> Followed:
    """A graph that holds in eval and in training alike.

    Functional dropout and the like bake `training` into the graph. A module whose steps differ
    between the two modes is therefore kept whole: it then looks at its own flag when it runs.
    """
    whole: set[str] = set()
    for _ in range(MOST_RETRACES):
        with in_mode(model, training=False):
            settled = _traced(model, whole)
        with in_mode(model, training=True):
            differing = _differing(settled, _traced(model, whole))
        if not differing:
            return settled
        if "" in differing or differing <= whole:
            break
        whole |= differing
    raise BadNetwork(
        f"{type(model).__name__} takes another way in training than in eval, in its own forward"
    )


def _traced(model: nn.Module, whole: set[str]) -> Followed:
    tracer = _Tracer(whole)
    try:
        return tracer.trace(model), tracer.owner
    # Tracing runs the network's own forward with stand-ins, which may fail in any way.
    except Exception as exc:
        last = list(tracer.owner.items())[-1:]
        where = "".join(f"after {path or node}" for node, path in last) or "at its start"
        told = str(exc).partition("\n")[0]
        raise BadNetwork(f"{type(model).__name__} cannot be traced {where}: {told}") from exc


def _differing(a: Followed, b: Followed) -> set[str]:
    """Paths of the modules whose steps differ; only the first where steps are missing."""
    mine, theirs = ([(*_step(n), o.get(n, "")) for n in g.nodes] for g, o in (a, b))
    found = {one[-1] for one, other in zip(mine, theirs, strict=False) if one != other}
    if len(mine) == len(theirs):
        return found
    first = [one[-1] for one, other in zip(mine, theirs, strict=False) if one != other]
    return {first[0]} if first else {max(mine, theirs, key=len)[-1][-1]}


def _step(node: fx.Node) -> tuple[str, str]:
    # Each tracing numbers its constants anew.
    told = f"{node.target} {node.args} {node.kwargs}"
    return node.op, re.sub(rf"{CONSTANT}\d+", CONSTANT, told)


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """`model` in training or eval mode for a while, then every module as it was."""
    before = [(m, m.training) for m in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in before:
            module.training = flag
