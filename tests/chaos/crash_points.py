"""Row 3: a crash at every create, write, fsync, rename, unlink, mkdir and rmdir of one checkpoint
and one publish, with what they remove; and a power cut there that takes what was not synced.

A process that holds a warm learner is forked once for each point; the child dies at the N-th step
and the parent reads what is left, as a fresh worker and a fresh service would.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from learndrop.disk import checkpoint_files
from learndrop.disk.files import ASIDE
from learndrop.disk.registry import Registry
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from tests.chaos.disk import DEATHS, DIED, Death, Disk
from tests.learning import digits, quick_learner
from tests.rows import Found, arguments, report

KEEP = 2
Side = Literal["before", "after"]


class Between(AssertionError):
    """What was found after a crash is neither the old nor the new."""


@dataclass(frozen=True)
class Deed:
    """Something done to a folder.

    Attributes:
        name: for the figures.
        prepare: makes the folder as it is before.
        act: what dies.
        side: which of both a fresh reader finds; raises Between.
        again: does it once more and checks that nothing half done is left.
    """

    name: str
    prepare: Callable[[Path], None]
    act: Callable[[Path], object]
    side: Callable[[Path], Side]
    again: Callable[[Path], None]


def learners(batches: int = 3) -> tuple[Learner, Learner]:
    """A learner, and the same one later."""
    stream = list(digits("clean", length=32 * 2 * batches).batches(32))
    both = quick_learner(), quick_learner()
    for number, learner in enumerate(both, start=1):
        for batch in stream[: number * batches]:
            learner.learn(batch)
    return both


def checkpoints(old: Learner, new: Learner, kept: int = KEEP) -> Deed:
    """A checkpoint that pushes the oldest out; with `kept` 0 the first of all."""
    known = {"7-0": _facts(old), "8-0": _facts(new)}

    def prepare(root: Path) -> None:
        for _ in range(kept):
            checkpoint.save(old, root / "checkpoints", "7-0", KEEP)

    def side(root: Path) -> Side:
        found = checkpoint_files.newest_whole(root / "checkpoints")
        if found is None and not kept:
            return "before"
        if found is None:
            raise Between("no checkpoint is left")
        _, state, tensors = found
        position = state["position"]
        values, expected = known[position]
        if state["learner"] != values or tensors.keys() != expected.keys():
            raise Between(f"the state of {position} is not what was saved")
        if not all(torch.equal(tensors[n], t) for n, t in expected.items()):
            raise Between(f"the tensors of {position} are not what was saved")
        for folder in (root / "checkpoints").glob("[0-9]*"):
            checkpoint_files.read_checkpoint(folder)  # nothing damaged lies about
        return "after" if position == "8-0" else "before"

    def again(root: Path) -> None:
        checkpoint.save(new, root / "checkpoints", "8-0", KEEP)
        _tidy(root, len(list((root / "checkpoints").iterdir())) <= KEEP)

    name = "checkpoint" if kept else "first checkpoint"
    return Deed(
        name,
        prepare,
        lambda root: checkpoint.save(new, root / "checkpoints", "8-0", KEEP),
        side,
        again,
    )


def publishes(old: Learner, new: Learner, kept: int = KEEP) -> Deed:
    """A version that pushes the oldest out; with `kept` 0 the first of all."""
    before, after = old.export(), new.export()

    def prepare(root: Path) -> None:
        for number in range(1, kept + 1):
            parts = before[0] if number == kept else {"oldest": b"%d" % number}
            _registry(root).publish(parts, before[1])

    def side(root: Path) -> Side:
        registry = _registry(root)
        if registry.current() is None and not kept:
            return "before"
        version = registry.load()
        if version.trouble is not None or version.number not in (kept, kept + 1):
            raise Between(f"version {version.number}: {version.trouble}")
        if version.parts != (after if version.number > kept else before)[0]:
            raise Between(f"version {version.number} is not what was published")
        for row in registry.list():
            registry.load(row["number"])
        return "after" if version.number > kept else "before"

    def again(root: Path) -> None:
        registry = _registry(root)
        registry.publish(*after)
        rows = [r["number"] for r in registry.list()]
        wanted = {hash(b) for n in rows for b in registry.load(n).parts.values()}
        found = {hash(p.read_bytes()) for p in (root / "models" / "blobs").iterdir()}
        _tidy(root, len(rows) <= KEEP and wanted == found)

    return Deed(
        "publish" if kept else "first publish",
        prepare,
        lambda root: _registry(root).publish(*after),
        side,
        again,
    )


def walk(deed: Deed, death: Death, every: int = 1) -> tuple[list[Side], list[str]]:
    """Die at every point of a deed, or at every so many-th, and after its end.

    Returns:
        the side found after each death, and what was done at each step.

    Raises:
        Between: saying the step and how it died.
    """
    sides: list[Side] = []
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        deed.prepare(base / "as-it-was")
        (base / "as-it-was").mkdir(exist_ok=True)
        told = _die(deed, base, 0, death)
        told.append("the end")  # what was done must stay done
        for step in sorted({*range(1, len(told), every), len(told)}):
            _die(deed, base, step, death)
            root = base / "root"
            try:
                sides.append(deed.side(root))
                deed.again(root)
            except Exception as exc:
                where = f"{deed.name}, {death} at step {step} ({told[step - 1]})"
                raise Between(f"{where}: {type(exc).__name__}: {exc}") from exc
    if sides != sorted(sides, reverse=True) or sides[-1] != "after":
        raise Between(f"{deed.name}, {death}: once after, later before: {sides}")
    return sides, told


def _die(deed: Deed, base: Path, step: int, death: Death) -> list[str]:
    """Do the deed in a child that dies at the step; what it did, if it lived."""
    root, aside, report_file = base / "root", base / "aside", base / "told.json"
    for folder in (root, aside):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base / "as-it-was", root)
    aside.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads: the child starts none
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            disk = Disk(step, death, aside)
            disk.install()
            deed.act(root)
            if step:
                disk.die()
            told = json.dumps([disk.told, disk.unseen])
            with open(report_file, "w") as file:
                file.write(told)
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != (DIED if step else 0):
        raise Between(f"{deed.name}: the child ended with {code} at step {step}")
    if step:
        return []
    steps, unseen = json.loads(report_file.read_text())
    if unseen:
        raise Between(f"{deed.name} writes past the counted steps: {unseen}")
    return [str(one).replace(str(base), "") for one in steps]


def _facts(learner: Learner) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """What a checkpoint of this learner reads back as."""
    with tempfile.TemporaryDirectory() as folder:
        state, tensors = checkpoint_files.read_checkpoint(
            checkpoint.save(learner, Path(folder), "0-0", 1)
        )
    return state["learner"], tensors


def _registry(root: Path) -> Registry:
    return Registry(root / "models", keep=KEEP)


def _tidy(root: Path, bounded: bool) -> None:
    left = [str(p) for p in root.rglob(f".*{ASIDE}")]
    if left or not bounded:
        raise Between(f"after the next time something is left over: {left}")


def find(_: argparse.Namespace) -> dict[int, Found]:
    """Every point of four deeds, three deaths each."""
    torch.set_num_threads(1)
    old, new = learners()
    deeds = [
        checkpoints(old, new),
        publishes(old, new),
        checkpoints(old, new, kept=0),
        publishes(old, new, kept=0),
    ]
    points: Counter[str] = Counter()
    between: list[str] = []
    steps = 0
    for deed in deeds:
        for death in DEATHS:
            try:
                sides, told = walk(deed, death)
            except Between as exc:
                between.append(str(exc))
                continue
            points.update(sides)
            steps += len(told) if death == "killed" else 0
    figure = (
        f"{points['before'] + points['after']} crashes: {points['before']} came back to before,"
        f" {points['after']} to after, {len(between)} deeds with something between"
    )
    count = f"{steps} points, each killed, torn (unsynced bytes lost), undone (unsynced names lost)"
    return {3: Found(figure, count, not between, "; ".join(between))}


if __name__ == "__main__":
    sys.exit(report(find, arguments(__doc__), rows=[3]))
