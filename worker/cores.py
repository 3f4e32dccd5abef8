"""How many compute threads the worker may keep busy."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> int:
    """Cores of the affinity mask, or fewer when a cgroup's quota grants fewer; at least 1.

    More threads than the quota do not run beside each other but wait: at 40 threads and a quota of
    4, for 90 of 100 ms.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quotas = [quota for quota in (_unified(cgroups, own), _legacy(cgroups)) if quota]
    return max(1, min([cores, *(int(quota) for quota in quotas)]))


def _unified(cgroups: Path, own: Path) -> float | None:
    """The tightest quota from our cgroup up to the root (version 2), in cores."""
    found: list[float] = []
    for line in _read(own).splitlines():
        if not line.startswith("0::/"):
            continue
        here = cgroups / line.removeprefix("0::/")
        for folder in (here, *here.parents):
            match _read(folder / "cpu.max").split():
                case [quota, period] if quota.isdigit() and int(period) > 0:
                    found.append(int(quota) / int(period))
            if folder == cgroups:
                break
    return min(found, default=None)


def _legacy(cgroups: Path) -> float | None:
    """The quota of version 1, as a container sees it."""
    quota = _read(cgroups / "cpu" / "cpu.cfs_quota_us").strip()
    period = _read(cgroups / "cpu" / "cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0:
        return int(quota) / int(period)
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
