"""Model versions: whole or not at all, whatever happens to the disk."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from learndrop.disk.registry import Registry
from learndrop.disk.turns import T
from learndrop.errors import DamagedFile, NoModel, NotFound, NotLeading
from tests.crashes import Story
from tests.registries import (
    ABOUT,
    PARTS,
    REPOSITORY,
    blob_of,
    blobs,
    flip,
    manifest,
    parts,
    registry,
)

__all__ = ["registry"]


# -- publish and load -----------------------------------------------------------------------------


def test_a_version_comes_back_as_it_was_published(registry: Registry) -> None:
    assert registry.publish(PARTS, ABOUT) == 1
    version = registry.load()
    assert (version.number, version.parts, version.about) == (1, PARTS, ABOUT)
    assert version.published_s > 1e9
    assert version.instead_of is None and version.trouble is None
    assert registry.load(1) == version


def test_a_reader_says_when_each_part_is_checked(registry: Registry) -> None:
    registry.publish(PARTS, ABOUT)
    turns: list[Any] = []

    def in_turn(work: Callable[[], T], /) -> T:
        done = work()
        turns.append(done)
        return done

    def wrongly(work: Callable[[], T], /) -> Any:
        return "another"

    assert registry.load(None, in_turn).parts == PARTS
    assert sorted(turns) == sorted(hashlib.sha256(part).hexdigest() for part in PARTS.values())
    with pytest.raises(DamagedFile, match="checksum"):
        registry.load(1, wrongly)


def test_before_the_first_version_there_is_none(registry: Registry) -> None:
    assert registry.current() is None and registry.list() == []
    assert not registry.root.exists()  # reading makes no folder
    with pytest.raises(NoModel):
        registry.load()
    with pytest.raises(NotFound, match="version 1 is not kept"):
        registry.load(1)


def test_a_second_process_sees_it_at_once(registry: Registry) -> None:
    other = Registry(registry.root)
    registry.publish(PARTS, ABOUT)
    assert other.current() == 1
    registry.publish(parts(2), ABOUT)
    assert other.current() == 2 and other.load().parts == parts(2)
    assert Registry(registry.root).publish(PARTS, ABOUT) == 3


def test_only_changed_bytes_are_written(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish(PARTS, ABOUT)
    story = Story(monkeypatch)
    registry.publish(parts(2), ABOUT)
    written = [new for _, _, new in story.renames() if new.endswith(".safetensors")]
    assert written == [str(blob_of(registry, parts(2)["head"]))]
    assert len(blobs(registry)) == 4


def test_any_name_will_do_for_a_part(registry: Registry) -> None:
    names = ["../../etc/passwd", "a/b", "..", "", "é\n", "x" * 5000, "CURRENT"]
    strange = {name: name.encode() + b"!" for name in names}
    registry.publish(strange, ABOUT)
    assert registry.load().parts == strange
    assert {p.name for p in registry.root.iterdir()} == {"blobs", "versions", "CURRENT", "LOCK"}


def test_a_version_may_be_empty(registry: Registry) -> None:
    registry.publish({}, {})
    assert registry.load().parts == {}
    registry.publish({"a": b""}, {})
    assert registry.load().parts == {"a": b""}


def test_the_list_tells_all_versions_newest_first(registry: Registry) -> None:
    for n in (1, 2, 3):
        registry.publish(parts(n), ABOUT)
    registry.pin(2)
    registry.roll_back(2)
    flip(manifest(registry, 1))
    third, second, first = registry.list()
    assert (third["number"], third["current"], third["pinned"]) == (3, False, False)
    assert (second["number"], second["current"], second["pinned"]) == (2, True, True)
    assert second["about"] == ABOUT and second["parts"] == 3
    assert second["bytes"] == sum(len(b) for b in parts(2).values())
    assert "does not match its checksum" in first["problem"]


# -- what goes and what stays ----------------------------------------------------------------------


def test_the_newest_stay_and_bytes_nobody_needs_go(registry: Registry) -> None:
    for n in range(1, 7):
        registry.publish(parts(n), ABOUT)
    assert [v["number"] for v in registry.list()] == [6, 5, 4]
    assert blobs(registry) == {
        blob_of(registry, data).name for n in (4, 5, 6) for data in parts(n).values()
    }
    with pytest.raises(NotFound):
        registry.load(3)


def test_a_pinned_version_stays_until_it_is_let_go(registry: Registry) -> None:
    registry.publish(parts(1), ABOUT)
    registry.pin(1)
    for n in range(2, 8):
        registry.publish(parts(n), ABOUT)
    assert registry.load(1).parts == parts(1) and registry.pins() == {1}
    registry.unpin(1)
    registry.publish(parts(8), ABOUT)
    with pytest.raises(NotFound):
        registry.load(1)
    with pytest.raises(NotFound):
        registry.pin(1)


def test_a_roll_back_holds_readers_while_publishing_goes_on(registry: Registry) -> None:
    for n in (1, 2, 3):
        registry.publish(parts(n), ABOUT)
    registry.roll_back(1)
    assert registry.current() == 1 and registry.held()
    for n in range(4, 9):
        assert registry.publish(parts(n), ABOUT) == n
    assert registry.load().parts == parts(1)  # the current one is never collected
    registry.resume()
    assert registry.current() == 8 and not registry.held()
    registry.publish(parts(9), ABOUT)
    assert registry.current() == 9


def test_a_roll_back_without_hold_lasts_until_the_next_version(registry: Registry) -> None:
    for n in (1, 2):
        registry.publish(parts(n), ABOUT)
    registry.roll_back(1, hold=False)
    assert registry.load().number == 1
    assert registry.publish(parts(3), ABOUT) == 3
    assert registry.current() == 3


def test_readers_are_not_rolled_back_to_what_cannot_be_used(registry: Registry) -> None:
    for n in (1, 2):
        registry.publish(parts(n), ABOUT)
    flip(blob_of(registry, parts(1)["head"]), 2)
    with pytest.raises(DamagedFile):
        registry.roll_back(1)
    with pytest.raises(NotFound):
        registry.roll_back(7)
    assert registry.current() == 2


# -- together --------------------------------------------------------------------------------------


def test_readers_never_see_anything_but_whole_versions_while_versions_come_and_go(
    registry: Registry,
) -> None:
    registry.publish(parts(1), ABOUT)
    stop, wrong, seen = threading.Event(), [], set()

    def read() -> None:
        reader = Registry(registry.root)
        while not stop.is_set():
            version = reader.load()
            seen.add(version.number)
            if version.parts != parts(version.number) or version.instead_of is not None:
                wrong.append(version)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for n in range(2, 120):
        registry.publish(parts(n), ABOUT)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong and len(seen) > 3


def test_two_publishers_take_turns(registry: Registry) -> None:
    numbers: list[int] = []

    def publish(name: bytes) -> None:
        own = Registry(registry.root, keep=100)
        numbers.extend(own.publish({"a": name + b"%d" % n}, {}) for n in range(20))

    threads = [threading.Thread(target=publish, args=(name,)) for name in (b"x", b"y")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 41)) and registry.current() == 40


def test_a_read_only_folder_can_be_read(registry: Registry) -> None:
    registry.publish(PARTS, ABOUT)
    before = {p: p.stat().st_mtime_ns for p in registry.root.rglob("*")}
    registry.load()
    registry.list()
    registry.current()
    assert {p: p.stat().st_mtime_ns for p in registry.root.rglob("*")} == before


def test_the_registry_needs_no_torch() -> None:
    program = (
        "import sys, learndrop.disk.registry, learndrop.networks.spec;"
        " assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_a_process_that_was_paused_in_the_middle_stops_no_other_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learndrop.disk.shelf.LONGEST_CHANGE_S", 0.05)
    registry = Registry(tmp_path)
    registry.publish({"head": b"1"}, {})
    with open(tmp_path / "LOCK") as paused:
        fcntl.flock(paused, fcntl.LOCK_EX)
        with pytest.raises(OSError, match="LOCK"):
            registry.publish({"head": b"2"}, {})
    assert registry.publish({"head": b"3"}, {}) == 2


def test_what_makes_a_version_count_is_refused_to_a_worker_that_leads_no_more(
    tmp_path: Path,
) -> None:
    class Refused(AbstractContextManager[None]):
        def __enter__(self) -> None:
            raise NotLeading("another leads")

        def __exit__(self, *told: object) -> None: ...

    Registry(tmp_path).publish({"head": b"1"}, {})
    with pytest.raises(NotLeading):
        Registry(tmp_path, sealing=Refused).publish({"head": b"2"}, {})
    assert [row["number"] for row in Registry(tmp_path).list()] == [1]
    assert Registry(tmp_path).load().parts == {"head": b"1"}
