"""For every test: nothing of ours may unpickle what arrives. And a fixture that files share."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = tuple(f"{ROOT / name}/" for name in ("learndrop", "service", "worker"))


class Unpickled(BaseException):
    """Not an Exception: no handler of ours may take it for a damaged file and go on."""


def refuse(event: str, given: tuple[Any, ...]) -> None:
    """Fail when a class is looked up for a pickle, and one of our functions is waiting for it."""
    if event != "pickle.find_class":
        return
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            raise Unpickled(f"{given} for {frame.f_code.co_filename}:{frame.f_lineno}")
        frame = frame.f_back


sys.addaudithook(refuse)


# Files of few tests that take minutes, the longest first. Handed out last, one process would be
# left alone with them at the end.
LONGEST = (
    "test_fuzz",
    "test_gap",
    "test_local",
    "test_demo_run",
    "test_worker",
    "test_file_crashes",
    "test_epochs",
    "test_bench_command",
    "test_trainer",
    "test_deletions",
    "test_bad_streams",
    "test_service_process",
    "test_learner",
    "test_witness",
    "test_earlier",
    "test_units",
    "test_checkpoint",
    "test_scores",
    "test_worker_kills",
    "test_bench",
    "test_library_docs",
    "test_bench_rank",
    "test_past",
    "test_candidate",
    "test_environment",
    "test_thawing",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders in which some pictures do harm (poisoned_decoder.py)."""
    monkeypatch.setattr("service.decoding.decoder_process.MODULE", "tests.poisoned_decoder")
