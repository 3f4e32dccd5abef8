"""Compute threads follow what this process may use, not what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.cores import usable_cores

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_without_cgroups_it_is_the_affinity_mask(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none", tmp_path / "none") == CORES


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", CORES),
        ("100000 100000", 1),
        ("150000 100000", 1),
        ("20000 100000", 1),
        ("9900000 100000", CORES),
        ("", CORES),
        ("nonsense", CORES),
    ],
)
def test_a_quota_of_the_own_group_is_a_limit(tmp_path: Path, quota: str, cores: int) -> None:
    own = write(tmp_path / "self", "0::/\n")
    write(tmp_path / "cgroup" / "cpu.max", quota)
    assert usable_cores(tmp_path / "cgroup", own) == cores


def test_the_tightest_quota_up_to_the_root_counts(tmp_path: Path) -> None:
    own = write(tmp_path / "self", "1:cpu:/x\n0::/slice/unit\n")
    write(tmp_path / "cgroup" / "slice" / "cpu.max", "100000 100000")
    write(tmp_path / "cgroup" / "slice" / "unit" / "cpu.max", "max 100000")
    write(tmp_path / "cpu.max", "1 100000")  # above the root: not ours
    assert usable_cores(tmp_path / "cgroup", own) == 1


@pytest.mark.parametrize(("quota", "cores"), [("-1", CORES), ("100000", 1)])
def test_version_1_counts_too(tmp_path: Path, quota: str, cores: int) -> None:
    write(tmp_path / "cpu" / "cpu.cfs_quota_us", f"{quota}\n")
    write(tmp_path / "cpu" / "cpu.cfs_period_us", "100000\n")
    assert usable_cores(tmp_path, tmp_path / "none") == cores
