"""A registry whose writer dies at any step: the old version or the new, nothing between."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from learndrop.disk import files
from learndrop.disk.registry import Registry
from tests.crashes import Crash, CrashAt, Story, raise_crash
from tests.registries import ABOUT, PARTS, REPOSITORY, blob_of, blobs, parts, registry

__all__ = ["registry"]


def check_before_or_after(root: Path, before: int, after: dict[str, bytes]) -> bool:
    """Whether the new version is out; anything between old and new fails."""
    version = Registry(root, keep=3).load()
    assert version.instead_of is None
    if version.number == before:
        assert version.parts == parts(before)
        return False
    assert (version.number, version.parts) == (before + 1, after)
    return True


@pytest.mark.parametrize("before", [1, 4])
def test_a_crash_at_any_step_leaves_the_old_version_or_the_new(tmp_path: Path, before: int) -> None:
    after = {name: b"new " + data for name, data in PARTS.items()}
    out: list[bool] = []
    for step in range(1, 1000):
        root = tmp_path / str(step)
        registry = Registry(root, keep=3)
        for n in range(1, before + 1):
            registry.publish(parts(n), ABOUT)
        with pytest.MonkeyPatch.context() as patch:
            crash = CrashAt(patch, step, raise_crash)
            try:
                registry.publish(after, ABOUT)
            except Crash:
                pass
        out.append(check_before_or_after(root, before, after))
        again = Registry(root, keep=3)
        number = again.publish({"x": b"next"}, ABOUT)
        assert again.load().number == number > before
        assert not list(root.rglob(".*.part")), "what the crash left half written is gone"
        kept = {
            b for n in [v["number"] for v in again.list()] for b in again.load(n).parts.values()
        }
        assert blobs(again) == {blob_of(again, data).name for data in kept}
        if crash.left > 0:
            break
    assert step > 15 and out == sorted(out) and not out[0] and out[-1]


def test_a_process_that_dies_at_any_step_leaves_the_old_version_or_the_new(
    tmp_path: Path,
) -> None:
    """The same with a real death, at every third step."""
    program = """
import os, sys
import pytest
from learndrop.disk.registry import Registry
from pathlib import Path
from tests.crashes import CrashAt
CrashAt(pytest.MonkeyPatch(), int(sys.argv[2]), lambda: os._exit(9))
Registry(Path(sys.argv[1]), keep=3).publish({"stem": b"new stem", "head": b"new head"}, {})
"""
    after = {"stem": b"new stem", "head": b"new head"}
    results = []
    for step in range(1, 100, 3):
        root = tmp_path / str(step)
        Registry(root, keep=3).publish(parts(1), ABOUT)
        done = subprocess.run(
            [sys.executable, "-c", program, str(root), str(step)], cwd=REPOSITORY, check=False
        )
        results.append((done.returncode, check_before_or_after(root, 1, after)))
        Registry(root, keep=3).publish(parts(2), ABOUT)  # the dead one's lock is free
        if done.returncode == 0:
            break
    assert results[0] == (9, False) and results[-1] == (0, True) and len(results) > 4


def test_the_first_version_too_is_there_or_not(tmp_path: Path) -> None:
    for step in range(1, 100):
        root = tmp_path / str(step)
        with pytest.MonkeyPatch.context() as patch:
            crash = CrashAt(patch, step, raise_crash)
            try:
                Registry(root).publish(PARTS, ABOUT)
            except Crash:
                pass
        if Registry(root).current() is not None:
            assert Registry(root).load().parts == PARTS
        if crash.left > 0:
            break
    assert step > 10 and Registry(root).current() == 1


def test_bytes_are_down_before_the_manifest_and_that_before_the_pointer(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(monkeypatch)
    registry.publish(PARTS, ABOUT)
    renames = story.renames()
    for place, old, _ in renames:
        assert story.last("write", old, place) < story.last("fsync", old, place)
    order = [Path(new).parent.name for _, _, new in renames]
    assert order == ["blobs", "blobs", "blobs", "versions", "models"]
    (last_blob, *_), (at_manifest, *_), (at_pointer, *_) = renames[2:]
    root = registry.root
    assert last_blob < story.last("fsync", root / "blobs", at_manifest)
    assert at_manifest < story.last("fsync", root / "versions", at_pointer)
    assert at_pointer < story.last("fsync", root, len(story.told))
    assert story.last("fsync", root.parent, at_manifest) >= 0  # the folder's own name


@pytest.mark.parametrize("step", ["_write", "_fsync", "_rename"])
def test_a_disk_that_refuses_stops_nothing(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    registry.publish(parts(1), ABOUT)
    whole = blobs(registry)
    with monkeypatch.context() as patch:

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(files, step, full)
        with pytest.raises(OSError, match="No space left"):
            registry.publish(parts(2), ABOUT)
    assert registry.load().parts == parts(1)
    assert blobs(registry) == whole
    assert registry.publish(parts(2), ABOUT) == 2


def test_a_version_is_out_though_the_old_ones_cannot_be_removed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1, 4):
        registry.publish(parts(n), ABOUT)
    with monkeypatch.context() as patch:

        def refuse(path: Path) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        patch.setattr(files, "_unlink", refuse)
        assert registry.publish(parts(4), ABOUT) == 4
    assert registry.current() == 4 and len(registry.list()) == 4
    registry.publish(parts(5), ABOUT)
    assert len(registry.list()) == 3
