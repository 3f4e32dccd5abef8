"""The archive of what was learned: bounded, nothing twice, damage by name, deletion."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from learndrop.disk.archive import Archive, Segment, read_segment
from learndrop.errors import DamagedFile, NotLeading, UnknownFileFormat
from learndrop.stream.messages import Sample
from tests.crashes import Crash, CrashAt, raise_crash

SIZE = 8
ONE = SIZE * SIZE * 3


def samples(start: int, count: int) -> list[Sample]:
    images = [np.full((SIZE, SIZE, 3), n % 256, np.uint8) for n in range(start, start + count)]
    numbered = enumerate(images, start)
    return [Sample(i, f"label {n % 3}", 1e9 + n, "camera" if n % 2 else "") for n, i in numbered]


def ids(start: int, count: int) -> list[str]:
    return [f"{n + 1}-0" for n in range(start, start + count)]


def keep(archive: Archive, start: int, count: int) -> None:
    """As the worker does at a checkpoint; the one before ended at `start`."""
    archive.add(ids(start, count), samples(start, count), after=f"{start}-0")
    archive.write()


def numbers(archive: Archive) -> list[int]:
    return [int(s.accepted_s - 1e9) for segment in archive.segments() for s in segment.samples()]


def test_samples_come_back_in_the_order_in_which_they_were_learned(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive", 2**20)
    for start in range(0, 120, 12):
        keep(archive, start, 12)
    (first, *_) = archive.segments()
    assert numbers(archive) == list(range(120)) and len(archive.paths()) == 10
    assert first.ids.tolist() == ids(0, 12)
    for found, sent in zip(first.samples(), samples(0, 12), strict=True):
        assert (found.label, found.key, found.accepted_s) == (sent.label, sent.key, sent.accepted_s)
        assert np.array_equal(found.image, sent.image)


def test_without_a_budget_nothing_is_kept(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive", 0)
    keep(archive, 0, 12)
    assert not (tmp_path / "archive").exists() and numbers(archive) == []


def test_the_oldest_go_first_and_the_bound_is_never_passed(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 40_000)
    for start in range(0, 600, 20):
        keep(archive, start, 20)
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 40_000
    kept = numbers(archive)
    assert kept == list(range(kept[0], 600)) and kept[0] > 0


def test_what_waits_for_a_checkpoint_is_bounded_too(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 100 * ONE)
    archive.add(ids(0, 500), samples(0, 500), after="0-0")
    assert len(archive._waiting) == 100


def test_what_is_learned_again_after_a_crash_is_not_there_twice(tmp_path: Path) -> None:
    keep(Archive(tmp_path, 2**20), 0, 12)  # and died before the checkpoint
    again = Archive(tmp_path, 2**20)
    again.add(ids(0, 12), samples(0, 12), after="0-0")
    again.add(ids(12, 5), samples(12, 5), after="0-0")
    again.write()
    assert numbers(again) == list(range(17))


def test_a_crash_at_any_step_leaves_all_or_nothing_of_a_segment(tmp_path: Path) -> None:
    seen = set()
    for step in range(1, 100):
        archive = Archive(tmp_path / str(step), 2**20)
        keep(archive, 0, 12)
        with pytest.MonkeyPatch.context() as patch:
            crash = CrashAt(patch, step, raise_crash)
            try:
                keep(archive, 12, 12)
            except Crash:
                pass
        seen.add(len(numbers(archive)))
        keep(Archive(tmp_path / str(step), 2**20), 12, 12)
        assert numbers(archive) == list(range(24))
        assert not list((tmp_path / str(step)).glob(".*"))
        if crash.left > 0:
            break
    assert seen == {12, 24} and step > 4


def test_a_disk_that_refuses_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(tmp_path, 2**20)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr("learndrop.disk.files._fsync", full)
        keep(archive, 0, 12)
    keep(archive, 12, 12)
    assert numbers(archive) == list(range(24))


def test_damage_is_named_and_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = Archive(tmp_path, 2**20)
    keep(archive, 0, 12)
    keep(archive, 12, 12)
    path = archive.paths()[0]
    whole = path.read_bytes()
    at = random.Random(0)
    harmless = 0
    for _ in range(300):
        data = bytearray(whole)
        data[at.randrange(len(data))] ^= 1 << at.randrange(8)
        path.write_bytes(data)
        try:
            found = read_segment(path)
        except DamagedFile as exc:
            assert path.name in str(exc)
            continue
        harmless += 1  # a byte of the container that says nothing about the samples, as its date
        assert np.array_equal(found.images, Segment.from_bytes(whole, "").images)
        assert found.labels.tolist() == Segment.from_bytes(whole, "").labels.tolist()
    assert harmless < 100
    path.write_bytes(whole[:-100])
    assert numbers(archive) == list(range(12, 24))
    assert f"segment passed over: {path}" in caplog.text


def test_a_deleted_sample_is_taken_out(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 2**20)
    keep(archive, 0, 12)
    keep(archive, 12, 12)
    archive.add(ids(24, 12), samples(24, 12), after="24-0")
    assert archive.erase(["3-0", "30-0", *ids(12, 12), "999-0"]) == 14
    archive.write()
    assert numbers(archive) == [n for n in range(36) if n not in {2, 29, *range(12, 24)}]


def test_a_damaged_segment_goes_whole_when_a_sample_must(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 2**20)
    keep(archive, 0, 12)
    keep(archive, 12, 12)
    damaged, whole = archive.paths()
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert archive.erase(["3-0"]) == 0
    assert archive.paths() == [whole] and numbers(archive) == list(range(12, 24))


def newer(path: Path) -> None:
    """Write it as a later learndrop may."""
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    with path.open("wb") as out:
        np.savez(out, allow_pickle=False, **(arrays | {"format": np.array(99)}))


def test_a_segment_of_a_newer_format_is_said_not_to_be_erased_from(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 2**20)
    keep(archive, 0, 12)
    keep(archive, 12, 12)
    newer(archive.paths()[0])
    with pytest.raises(UnknownFileFormat, match="format 99"):
        archive.erase(["3-0", "15-0"])
    assert len(archive.paths()) == 2
    assert "15-0" not in read_segment(archive.paths()[1]).ids


def test_what_cannot_be_read_expires_with_its_file(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 2**20)
    for start in (0, 12, 24):
        keep(archive, start, 12)
    cut, new, _ = archive.paths()
    cut.write_bytes(b"cut")
    newer(new)
    for path in (cut, new):
        os.utime(path, (2e9, 2e9))
    assert archive.expire(before_s=1e9 + 1) == 0 and len(archive.paths()) == 3
    os.utime(cut, (1e9, 1e9))
    os.utime(new, (1e9, 1e9))
    assert archive.expire(before_s=1e9 + 1) == 0
    assert len(archive.paths()) == 1 and numbers(archive) == list(range(24, 36))


@pytest.mark.parametrize(("budget", "left"), [(0, 0), (5_000, 1), (2**20, 3)])
def test_a_smaller_budget_counts_from_the_start(tmp_path: Path, budget: int, left: int) -> None:
    for start in (0, 12, 24):
        keep(Archive(tmp_path, 2**20), start, 12)
    (tmp_path / "notes.npz").write_bytes(b"somebody's")
    archive = Archive(tmp_path, budget)
    archive.trim()
    assert len(archive.paths()) == left and (tmp_path / "notes.npz").exists()
    Archive(tmp_path / "none", 0).trim()


def test_what_is_over_its_age_goes(tmp_path: Path) -> None:
    archive = Archive(tmp_path, 2**20)
    keep(archive, 0, 12)
    keep(archive, 12, 12)
    assert archive.expire(before_s=1e9 + 12) == 12
    assert numbers(archive) == list(range(12, 24))


def test_a_worker_that_leads_no_more_changes_no_segment(tmp_path: Path) -> None:
    leads = True

    @contextmanager
    def sealing() -> Iterator[None]:
        if not leads:
            raise NotLeading("another worker leads")
        yield

    deposed, leader = Archive(tmp_path, 2**20, sealing), Archive(tmp_path, 2**20)
    keep(deposed, 0, 12)
    leads = False
    keep(leader, 12, 12)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    deposed.add(ids(12, 3), samples(50, 3), after="12-0")  # a segment of the leader's name
    for change in (
        deposed.write,
        lambda: deposed.erase(["3-0"]),
        lambda: deposed.expire(2e9),
        lambda: Archive(tmp_path, 0, sealing).trim(),
    ):
        with pytest.raises(NotLeading):
            change()
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
