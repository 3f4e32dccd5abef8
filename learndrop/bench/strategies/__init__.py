"""The rivals by name: `plain`, `plain:every=3`, `drift-aware:share=0.2,rate=0.01`.

What stands behind the colon is the strategy's own, or a setting that differs for it.
"""

from __future__ import annotations

import difflib
from dataclasses import fields, is_dataclass
from typing import Any

from learndrop.bench.given import assignment
from learndrop.bench.strategies.dropping import (
    HeadOnly,
    KeepingUp,
    LatentReplay,
    Learndrop,
    RandomPrefix,
    Schedule,
)
from learndrop.bench.strategies.egeria import Egeria
from learndrop.bench.strategies.freezing import FreezeOnly, FreezeOut
from learndrop.bench.strategies.plain import DriftAware, Held, Plain, Replays, Share
from learndrop.bench.strategies.strategy import Strategy
from learndrop.errors import BadInput

STRATEGIES: dict[str, type[Strategy]] = {
    "learndrop": Learndrop,
    "keeping-up": KeepingUp,
    "plain": Plain,
    "replays": Replays,
    "drift-aware": DriftAware,
    "held": Held,
    "share": Share,
    "head-only": HeadOnly,
    "freeze-only": FreezeOnly,
    "freezeout": FreezeOut,
    "egeria": Egeria,
    "random-prefix": RandomPrefix,
    "latent-replay": LatentReplay,
    "schedule": Schedule,
}

CASTS: dict[str, Any] = {"int": int, "float": float, "str": str}  # types of a strategy's options


def strategy(text: str) -> tuple[Strategy, dict[str, Any]]:
    """The strategy that a name with options means, and the settings among the options.

    Raises:
        BadInput: for an unknown name or an option that is no `key=value`.

    >>> strategy("plain:every=2,rate=0.01")
    (Plain(every=2), {'rate': 0.01})
    """
    name, _, rest = text.partition(":")
    kind = STRATEGIES.get(name)
    if kind is None:
        near = ", ".join(difflib.get_close_matches(name, STRATEGIES, n=3, cutoff=0.3) or STRATEGIES)
        raise BadInput(f"no strategy {name!r}; near: {near}", item="strategy", value=text)
    options = [part for part in rest.split(",") if part]
    known: dict[str, Any] = {f.name: f.type for f in fields(kind)} if is_dataclass(kind) else {}
    own: dict[str, Any] = {}
    differs: dict[str, Any] = {}
    for option in options:
        key, found, value = option.partition("=")
        if not found:
            raise BadInput(f"strategy: write NAME:key=value,..., not {option!r}", item="strategy")
        try:
            if key in known:
                own[key] = CASTS[known[key]](value)
            else:
                differs |= [assignment(option)]
        except ValueError as exc:
            raise BadInput(f"strategy {text!r}: {exc}", item="strategy") from None
    return kind(**own), differs
