"""The account of floating point operations: what was spent, and what full training would have cost.

Counts are exact for matrix products and convolutions, by unit, and add up: a training step whose
first trained unit is k costs the forward of the units from k on, the gradients of their weights,
and the gradients of the maps between them, yet not of the maps that enter unit k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from learndrop.errors import DamagedFile
from learndrop.networks.chain import Chain, Unit
from learndrop.networks.flops import backward_flops

Kind = Literal["test", "forward", "backward", "build", "probe"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MOST_JSON = 2**63 - 1  # larger whole numbers are written as floats


@dataclass(frozen=True, slots=True)
class _Costs:
    """FLOPs of one unit for one image: forward, and backward as a later or as the first unit."""

    forward: int
    backward: int
    backward_as_first: int


class Ledger:
    """Counts what is done to a chain, image by image.

    `full` is what it would have cost to test every arriving sample and to train the whole network
    on it once: the control. Replays, stored maps and probes are spending that it does not have.
    """

    def __init__(self, chain: Chain) -> None:
        self._costs: dict[int, tuple[Unit, _Costs]] = {}
        self._by_kind: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._full = self._forward_full = 0
        self.rebind(chain)

    def rebind(self, chain: Chain) -> None:
        """Go on with a chain whose head has grown; what was spent stays."""
        self._chain = chain

    # -- costs of one image -----------------------------------------------------------------

    def forward_cost(self, start: int, end: int) -> int:
        """Forward of the units from `start` up to `end` (not with it)."""
        return sum(self._of(u).forward for u in self._chain.units[start:end])

    def backward_cost(self, k: int) -> int:
        """Backward of a step whose first trained unit is k; nothing where none is trained."""
        trained = self._chain.units[k:]
        later = sum(self._of(u).backward for u in trained[1:])
        return later + sum(self._of(u).backward_as_first for u in trained[:1])

    def step_cost(self, k: int) -> int:
        """Forward and backward of a step on stored maps whose first trained unit is k."""
        return self.forward_cost(k, len(self._chain)) + self.backward_cost(k)

    def step_costs(self) -> list[int]:
        """`step_cost` for every k from 0 to the number of units, where nothing is left to train."""
        return [self.step_cost(k) for k in range(len(self._chain) + 1)]

    # -- spending ---------------------------------------------------------------------------

    def test(self, n: int) -> None:
        """n arriving images passed the whole network for their test-then-train answer."""
        cost = n * self.forward_cost(0, len(self._chain))
        self._by_kind["test"] += cost
        self._full += cost
        self._forward_full += cost

    def train(self, k: int, n: int, *, arriving: int | None = None) -> None:
        """A step on n maps at cut k, of which `arriving` (all, if not given) are new samples."""
        whole = len(self._chain)
        self._by_kind["forward"] += n * self.forward_cost(k, whole)
        self._by_kind["backward"] += n * self.backward_cost(k)
        new = n if arriving is None else arriving
        self._full += new * self.step_cost(0)
        self._forward_full += new * self.forward_cost(0, whole)

    def build(self, start: int, end: int, n: int) -> None:
        """n maps were made anew by the units from `start` up to `end`."""
        self._by_kind["build"] += n * self.forward_cost(start, end)

    def probe(self, n: int, start: int = 0, *, trained_from: int | None = None) -> None:
        """n images (or maps at cut `start`) passed to the end, to look at something.

        With gradients of the units from `trained_from` on, if given.
        """
        cost = self.forward_cost(start, len(self._chain))
        if trained_from is not None:
            cost += self.backward_cost(trained_from)
        self._by_kind["probe"] += n * cost

    def look(self, n: int, beside: int) -> None:
        """n images passed the whole network, and `beside` more was spent on what came out."""
        self.probe(n)
        self._by_kind["probe"] += beside

    # -- the account ------------------------------------------------------------------------

    @property
    def done(self) -> int:
        """FLOPs of everything so far."""
        return sum(self._by_kind.values())

    def totals(self) -> dict[str, Any]:
        """FLOPs done and full, of all and of forward passes alone, and the share saved.

        A probe's backward counts as forward too: it is small, and not told apart.
        """
        done = self.done
        return {
            "done": _json(done),
            "full": _json(self._full),
            "forward_done": _json(done - self._by_kind["backward"]),
            "forward_full": _json(self._forward_full),
            "saved_ratio": 1.0 - done / self._full if self._full else 0.0,
            "by_kind": {kind: _json(n) for kind, n in self._by_kind.items()},
        }

    def to_json(self) -> dict[str, Any]:
        """The account as JSON values."""
        return {
            "by_kind": {kind: _json(n) for kind, n in self._by_kind.items()},
            "full": _json(self._full),
            "forward_full": _json(self._forward_full),
        }

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave; the chain stays.

        Raises:
            DamagedFile: if it is something else.
        """
        try:
            by_kind = {kind: int(data["by_kind"][kind]) for kind in KINDS}
            full, forward_full = int(data["full"]), int(data["forward_full"])
        except (KeyError, TypeError, ValueError) as exc:
            raise DamagedFile(f"this is no account of FLOPs: {exc!r}") from exc
        self._by_kind, self._full, self._forward_full = by_kind, full, forward_full

    def _of(self, unit: Unit) -> _Costs:
        known = self._costs.get(unit.position)
        if known is None or known[0] is not unit:  # a unit that has grown is another one
            module, shape = unit.module, unit.in_shape
            costs = _Costs(
                unit.flops,
                backward_flops(module, shape, input_gradient=True),
                backward_flops(module, shape, input_gradient=False),
            )
            self._costs[unit.position] = known = (unit, costs)
        return known[1]


def _json(number: int) -> int | float:
    return number if number <= MOST_JSON else float(number)
