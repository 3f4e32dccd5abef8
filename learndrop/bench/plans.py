"""What a bench plays: which strategies on which streams, in the short and in the long form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from learndrop.bench import streams
from learndrop.bench.jobs import Job

FOR_DIGITS = {"image_size": 16, "rate": 0.05}  # tiny pictures, random first weights
# By each clock: beside others a thread is enough; what a start else chooses by measuring would
# make two runs of counted operations differ.
BY_CLOCK: dict[str, dict[str, Any]] = {
    "wall": {},
    "processor": {"worker_threads": 1},
    "operations": {"worker_threads": 1, "precision": "float32", "memory_format": "contiguous"},
}
SHORT = (
    "plain",
    "learndrop",
    "held",
    "share",
    "plain:every=2",
    "plain:every=3",
    "plain:every=5",
    "drift-aware:share=0.5",
    "drift-aware:share=0.33",
    "drift-aware:share=0.2",
    "replays:replays=1",
    "replays:replays=3",
    "head-only",
    "freeze-only",
    "freezeout",
    "egeria",
    "random-prefix",
    "latent-replay:cut=0.5",
    "latent-replay:cut=0.7",
)
ORACLE = tuple(
    f"schedule:cuts={cuts}"
    for cuts in (
        *(f"{share}@{when}" for share in (0.3, 0.5, 0.7, 0.9) for when in (512, 1024, 2048)),
        "0.3@512+0.5@1024+0.7@1536",
        "0.5@512+0.7@1024+0.9@1536",
        "0.5@1024+0.9@2048",
        "0.7@1024+0.9@2048",
    )
)
LONG = (*SHORT, "replays:replays=7", *ORACLE)
IN_REAL_TIME = ("plain", "learndrop", "keeping-up", "drift-aware:share=0.33", "head-only")


@dataclass(frozen=True)
class Played:
    """One stream: its kind, its worlds (those of the kind where none), samples in each."""

    kind: str
    length: int
    worlds: tuple[str, ...] = ()


def chosen(
    planned: Sequence[Played], kinds: Sequence[str], worlds: tuple[str, ...], lengths: Sequence[int]
) -> tuple[Played, ...]:
    """The planned streams with what somebody named in place of what was planned.

    Raises:
        BadInput: for an unknown kind or world.

    >>> chosen([Played("abrupt", 9)], ["swap"], (), [5, 7])
    (Played(kind='swap', length=5, worlds=()), Played(kind='swap', length=7, worlds=()))
    """
    if worlds and not kinds:
        kinds = ["abrupt"]
    shapes = [(kind, worlds) for kind in kinds] or [(p.kind, p.worlds) for p in planned]
    for kind, names in shapes:
        streams.check(kind, names)
    asked = lengths or [planned[0].length]
    if not kinds and not lengths:
        return tuple(planned)
    return tuple(Played(kind, n, names) for kind, names in dict.fromkeys(shapes) for n in asked)


@dataclass(frozen=True)
class Plan:
    """One bench.

    Attributes:
        data: a source as `learndrop.images.datasets.load` takes it.
        streams: played by all strategies.
        strategies: names with options; `held` and `share` are given learndrop's own budget.
        seeds: one set of runs each.
        settings: settings that differ from the defaults.
        real_time: play the first stream in real time too, at so many times the rate that full
            training keeps; 0 does not.
        backlog: samples that may wait in real time.
        depth: samples of a world for noise in each unit in turn; 0 does not.
        clock: `wall`, `processor` where others compute meanwhile, or `operations`.
    """

    data: str = "digits"
    streams: tuple[Played, ...] = (Played("abrupt", 2000),)
    strategies: tuple[str, ...] = SHORT
    seeds: tuple[int, ...] = (0,)
    settings: dict[str, Any] = field(default_factory=dict)
    real_time: float = 0.0
    backlog: int = 256
    depth: int = 0
    clock: str = "wall"

    def job(self, played: Played, seed: int) -> Job:
        """Learndrop's run of that stream."""
        return Job(
            self.data,
            played.kind,
            played.worlds,
            played.length,
            seed,
            settings=self.settings,
            clock=self.clock,
        )


def settings_of(data: str, clock: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that differ from the defaults: those of the clock, of the data set, and given ones.

    >>> settings_of("digits", "processor", {"rate": 0.1})
    {'worker_threads': 1, 'image_size': 16, 'rate': 0.1}
    >>> settings_of("pets.npz", "operations", {"memory_format": "channels_last"})
    {'worker_threads': 1, 'precision': 'float32', 'memory_format': 'channels_last'}
    """
    return BY_CLOCK[clock] | (FOR_DIGITS if data == "digits" else {}) | dict(given)


def short_form(data: str, settings: dict[str, Any]) -> Plan:
    """`make bench`: under 20 minutes on 2 cores for handwritten digits."""
    worlds = ("clean", "rotated90", "permuted")
    return Plan(
        data,
        (Played("abrupt", 4000, worlds),),
        seeds=(0, 1, 2),
        settings=settings,
        real_time=2.0,
        depth=2000,
    )


def long_form(data: str, settings: dict[str, Any]) -> Plan:
    """`make bench-long`: every strategy on every kind of stream, hours."""
    kinds = ("ordered", "gradual", "recurring", "rotation", "swap", "incremental")
    return Plan(
        data,
        (
            Played("abrupt", 5000),
            Played("abrupt", 2000),
            *(Played(kind, 2000) for kind in kinds),
            Played("stationary", 100_000),
        ),
        LONG,
        (0, 1, 2),
        settings,
        real_time=2.0,
        depth=2000,
    )
