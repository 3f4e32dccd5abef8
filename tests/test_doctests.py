"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("learndrop", "service", "worker", "deploy", "tests")
WITH_EXAMPLES = sorted(
    path
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*.py")
    if "    >>> " in path.read_text() and not path.name.startswith("test_")
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=module_of)
def test_examples_of(path: Path) -> None:
    failed, tried = doctest.testmod(import_module(module_of(path)))
    assert tried > 0 and failed == 0


def test_there_are_examples() -> None:
    found = {path.stem for path in WITH_EXAMPLES}
    assert {"rule", "rates", "renaming", "watch", "watchdog", "ledger"} <= found
