"""Which codec the maps of a cut go through, and whether it pays to store them: a gate on arrivals.

With the setting `smallest` the smallest codec is used from the start and watched: arriving samples,
which the network has not learned yet, are answered from their decoded maps as well. Their exact
answers are there anyway (the test before training), so a look costs one pass of the tail. A codec
that costs accuracy gives way to the next larger one, and to none at all where that would hold more
than twice the bytes of the pictures: a map can be made of these anew. With `auto` a clock is asked
too: where making maps anew takes less time than storing and reading them, nothing is stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from learndrop.features.codecs import EXACT

LEAST = 256  # samples, until the gate has an opinion
EVERY = 32  # batches between two looks from then on
MOST_FALL = 0.002  # of the accuracy
MOST_FLOPS = 0.01  # share of all FLOPs that looks may cost
CHOOSES = ("smallest", "auto")  # settings that are no codec's name
TIMED = 24  # readings, until their time is compared with that of making the maps


Part = Literal["store_s", "make_s"]


@dataclass
class Figures:
    """What was seen of one codec at one cut.

    Attributes:
        samples: answered both ways.
        fall, squares: sum, and sum of squares, of the probability of the right answer that is lost
            on decoded maps: an expected fall of the accuracy with less noise than counts of errors.
        lost, won: right on the exact map only, and on the decoded map only.
        store_s, read: seconds of encoding, writing, reading and decoding; maps that were read.
        make_s, made: seconds of making maps from pixels; maps that were made so.
        reads: readings.
    """

    samples: int = 0
    fall: float = 0.0
    squares: float = 0.0
    lost: int = 0
    won: int = 0
    store_s: float = 0.0
    read: int = 0
    reads: int = 0
    make_s: float = 0.0
    made: int = 0

    def add(self, falls: Sequence[float], lost: int, won: int) -> None:
        """Count one look: the fall of the right answer's probability of each sample."""
        self.samples += len(falls)
        self.fall += sum(falls)
        self.squares += sum(f * f for f in falls)
        self.lost += lost
        self.won += won

    def time(self, part: Part, seconds: float, *, read: int, made: int) -> None:
        """Count seconds of storing, in which maps were `read`, or of making some anew."""
        if part == "store_s":
            self.store_s += seconds
        else:
            self.make_s += seconds
        self.read += read
        self.reads += read > 0
        self.made += made

    @property
    def timed(self) -> bool:
        """Whether enough was timed to compare."""
        return self.reads >= TIMED and self.made >= 64

    @property
    def mean(self) -> float:
        """Mean fall of the right answer's probability."""
        return self.fall / max(1, self.samples)

    @property
    def error(self) -> float:
        """Standard error of `mean`."""
        n = max(1, self.samples)
        return math.sqrt(max(0.0, self.squares / n - self.mean**2) / n)

    def fails(self) -> bool:
        """Whether decoded maps cost more accuracy than is allowed.

        At once where it is significant by two standard errors, in the expected accuracy or in the
        counted one; by the expected accuracy alone when there are enough samples.

        >>> seen = Figures()
        >>> seen.add([0.001] * 128, lost=1, won=1)
        >>> seen.fails()
        False
        >>> seen.add([0.01] * 128, lost=3, won=0)
        >>> round(seen.mean, 4), seen.fails()
        (0.0055, True)
        """
        if self.samples < 64:
            return False
        n, change = self.samples, self.lost - self.won
        counted = change / n - 2 * math.sqrt(self.lost + self.won) / n > MOST_FALL
        expected = self.mean - 2 * self.error > MOST_FALL
        return counted or expected or (n >= LEAST and self.mean > MOST_FALL)

    def does_not_pay(self) -> bool:
        """Whether making the maps that were read would have taken less time than their storing.

        >>> Figures(store_s=1.0, read=100, reads=30, make_s=0.2, made=100).does_not_pay()
        True
        >>> Figures(store_s=1.0, read=100, reads=3, make_s=0.2, made=100).does_not_pay()
        False
        """
        return self.timed and self.store_s / self.read > self.make_s / self.made

    def told(self) -> str:
        """The gate's figure in words.

        >>> Figures(samples=400, fall=0.4, squares=0.01, lost=2, won=1).told()
        'accuracy falls by 0.10 +/- 0.02 points expected, 0.25 counted, over 400 samples'
        """
        counted = 100 * (self.lost - self.won) / max(1, self.samples)
        return (
            f"accuracy falls by {100 * self.mean:.2f} +/- {100 * self.error:.2f} points expected,"
            f" {counted:.2f} counted, over {self.samples} samples"
        )


@dataclass
class FeatureChoice:
    """The choice for the present cut; remembers what failed at which.

    Args:
        setting: a codec's name, which then holds, or `smallest` or `auto`.
        names: codecs in the order of their bytes at this cut, by cut.
    """

    setting: str
    names: Callable[[int], Sequence[str]]
    cut: int = 0
    figures: Figures = field(default_factory=Figures)
    failed: dict[int, dict[str, str]] = field(default_factory=dict)  # by cut: codec, why
    recompute: bool = False
    batches: int = 0
    spent: int = 0  # FLOPs of looks

    @property
    def gated(self) -> bool:
        """Whether anything is chosen."""
        return self.setting in CHOOSES

    def open(self, cut: int) -> str | None:
        """A cut's maps are to be stored: the codec, or None where they are better made anew."""
        if cut != self.cut:
            self.cut, self.recompute = cut, False
        if not self.recompute:  # else they say why
            self.figures, self.batches = Figures(), 0
        return self.name

    @property
    def name(self) -> str | None:
        """The codec of the present cut; None where nothing is stored."""
        if self.recompute or not self.cut:
            return None
        if not self.gated:
            return self.setting
        failed = self.failed.get(self.cut, {})
        return next((n for n in self.names(self.cut) if n not in failed), None)

    @property
    def timing(self) -> bool:
        """Whether it matters what storing, reading and making take."""
        return self.setting == "auto" and not self.recompute and not self.figures.timed

    def wants_a_look(self, cost: int, done: int) -> bool:
        """Whether this batch is to be answered from decoded maps too.

        Args:
            cost: FLOPs of that.
            done: FLOPs of everything so far.
        """
        if not self.gated or self.name in (None, EXACT):
            return False
        self.batches += 1
        due = self.figures.samples < LEAST or self.batches % EVERY == 0
        return due and self.spent + cost <= MOST_FLOPS * done

    def judge(self) -> bool:
        """Look at the figures; True where another codec, or none, is to be used from now on."""
        if not self.gated or self.recompute:
            return False
        name = self.name
        if name is None:
            return False
        if self.figures.fails() and name != EXACT:
            self.failed.setdefault(self.cut, {})[name] = self.figures.told()
            return True
        if self.setting == "auto" and self.figures.does_not_pay():
            self.recompute = True
            return True
        return False

    def why(self) -> str:
        """One sentence for the state; empty where nothing was chosen."""
        if not self.gated or not self.cut:
            return ""
        told = [
            f"{name} was given up: {why}" for name, why in self.failed.get(self.cut, {}).items()
        ]
        f = self.figures
        if self.recompute:
            told.append(
                f"nothing is stored: a stored map took {1e3 * f.store_s / max(1, f.read):.2f} ms,"
                f" a map made anew {1e3 * f.make_s / max(1, f.made):.2f} ms"
            )
        elif self.name is None:
            told.append("nothing is stored: the next would hold more than twice the pixels' bytes")
        elif f.samples:
            told.append(f"{self.name}: {f.told()}")
        return "; ".join(told)

    def to_json(self) -> dict[str, Any]:
        """The state, for a checkpoint."""
        return {
            "cut": self.cut,
            "figures": asdict(self.figures),
            "failed": {str(cut): dict(names) for cut, names in self.failed.items()},
            "recompute": self.recompute,
            "batches": self.batches,
            "spent": self.spent,
        }

    def load_json(self, data: Mapping[str, Any]) -> None:
        """Take back what `to_json` gave."""
        self.cut = data["cut"]
        self.recompute = data["recompute"] and self.setting == "auto"
        self.batches, self.spent = data["batches"], data["spent"]
        self.figures = Figures(**data["figures"])
        self.failed = {int(cut): dict(names) for cut, names in data["failed"].items()}
