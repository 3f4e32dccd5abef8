"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from learndrop.disk import files
from learndrop.errors import DamagedFile
from tests.crashes import Crash, CrashAt, Story, raise_crash


def test_a_crash_at_any_step_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_atomic(path, b"old")
    step, seen = 0, set()
    while True:
        step += 1
        with pytest.MonkeyPatch.context() as patch:
            CrashAt(patch, step, raise_crash)
            try:
                files.write_atomic(path, b"new content")
            except Crash:
                seen.add(path.read_bytes())
                continue
        break
    assert step == 5  # write, sync, rename, sync of the folder
    assert seen == {b"old", b"new content"}
    assert path.read_bytes() == b"new content"
    assert len(list(tmp_path.iterdir())) == 4  # crashes leave halves behind ...
    files.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]  # ... which never count as the file


def test_content_is_on_disk_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(monkeypatch)
    files.write_atomic(tmp_path / "file", b"content")
    assert [step for step, *_ in story.told] == ["write", "fsync", "rename", "fsync"]
    assert story.told[1][1] == story.told[0][1] == story.told[2][1]
    assert story.told[3] == ("fsync", str(tmp_path))
    story.told.clear()
    files.write_atomic(tmp_path / "file", b"content", sync_name=False)
    assert [step for step, *_ in story.told] == ["write", "fsync", "rename"]


def test_a_disk_that_takes_bytes_in_small_pieces_gets_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_write", lambda fd, data: os.write(fd, data[:3]))
    files.write_atomic(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize("step", ["_write", "_fsync", "_rename"])
def test_a_disk_that_refuses_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    files.write_atomic(tmp_path / "file", b"old")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, step, full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_new_file_overwrites_none(tmp_path: Path) -> None:
    files.write_new(tmp_path / "file", b"")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "file", b"other")
    assert (tmp_path / "file").read_bytes() == b""


def test_a_folder_written_aside_gets_its_name_down_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aside").mkdir()
    files.write_new(tmp_path / "aside" / "file", b"content")
    story = Story(monkeypatch)
    files.rename_folder(tmp_path / "aside", tmp_path / "folder")
    assert (tmp_path / "folder" / "file").read_bytes() == b"content"
    assert story.told[-1] == ("fsync", str(tmp_path))


def test_a_folder_is_made_with_all_above_it(tmp_path: Path) -> None:
    files.make_folder(tmp_path / "a" / "b" / "c")
    files.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_what_is_not_there_is_removed_too(tmp_path: Path) -> None:
    files.remove(tmp_path / "none")


def test_a_seal_shows_every_flipped_bit_and_every_cut() -> None:
    sealed = files.seal(b"12 held")
    assert files.unseal(sealed, "it") == b"12 held"
    assert files.unseal(files.seal(b""), "it") == b""
    damaged = [sealed[:n] for n in range(len(sealed))]
    damaged += [
        bytes(b ^ (1 << bit) if i == at else b for i, b in enumerate(sealed))
        for at in range(len(sealed))
        for bit in range(8)
    ]
    for data in damaged:
        with pytest.raises(DamagedFile, match="it does not match its checksum"):
            files.unseal(data, "it")
