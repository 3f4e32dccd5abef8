"""docs/reliability.md is what its measurements say, and a failed row is seen as one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.children import ROOT
from tests.reliability import PAGE, modules, page, read, run
from tests.rows import FIGURES, ROWS, Found, record


def test_the_page_is_drawn_from_its_figures() -> None:
    assert PAGE.read_text() == page(read()), "run: python -m tests.reliability page"


def test_every_row_is_measured_by_a_module_of_its_group() -> None:
    assert list(ROWS) == list(range(1, 28))
    for row in ROWS.values():
        assert row.module.startswith(f"tests.{row.group}.")


def test_every_figure_belongs_to_a_row_and_says_what_made_it() -> None:
    for number, one in read().items():
        row = ROWS[number]
        assert (one["name"], one["target"]) == (row.name, row.target), number
        assert one["figure"] and one["command"].startswith(f"python -m {row.module}")
        assert one["commit"] and one["machine"] and one["date"]


def test_a_failed_row_stays_on_the_page_and_a_missing_one_is_named() -> None:
    lost = Found("3 of 5,000 lost", "10 rounds", passed=False, notes="Everysec | loses half.")
    drawn = page({1: record(1, lost, 12.0, "python -m tests.chaos.slow_disk")})
    assert "| 3 of 5,000 lost | **failed** | 10 rounds |" in drawn
    assert "0 rows passed, 1 failed, 26 were not run." in drawn
    assert "| 2 |" in drawn and "| not run |" in drawn


def test_a_module_that_dies_leaves_a_failed_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = ROWS[1].__class__("dies", "nothing", "chaos", "tests.chaos.no_such_module")
    monkeypatch.setitem(ROWS, 1, died)
    assert not run(died.module, tmp_path)
    (one,) = read(tmp_path).values()
    assert one["row"] == 1 and not one["passed"] and "ended with 1" in one["figure"]


def test_modules_are_run_once_though_they_measure_two_rows() -> None:
    assert modules("chaos").count("tests.chaos.kills") == 1


def test_a_measurement_prints_one_line_a_row_and_fails_when_a_row_does(tmp_path: Path) -> None:
    script = (
        "import sys; from tests.rows import Found, arguments, report;"
        "find = lambda options: {7: Found('0 of 10', '10', True), 8: Found('bad', '1', False)};"
        "sys.exit(report(find, arguments('x'), rows=[7, 8]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--json", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["row"], one["passed"]) for one in lines] == [(7, True), (8, False)]
    assert read(tmp_path) == {one["row"]: one for one in lines}


def test_figures_lie_where_the_page_looks() -> None:
    assert FIGURES.is_relative_to(ROOT / "docs")
