"""The compose test's own manners; what it tests is tested by `make compose-test`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.compose import ROOT, find_compose
from learndrop.errors import DidNotStart


def program(folder: Path, name: str, status: int) -> None:
    (folder / name).write_text(f"#!/bin/sh\nexit {status}\n")
    (folder / name).chmod(0o755)


def test_without_an_engine_it_says_so_in_one_line_and_fails(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "deploy.compose_test"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 1
    assert told.stdout == ""
    assert told.stderr.count("\n") == 1 and "no Docker engine" in told.stderr


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"docker": 0}, ["docker", "compose"]),
        ({"docker": 0, "docker-compose": 0}, ["docker", "compose"]),
    ],
)
def test_compose_v2_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: dict[str, int], expected: list[str]
) -> None:
    for name, status in has.items():
        program(tmp_path, name, status)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compose() == expected


def test_compose_v1_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text('#!/bin/sh\n[ "$1" = info ]\n')
    (tmp_path / "docker").chmod(0o755)
    program(tmp_path, "docker-compose", 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compose() == ["docker-compose"]


def test_an_engine_without_compose_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker").write_text('#!/bin/sh\n[ "$1" = info ]\n')
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DidNotStart, match="neither"):
        find_compose()
