"""A data folder and who leads in it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from learndrop.errors import DidNotStart, NotLeading
from learndrop.settings import Settings, load_settings
from worker.folder import Folder


def settings_in(folder: Path, **overrides: Any) -> Settings:
    return load_settings(data_dir=folder, **overrides)


def folder_in(path: Path, **overrides: Any) -> Folder:
    return Folder(settings_in(path, **overrides), "somebody")


def test_whoever_led_under_an_older_token_can_finish_nothing(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "data")
    old, new = Folder(settings, "old"), Folder(settings, "new")
    assert old.newest() == 0
    old.enter(3)
    with old.leading():
        pass
    assert not new.left_by("old")
    new.enter(4)  # the old one is only paused, and still has the folder's lock
    assert old.newest() == 4
    with pytest.raises(NotLeading):
        with old.leading():
            raise AssertionError("an old leader may not come here")
    with pytest.raises(NotLeading):
        old.enter(3)
    with new.leading():
        pass
    old.close()
    new.close()


def test_nobody_takes_the_folder_over_in_the_middle_of_a_rename(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    old, new = Folder(settings, "old"), Folder(settings, "new")
    old.enter(1)
    order = []

    def take_over() -> None:
        new.enter(2)
        order.append("taken over")

    with old.leading():
        thread = threading.Thread(target=take_over)
        thread.start()
        thread.join(0.2)
        order.append("renamed")
    thread.join(20)
    assert order == ["renamed", "taken over"]
    old.close()
    new.close()


def test_a_worker_that_was_paused_in_a_rename_delays_the_next_by_a_lease_at_most(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path, lease_s=0.3)
    paused, new = Folder(settings, "paused"), Folder(settings, "new")
    paused.enter(1)
    with paused.leading():
        new.enter(2)
        assert new.newest() == 2
    with pytest.raises(NotLeading):
        with paused.leading():
            raise AssertionError("it may not come here once more")
    with new.leading():
        pass
    paused.close()
    new.close()


def test_a_worker_of_another_stream_is_refused_by_name(tmp_path: Path) -> None:
    here = folder_in(tmp_path, name="one")
    here.enter(1)
    for other in ({"name": "two"}, {"name": "one", "redis_url": "redis://elsewhere/0"}):
        stranger = folder_in(tmp_path, **other)
        with pytest.raises(DidNotStart, match="another stream"):
            stranger.enter(2)
        stranger.close()
    here.close()
    moved = folder_in(tmp_path, name="two")  # nobody works here any more
    moved.enter(2)
    moved.close()


def test_a_folder_has_an_id_that_stays(tmp_path: Path) -> None:
    first = folder_in(tmp_path / "one")
    second, other = folder_in(tmp_path / "one"), folder_in(tmp_path / "two")
    assert first.id and first.id == second.id != other.id
    for folder in (first, second, other):
        folder.close()
    (tmp_path / "one" / "worker.folder").write_bytes(b"")  # cut by a crash of the machine
    healed = folder_in(tmp_path / "one")
    assert healed.id
    healed.close()


def test_a_changed_password_is_the_same_stream(tmp_path: Path) -> None:
    one = folder_in(tmp_path, redis_url="redis://:old@host/0")
    two = folder_in(tmp_path, redis_url="redis://:new@host/0")
    one.enter(1)
    two.enter(2)
    one.close()
    two.close()


def test_a_killed_worker_leaves_the_folder_free(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from worker.folder import Folder\n"
        "from learndrop.settings import load_settings\n"
        "folder = Folder(load_settings(data_dir=Path(sys.argv[1])), 'the dead')\n"
        "folder.enter(7)\n"
        "os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -9
    folder = folder_in(tmp_path)
    assert folder.newest() == 7
    assert not folder.left_by("another")
    assert folder.left_by("the dead")
    folder.enter(8)
    folder.close()


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DidNotStart, match="file"):
        folder_in(tmp_path / "file")


def test_a_damaged_token_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "worker.token").write_bytes(b"\x00rubbish")
    folder = folder_in(tmp_path)
    assert folder.newest() == 0
    folder.enter(1)
    folder.close()
