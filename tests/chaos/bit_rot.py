"""Row 4: one flipped bit at 2,000 random places, a cut at every 4 KiB, files that changed places,
in checkpoint, version, manifest and pointers: each refused by name, the last good one served.

Answers are those of the service's own network, made of what the registry gives out.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from learndrop.disk import checkpoint_files
from learndrop.disk.registry import Registry
from learndrop.errors import DamagedFile
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from service.answering.model import Model
from tests.chaos.crash_points import learners
from tests.rows import Found, arguments, report

CUT = 4096


@dataclass(frozen=True)
class Place:
    """Two checkpoints and two versions, the second of each newer, and what they answer.

    Attributes:
        root: their folder.
        right: answers of version 1 and of version 2 to `pictures`.
        pictures: uint8 [N, S, S, 3].
    """

    root: Path
    right: tuple[NDArray[np.float32], NDArray[np.float32]]
    pictures: NDArray[np.uint8]

    @property
    def registry(self) -> Registry:
        return Registry(self.root / "models")

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def files(self) -> dict[str, list[Path]]:
        """What is of the newer version or checkpoint alone, and the pointers, by kind."""
        blobs = self.root / "models" / "blobs"
        only_newer = [
            blobs / f"{blob.sha256}.safetensors"
            for blob in self.registry._shelf.manifest(2).parts.values()
            if blob not in self.registry._shelf.manifest(1).parts.values()
        ]
        return {
            "tensors": [self.checkpoints / "00000002" / "tensors.safetensors"],
            "state": [self.checkpoints / "00000002" / "state.json"],
            "blob": only_newer,
            "manifest": [self.root / "models" / "versions" / "000002.json"],
            "CURRENT": [self.root / "models" / "CURRENT"],
            "PINS": [self.root / "models" / "PINS"],
        }

    def answers(self) -> NDArray[np.float32]:
        """What a service that starts now answers."""
        return Model(self.registry.load()).predict(self.pictures)


def make(root: Path, old: Learner, new: Learner) -> Place:
    """Fill a folder."""
    registry = Registry(root / "models")
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    right = []
    for number, learner in enumerate((old, new), start=1):
        checkpoint.save(learner, root / "checkpoints", f"{number}-0", keep=2)
        registry.publish(*learner.export())
        right.append(Model(registry.load()).predict(pictures))
    registry.pin(1)
    return Place(root, (right[0], right[1]), pictures)


@dataclass(frozen=True)
class Damage:
    """One file that is not what was written."""

    kind: str
    how: str
    path: Path
    data: bytes


def flips(place: Place, count: int) -> Iterator[Damage]:
    """One bit each; every kind of file equally often, however large it is."""
    at = random.Random(0)
    kinds = list(place.files().items())
    for number in range(count):
        kind, paths = kinds[number % len(kinds)]
        path = at.choice(paths)
        data = bytearray(path.read_bytes())
        where, bit = at.randrange(len(data)), at.randrange(8)
        data[where] ^= 1 << bit
        yield Damage(kind, f"bit {bit} of byte {where} flipped", path, bytes(data))


def cuts(place: Place, distance: int = CUT) -> Iterator[Damage]:
    """Every file cut at each 4 KiB, to nothing, and short of its last byte."""
    for kind, paths in place.files().items():
        for path in paths:
            data = path.read_bytes()
            for size in sorted({*range(0, len(data), distance), len(data) - 1}):
                yield Damage(kind, f"cut to {size} bytes", path, data[:size])


def swaps(place: Place) -> Iterator[Damage]:
    """Every file with the content of each other one of its kind, and of its older sibling."""
    siblings = {
        "tensors": [place.checkpoints / "00000001" / "tensors.safetensors"],
        "state": [place.checkpoints / "00000001" / "state.json"],
        "manifest": [place.root / "models" / "versions" / "000001.json"],
        "blob": list((place.root / "models" / "blobs").iterdir()),
    }
    for kind, paths in place.files().items():
        for path in paths:
            for other in siblings.get(kind, []):
                data = other.read_bytes()
                if data != path.read_bytes():
                    yield Damage(kind, f"with the content of {other.name}", path, data)


def wrong(place: Place, damage: Damage) -> str | None:
    """What is wrong with how a damage is met; None if it is refused by name and outlived."""
    whole = damage.path.read_bytes()
    damage.path.write_bytes(damage.data)
    try:
        said, expected = _refusal(place, damage)
        if said is None:
            return f"{damage.path.name}, {damage.how}: not refused"
        if damage.path.name not in said:
            return f"{damage.path.name}, {damage.how}: not named in {said!r}"
        if damage.kind in ("tensors", "state"):
            found = checkpoint_files.newest_whole(place.checkpoints)
            if found is None or found[1]["position"] != "1-0":
                return f"{damage.path.name}, {damage.how}: the last good checkpoint is not taken"
        elif not np.array_equal(place.answers(), place.right[expected - 1]):
            return f"{damage.path.name}, {damage.how}: wrong answers"
    except Exception as exc:
        return f"{damage.path.name}, {damage.how}: {type(exc).__name__}: {exc}"
    finally:
        damage.path.write_bytes(whole)
    return None


def _refusal(place: Place, damage: Damage) -> tuple[str | None, int]:
    """What whoever reads the damaged file says of it, and which version is to be served."""
    heard = Heard()
    logging.getLogger("learndrop.disk.shelf").addHandler(heard)
    try:
        if damage.kind in ("tensors", "state"):
            checkpoint_files.read_checkpoint(damage.path.parent)
        elif damage.kind == "PINS":
            place.registry.pins()
        elif damage.kind == "CURRENT":
            place.registry.current()  # refused, said in the log, and the newest version counts
            return (heard.lines[0] if heard.lines else None), 2
        else:
            place.registry.load(2)
    except DamagedFile as exc:
        return str(exc), 2 if damage.kind == "PINS" else 1
    finally:
        logging.getLogger("learndrop.disk.shelf").removeHandler(heard)
    return None, 2


class Heard(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def find(options: argparse.Namespace) -> dict[int, Found]:
    """All damages, one at a time."""
    quiet = logging.getLogger("learndrop")  # thousands of refusals, each expected
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    folder = Path(tempfile.mkdtemp())
    try:
        place = make(folder, *learners())
        seen: Counter[str] = Counter()
        trouble: list[str] = []
        for sort, damages in (
            ("flipped bits", flips(place, options.flips)),
            ("cuts", cuts(place)),
            ("swaps", swaps(place)),
        ):
            for damage in damages:
                seen[sort] += 1
                if (told := wrong(place, damage)) is not None:
                    trouble.append(told)
        if not np.array_equal(place.answers(), place.right[1]):
            trouble.append("after all of it the newest version does not answer as before")
    finally:
        shutil.rmtree(folder)
    total = seen.total()
    return {
        4: Found(
            f"{total - len(trouble)} of {total} refused by name and outlived,"
            f" {sum('wrong answers' in t for t in trouble)} wrong answers",
            ", ".join(f"{n} {sort}" for sort, n in seen.items()),
            not trouble,
            "; ".join(trouble[:5]),
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--flips", type=int, default=2000, help="flipped bits")
    sys.exit(report(find, parser, rows=[4]))
