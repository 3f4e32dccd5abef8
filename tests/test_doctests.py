"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import learndrop

ROOT = Path(learndrop.__file__).parent
WITH_EXAMPLES = sorted(p for p in ROOT.rglob("*.py") if ">>> " in p.read_text())


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_of(path: Path) -> None:
    name = ".".join(("learndrop", *path.relative_to(ROOT).with_suffix("").parts))
    failed, tried = doctest.testmod(import_module(name))
    assert tried > 0 and failed == 0


def test_there_are_examples() -> None:
    assert {"dropping", "rates", "location", "watch"} <= {p.stem for p in WITH_EXAMPLES}
