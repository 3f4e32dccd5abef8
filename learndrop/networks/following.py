"""Follows a network's forward pass into a graph that holds in eval and in training alike.

torch.fx does the tracing. torchvision is not imported for it: with torch's compiler, which it pulls
in, that would take as long as torch itself.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import fx, nn

from learndrop.errors import BadNetwork

log = logging.getLogger(__name__)

MOST_RETRACES = 1000
# Layers are steps, also those of other libraries that inherit from torch's and add to them.
STEPS = (nn.Linear, nn.Conv2d, nn.modules.batchnorm._NormBase)
CONSTANT = "_tensor_constant"  # torch.fx's name for tensors made in forward, with a number


class _Tracer(fx.Tracer):
    """Records for every node the path of the module whose forward made it.

    Modules named in `whole`, and those of torch.nn and torchvision.ops, are not entered.
    """

    # Else a buffer becomes a nameless constant of the graph, and is lost to state_dict().
    proxy_buffer_attributes = True

    def __init__(self, whole: set[str]) -> None:
        ops = sys.modules.get("torchvision.ops")  # there, if the network is of torchvision's parts
        modules = (math, ops) if ops else (math,)
        super().__init__(autowrap_modules=modules)  # type: ignore[arg-type] # takes any number
        self.whole = whole
        self.owner: dict[fx.Node, str] = {}
        self.failed = ""

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        of_ops = any(c.__module__.startswith("torchvision.ops.") for c in type(m).__mro__)
        step = of_ops or isinstance(m, STEPS) or module_qualname in self.whole
        return step or super().is_leaf_module(m, module_qualname)

    def call_module(self, m: nn.Module, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().call_module(m, *args, **kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)  # the innermost is told first
            raise

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        proxy = super().create_proxy(*args, **kwargs)
        self.owner[proxy.node] = self.scope.module_path
        return proxy


Followed = tuple[fx.Graph, dict[fx.Node, str]]


def follow(model: nn.Module) -> Followed:
    """A graph that holds in eval and in training alike.

    Functional dropout and the like bake `training` into the graph. A module whose steps differ
    between the two modes is therefore kept whole: it then looks at its own flag when it runs. So is
    one that cannot be followed inside; only where the network's own forward cannot, it is refused.
    """
    whole: set[str] = set()
    for _ in range(MOST_RETRACES):
        try:
            with in_mode(model, training=False):
                settled = _traced(model, whole)
            with in_mode(model, training=True):
                differing = _differing(settled, _traced(model, whole))
        except _Lost as exc:
            if not exc.inside:
                raise
            log.warning("%s is kept whole as one step: %s", exc.inside, exc)
            whole.add(exc.inside)
            continue
        if not differing:
            return settled
        if "" in differing or differing <= whole:
            break
        whole |= differing
    raise BadNetwork(
        f"{type(model).__name__} takes another way in training than in eval, in its own forward"
    )


class _Lost(BadNetwork):
    """Tracing came to its end; `inside` is the path of the module where, empty for the network."""

    def __init__(self, message: str, inside: str) -> None:
        super().__init__(message)
        self.inside = inside


def _traced(model: nn.Module, whole: set[str]) -> Followed:
    tracer = _Tracer(whole)
    try:
        return tracer.trace(model), tracer.owner
    # Tracing runs the network's own forward with stand-ins, which may fail in any way.
    except Exception as exc:
        last = list(tracer.owner.items())[-1:]
        where = "".join(f"after {path or node}" for node, path in last) or "at its start"
        told = str(exc).partition("\n")[0]
        raise _Lost(
            f"{type(model).__name__} cannot be traced {where}{_line(exc.__traceback__)}: {told}"
            " (units=[...] by hand is the way out, see docs/library.md)",
            tracer.failed,
        ) from exc


def _line(trace: TracebackType | None) -> str:
    """The line of the network's own code at which tracing ended; empty where none was reached."""
    ours = (str(Path(torch.__file__).parent), __file__)
    frames = [f for f in traceback.extract_tb(trace) if not f.filename.startswith(ours)]
    if not frames:
        return ""
    last = frames[-1]
    source = f" ({last.line})" if last.line else ""
    return f", in line {last.lineno} of {Path(last.filename).name}{source}"


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
