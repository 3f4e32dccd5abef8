"""Tiers: budgets hold, a file has no name and no remains, a full disk is told and not fatal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from learndrop.features.tiers import FileTier, MemoryTier, Tier


def tiers(folder: Path, budget: int = 1000) -> list[Tier]:
    return [MemoryTier("device", budget, torch.device("cpu")), FileTier(budget, folder)]


@pytest.mark.parametrize("which", [0, 1])
def test_pages_never_pass_the_budget(tmp_path: Path, which: int) -> None:
    tier = tiers(tmp_path)[which]
    pages = []
    while (page := tier.page(4, 70)) is not None:
        pages.append(page)
        assert tier.nbytes == sum(p.numel() for p in pages) <= 1000
    assert [len(p) for p in pages] == [4, 4, 4, 2]
    tier.give_back(pages.pop())
    assert tier.nbytes == 840
    again = tier.page(1, 100)
    assert again is not None and again.shape == (1, 100)
    assert tier.page(1, 1000) is None and tier.trouble == ""


@pytest.mark.parametrize("which", [0, 1])
def test_a_page_holds_what_is_written(tmp_path: Path, which: int) -> None:
    page = tiers(tmp_path)[which].page(3, 5)
    assert page is not None
    page[torch.tensor([2, 0])] = torch.arange(10, dtype=torch.uint8).view(2, 5)
    assert page[0].tolist() == [5, 6, 7, 8, 9] and page[2].tolist() == [0, 1, 2, 3, 4]


def test_a_file_has_no_name_and_its_space_comes_back(tmp_path: Path) -> None:
    tier = FileTier(2**20, tmp_path / "features")
    page = tier.page(16, 2**16)
    assert page is not None
    page.fill_(7)
    assert list((tmp_path / "features").iterdir()) == []
    mapped = Path("/proc/self/maps")
    if mapped.exists():
        assert str(tmp_path) in mapped.read_text()
        del page
        assert str(tmp_path) not in mapped.read_text()


def test_a_full_disk_is_told_and_nothing_is_mapped(tmp_path: Path) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tier = FileTier(1000, tmp_path, full)
    assert tier.page(1, 10) is None
    assert tier.trouble == "no file for stored maps: No space left on device"
    assert tier.nbytes == 0
    assert tier.page(1, 10) is None


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file is in the way")
    tier = FileTier(1000, tmp_path / "features")
    assert tier.page(1, 10) is None and "no file for stored maps" in tier.trouble


def test_a_system_that_cannot_reserve_space_gets_none(tmp_path: Path) -> None:
    tier = FileTier(1000, tmp_path, None)
    assert tier.page(1, 10) is None and "reserve" in tier.trouble
