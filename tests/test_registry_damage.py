"""A registry whose files were damaged: refused by name, and the last good version taken."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from learndrop.disk.registry import Registry
from learndrop.errors import DamagedFile, UnknownFileFormat
from tests.registries import ABOUT, PARTS, blob_of, flip, manifest, parts, registry

__all__ = ["registry"]


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
