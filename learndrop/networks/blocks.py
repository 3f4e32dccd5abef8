"""Finds the blocks that a network is built of by repetition: residual blocks, encoder layers."""

from __future__ import annotations

from collections import Counter

from torch import fx, nn

from learndrop.networks.tracing import Cut, Trace

CONTAINERS = {nn.Sequential, nn.ModuleList, nn.ModuleDict}


class Blocks:
    """Which block of a traced network a step belongs to.

    A block is a module of the network's own making whose class occurs more than once. A module
    that holds a list of nothing but such modules is a stage: its members are the blocks.
    """

    def __init__(self, traced: Trace) -> None:
        self._traced = traced
        entered = _entered(traced)
        repeated = {kind for kind, n in Counter(map(type, entered.values())).items() if n > 1}
        stages = {type(m) for m in entered.values() if _is_stage(m, repeated)}
        self._paths = {path for path, m in entered.items() if type(m) in repeated - stages}

    def of(self, node: fx.Node) -> str | None:
        """Path of the outermost block in whose forward a node was made; None outside of any."""
        for path in _around(self._traced, node):
            if path in self._paths:
                return path
        return None

    def divided_by(self, cut: Cut) -> bool:
        """Whether a cut lies inside of one block."""
        nodes, computed = self._traced.nodes, self._traced.computed
        before = next(n for n in reversed(nodes[: cut.position]) if n in computed)
        after = next(n for n in nodes[cut.position :] if n in computed)
        return self.of(before) is not None and self.of(before) == self.of(after)


def _entered(traced: Trace) -> dict[str, nn.Module]:
    """Modules whose forward was followed step by step, and that do more than pass on, by path."""
    paths: dict[str, None] = {}
    for node in traced.nodes:
        paths.update(dict.fromkeys(_around(traced, node)))
    modules = {path: traced.model.get_submodule(path) for path in paths}
    return {path: m for path, m in modules.items() if not _passes_on(m)}


def _around(traced: Trace, node: fx.Node) -> list[str]:
    """Paths of the modules that a node was made in, outermost first, without the network's."""
    parts = [p for p in traced.owner.get(node, "").split(".") if p]
    if node.op == "call_module":
        parts.pop()  # called, not entered
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _passes_on(module: nn.Module) -> bool:
    return type(module) in CONTAINERS or isinstance(module, nn.Sequential)


def _is_stage(module: nn.Module, repeated: set[type[nn.Module]]) -> bool:
    for part in module.modules():
        kinds = {type(child) for child in part.children()}
        if part is not module and _passes_on(part) and len(kinds) == 1 and kinds <= repeated:
            if len(list(part.children())) > 1:
                return True
    return False
