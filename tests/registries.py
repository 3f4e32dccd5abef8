"""A registry to look into, and hands that damage it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from learndrop.disk.registry import Registry

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
