"""Rows 3 and 4 in small: crashes at points of a checkpoint and a publish, and bit rot.

`python -m tests.chaos.crash_points` and `bit_rot` measure all of it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from learndrop.disk import checkpoint_files, files
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from tests.chaos import bit_rot
from tests.chaos.crash_points import Between, checkpoints, learners, publishes, walk
from tests.chaos.disk import DEATHS, Death


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Learner, Learner]]:
    """A learner and the same one later; one thread, because the test forks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield learners(batches=1)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("death", DEATHS)
def test_a_checkpoint_that_dies_anywhere_is_the_old_one_or_the_new(
    pair: tuple[Learner, Learner], death: Death
) -> None:
    sides, told = walk(checkpoints(*pair), death, every=1 if death == "torn" else 2)
    assert sides[0] == "before" and sides[-1] == "after" and len(told) > 15
    assert {"create", "write", "fsync", "rename", "unlink", "mkdir", "rmdir"} <= {
        step.split()[0] for step in told
    }


@pytest.mark.parametrize("death", DEATHS)
def test_a_version_that_dies_anywhere_is_the_old_one_or_the_new(
    pair: tuple[Learner, Learner], death: Death
) -> None:
    sides, told = walk(publishes(*pair), death, every=4)
    assert sides[0] == "before" and sides[-1] == "after" and len(told) > 40


@pytest.mark.parametrize("forgotten, death", [("_fsync", "torn"), ("sync_folder", "undone")])
def test_a_sync_that_was_forgotten_is_found(
    pair: tuple[Learner, Learner], monkeypatch: pytest.MonkeyPatch, forgotten: str, death: Death
) -> None:
    monkeypatch.setattr(files, forgotten, lambda _: None)
    if forgotten == "sync_folder":
        monkeypatch.setattr(checkpoint_files, forgotten, lambda _: None)
    with pytest.raises(Between):
        walk(checkpoints(*pair), death)


def test_a_write_past_the_counted_steps_is_found(pair: tuple[Learner, Learner]) -> None:
    deed = checkpoints(*pair)
    past = [0]

    def act(root: Path) -> None:
        deed.act(root)
        past.append((root / "beside").write_text("not through learndrop.disk.files"))

    with pytest.raises(Between, match="writes past the counted steps: .*beside"):
        walk(type(deed)(deed.name, deed.prepare, act, deed.side, deed.again), "killed")


def test_a_full_disk_keeps_the_old_checkpoint_and_nothing_half_written(
    pair: tuple[Learner, Learner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(pair[0], tmp_path, "7-0", keep=2)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(files, "_fsync", full)
        checkpoint.save(pair[1], tmp_path, "8-0", keep=2)
    assert [p.name for p in tmp_path.iterdir()] == ["00000001"]


def test_an_old_checkpoint_that_cannot_be_removed_stops_nothing(
    pair: tuple[Learner, Learner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(files, "_unlink", refuse)
        for number in range(3):
            checkpoint.save(pair[0], tmp_path, f"{number}-0", keep=1)
    found = checkpoint_files.newest_whole(tmp_path)
    assert found is not None and found[1]["position"] == "2-0"
    checkpoint.save(pair[1], tmp_path, "9-0", keep=1)
    assert len(list(tmp_path.iterdir())) == 1


def test_every_damage_is_refused_by_name_and_the_last_good_one_served(
    pair: tuple[Learner, Learner], tmp_path: Path
) -> None:
    place = bit_rot.make(tmp_path, *pair)
    damages = [
        *bit_rot.flips(place, 48),
        *bit_rot.cuts(place, distance=512 * 1024),
        *bit_rot.swaps(place),
    ]
    assert {d.kind for d in damages} == {"tensors", "state", "blob", "manifest", "CURRENT", "PINS"}
    assert [told for d in damages if (told := bit_rot.wrong(place, d)) is not None] == []


def test_a_damage_that_passes_is_found(pair: tuple[Learner, Learner], tmp_path: Path) -> None:
    place = bit_rot.make(tmp_path, *pair)
    manifest = place.files()["manifest"][0]
    harmless = bit_rot.Damage("manifest", "left as it is", manifest, manifest.read_bytes())
    assert "not refused" in str(bit_rot.wrong(place, harmless))
