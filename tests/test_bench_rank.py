"""The comparison of scores: forks that are fair, correlations that can tell."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from learndrop.bench.pages.rank_table import VALUES, page, spearman
from learndrop.bench.pages.redraw import redraw_all
from learndrop.bench.rank import ALL, Trial, measure, rank
from learndrop.errors import BadInput
from tests.learning import QUICK

TRIAL = Trial("digits", ("clean",), length=640, every=2, ahead=128, settings=QUICK)


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return measure(TRIAL)


def test_every_fork_ends_in_its_world_and_has_three_cuts(measured: dict[str, Any]) -> None:
    samples = [row["samples"] for row in measured["rows"]]
    assert samples == [256] * 3  # the fork at 512 would need 768 samples
    assert [row["cut"] for row in measured["rows"]] == [2, 3, 4]


def test_each_row_has_every_score_of_its_units(measured: dict[str, Any]) -> None:
    row = measured["rows"][-1]
    assert row["scores"].keys() <= set(ALL)
    assert {"motion", "motion_share", "directedness", "gradient"} <= row["scores"].keys()
    first, last = measured["rows"][0]["scores"], measured["rows"][-1]["scores"]
    assert all(last[name] >= first[name] for name in first)  # the highest of more units


def test_a_fork_leaves_the_learner_as_it_was(measured: dict[str, Any]) -> None:
    unforked = measure(Trial("digits", ("clean",), length=640, every=99, ahead=128, settings=QUICK))
    assert unforked["rows"] == [] and unforked["accuracy"] == measured["accuracy"]


def test_a_cut_before_anything_was_learned_costs_more_the_deeper_it_is() -> None:
    young = Trial("digits", ("clean",), length=1152, every=1, ahead=512, settings=QUICK)
    first = measure(young)["rows"]
    harms = [row["loss_gained"] for row in first]
    assert harms[-1] > harms[0] and harms[-1] > 0.0


def test_the_page_tells_of_every_score() -> None:
    for name in ALL:
        row = {"scores": {name: 0.5}, "cut": 1, "samples": 1}
        assert [value(row) for value in VALUES.values()].count(0.5) == 1


def test_rank_correlation() -> None:
    assert spearman([1, 2, 3, 4, 5], [10, 20, 30, 50, 40]) == pytest.approx(0.9)
    assert spearman([1, 1, 2, 2], [3, 3, 1, 1]) == pytest.approx(-1.0)


def run_of(rows: list[dict[str, Any]], seed: int = 0) -> dict[str, Any]:
    return {"data": "set", "network": "net", "seed": seed, "rows": rows}


def test_the_page_ranks_scores_by_what_they_foretell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learndrop.bench.pages.rank_table.DRAWS", 40)
    rows = [
        {
            "samples": 100 * fork, "cut": cut, "loss_gained": fork / 10 + cut, "accuracy_lost": 0.1,
            "scores": {"persistence": fork, "motion": -fork, "directedness": fork % 2},
        }
        for fork in range(1, 9) for cut in (1, 2)
    ]  # fmt: skip
    told = page([run_of(rows), run_of(rows, 1)])
    assert "2 streams, 16 forks, 32 drops" in told
    assert "| persistence | +1.00 [+1.00, +1.00] |  |" in told  # no accuracy was lost anywhere
    assert "| motion per rate | -1.00 [-1.00, -1.00] |" in told
    assert "| gradient, share of its peak |  |  |" in told  # was not read
    assert "| no score: samples yet to come | -1.00" in told
    directedness = next(line for line in told.splitlines() if line.startswith("| directedness"))
    assert -0.5 < float(directedness.split("|")[2].split()[0]) < 0.5


def test_what_is_there_is_not_made_again_and_the_page_is_drawn_from_it(tmp_path: Path) -> None:
    path = tmp_path / "scores" / TRIAL.file_name
    path.parent.mkdir()
    made = {"data": "set", "network": "net", "seed": 3, "rows": [], "units": []}
    path.write_text(json.dumps(made))
    rank([TRIAL], tmp_path, lambda text: None)
    assert json.loads(path.read_text()) == made
    assert redraw_all(tmp_path) == [tmp_path / "scores.md"]
    assert len(VALUES) == 8 and "seed 3" in (tmp_path / "scores.md").read_text()


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        redraw_all(tmp_path)


def test_a_trial_says_nothing_of_where_its_files_lie() -> None:
    here = Trial("/a/set.npz", settings={"weights": "/b/w.safetensors", "rate": 0.1})
    there = Trial("/c/set.npz", settings={"weights": "/d/w.safetensors", "rate": 0.1})
    assert here.file_name == there.file_name
    assert here.to_json()["settings"] == {"weights": "w.safetensors", "rate": 0.1}


def test_the_page_of_the_docs_is_drawn_from_the_runs_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("learndrop.bench.pages.rank_table.DRAWS", 4)  # its intervals take long
    figures = Path(__file__).parent.parent / "docs" / "figures"
    runs = [json.loads(path.read_text()) for path in sorted((figures / "scores").glob("*.json"))]

    def told(text: str) -> str:
        return re.sub(r" \[[^]]+\]", "", text)

    assert runs and told(page(runs)) == told((figures / "scores.md").read_text()), (
        "run: learndrop bench --redraw docs/figures"
    )
