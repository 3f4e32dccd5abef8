"""Model versions: whole or not at all, whatever happens to the disk."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import orjson
import pytest

from learndrop import files
from learndrop.errors import DamagedFile, NoModel, NotFound, NotLeading, UnknownFileFormat
from learndrop.registry import Registry
from tests.crashes import Crash, CrashAt, Story, raise_crash

PARTS = {"stem": b"stem" * 50, "layer1.0": b"one" * 70, "head": b"head" * 20}
REPOSITORY = Path(__file__).parents[1]
ABOUT = {"network": {"name": "small-resnet10"}, "classes": ["a", "b"], "accuracy": 0.5}


def parts(n: int) -> dict[str, bytes]:
    """Version n: its head is new, the rest is shared."""
    return PARTS | {"head": b"head of %d" % n}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models", keep=3)


def blobs(registry: Registry) -> set[str]:
    return {p.name for p in (registry.root / "blobs").iterdir()}


def manifest(registry: Registry, number: int) -> Path:
    return registry.root / "versions" / f"{number:06d}.json"


def blob_of(registry: Registry, data: bytes) -> Path:
    return registry.root / "blobs" / f"{hashlib.sha256(data).hexdigest()}.safetensors"


def flip(path: Path, at: int = -20) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


# -- publish and load -----------------------------------------------------------------------------


def test_a_version_comes_back_as_it_was_published(registry: Registry) -> None:
    assert registry.publish(PARTS, ABOUT) == 1
    version = registry.load()
    assert (version.number, version.parts, version.about) == (1, PARTS, ABOUT)
    assert version.published_s > 1e9
    assert version.instead_of is None and version.trouble is None
    assert registry.load(1) == version


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


# -- crashes --------------------------------------------------------------------------------------


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
from learndrop.registry import Registry
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


# -- damage ----------------------------------------------------------------------------------------


def damages(registry: Registry) -> Iterator[tuple[Path, bytes]]:
    """Every file of version 2 alone, cut at many places, with single bits flipped, and gone."""
    at = random.Random(0)
    for path in (manifest(registry, 2), blob_of(registry, parts(2)["head"])):
        whole = path.read_bytes()
        for size in {0, 1, len(whole) // 2, len(whole) - 1}:
            yield path, whole[:size]
        yield path, whole + b"\0"
        for _ in range(150):
            data = bytearray(whole)
            data[at.randrange(len(whole))] ^= 1 << at.randrange(8)
            yield path, bytes(data)


def test_a_damaged_version_is_refused_by_name_and_the_last_good_one_taken(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.publish(parts(1), ABOUT)
    registry.publish(parts(2), ABOUT)
    count = 0
    for path, data in damages(registry):
        whole = path.read_bytes()
        path.write_bytes(data)
        with pytest.raises(DamagedFile) as caught:
            registry.load(2)
        assert not isinstance(caught.value, UnknownFileFormat), data
        assert path.name in str(caught.value)
        version = registry.load()
        assert (version.number, version.parts, version.instead_of) == (1, parts(1), 2)
        assert version.trouble == str(caught.value)
        path.write_bytes(whole)
        count += 1
    assert count > 300 and registry.load().number == 2
    assert "version 1 is taken instead of 2" in caplog.text


def test_bytes_that_changed_places_are_refused(registry: Registry) -> None:
    registry.publish({"a": b"first", "b": b"other"}, ABOUT)
    registry.publish({"a": b"newer"}, ABOUT)
    a, b = blob_of(registry, b"first"), blob_of(registry, b"other")
    a.write_bytes(b"other")
    b.write_bytes(b"first")
    with pytest.raises(DamagedFile, match=r"part 'a' of version 1 .* does not match its checksum"):
        registry.load(1)
    manifest(registry, 2).write_bytes(manifest(registry, 1).read_bytes())
    with pytest.raises(DamagedFile, match="is the manifest of version 1"):
        registry.load(2)
    with pytest.raises(DamagedFile, match="no version up to 2 is whole"):
        registry.load()


def test_bytes_that_are_gone_are_damage(registry: Registry) -> None:
    registry.publish(parts(1), ABOUT)
    registry.publish(parts(2), ABOUT)
    blob_of(registry, parts(2)["head"]).unlink()
    with pytest.raises(DamagedFile, match="part 'head' of version 2 .* cannot be read"):
        registry.load(2)
    assert registry.load().number == 1
    manifest(registry, 2).unlink()
    assert registry.load().instead_of == 2


def test_rotten_bytes_do_not_get_into_a_new_version(registry: Registry) -> None:
    registry.publish(parts(1), ABOUT)
    flip(blob_of(registry, PARTS["stem"]), 5)
    assert registry.publish(parts(2), ABOUT) == 2
    assert registry.load().parts == parts(2)
    assert registry.load(1).parts == parts(1)  # and the old version is well again


@pytest.mark.parametrize("content", [b"", b"7", b"1\n00000000\n", b"\xff" * 30, None])
def test_a_pointer_that_is_lost_or_damaged_means_the_newest(
    registry: Registry, content: bytes | None
) -> None:
    for n in (1, 2):
        registry.publish(parts(n), ABOUT)
    pointer = registry.root / "CURRENT"
    pointer.unlink() if content is None else pointer.write_bytes(content)
    assert registry.current() == 2 and registry.load().parts == parts(2)
    assert registry.publish(parts(3), ABOUT) == 3
    assert registry.current() == 3


def test_damaged_pins_let_nothing_be_removed(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.publish(parts(1), ABOUT)
    registry.pin(1)
    (registry.root / "PINS").write_bytes(b"\n")
    for n in range(2, 7):
        registry.publish(parts(n), ABOUT)
    assert registry.load(1).parts == parts(1) and registry.current() == 6
    assert "nothing is removed" in caplog.text
    with pytest.raises(DamagedFile, match="PINS"):
        registry.list()


def newer(registry: Registry, number: int) -> None:
    """Rewrite a manifest as a later learndrop would."""
    path = manifest(registry, number)
    body = orjson.loads(path.read_bytes())["version"] | {"parts": "elsewhere"}
    packed = orjson.dumps(body)
    told = hashlib.sha256(b"2\n" + packed).hexdigest().encode()
    path.write_bytes(b'{"format":2,"sha256":"%s","version":%s}\n' % (told, packed))


def test_a_newer_format_is_refused_by_name_and_its_bytes_are_kept(registry: Registry) -> None:
    registry.publish(parts(1), ABOUT)
    registry.publish(parts(2), ABOUT)
    newer(registry, 2)
    for number in (None, 2):
        with pytest.raises(UnknownFileFormat, match="000002.json has format 2.* up to 1"):
            registry.load(number)
    assert "format 2" in registry.list()[0]["problem"]
    assert registry.load(1).parts == parts(1)
    registry.publish(parts(3), ABOUT)
    registry.publish({"x": b"y"}, ABOUT)
    assert blob_of(registry, parts(2)["head"]).is_file()


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
    program = "import sys, learndrop.registry, learndrop.spec; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)


def test_a_process_that_was_paused_in_the_middle_stops_no_other_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learndrop.shelf.LONGEST_CHANGE_S", 0.05)
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
