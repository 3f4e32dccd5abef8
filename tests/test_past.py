"""What would another threshold have done? The same past under two settings, side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.children import to_environment
from learndrop.bench.past import play, rows
from learndrop.cli import app
from learndrop.disk.archive import Archive
from learndrop.errors import NotFound
from tests.learning import digits, quick_settings

LENGTH = 1024


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose archive holds two worlds."""
    folder = tmp_path_factory.mktemp("past")
    archive = Archive(folder / "archive", 2**26)
    learned = 0
    for batch in digits("clean", "permuted", length=LENGTH).batches(32):
        names = [f"{learned + n + 1}-0" for n in range(len(batch))]
        archive.add(names, batch, after=f"{learned}-0")
        learned += len(batch)
        if learned % 320 == 0:
            archive.write()
    archive.write()
    return folder


def test_another_threshold_tells_another_past(past: Path) -> None:
    source = past / "archive"
    settings = quick_settings()
    keen = play("as it was", source, settings, {})
    deaf = settings.model_copy(update={"drift_delta": 1e-300})
    other = play("deaf", source, deaf, {"drift_delta": 1e-300})
    assert keen.counts()["drift"] >= 1 and other.counts()["drift"] == 0
    assert [len(run.parts) for run in (keen, other)] == [3, 3]
    assert keen.parts[:1] == other.parts[:1]  # until the drift both are the same
    table = {row[0]: row[1:] for row in rows([keen, other])}
    assert table["events: drift"][1] == "0" and table["drifts at sample"][1] == "none"
    assert table["accuracy, samples 0 to 1,000"][0] == table["accuracy, samples 0 to 1,000"][1]
    assert float(table["GFLOP spent"][0]) > 0
    told = json.loads(json.dumps(keen.to_json()))
    assert told["events"] and told["counts"]["drift"] == keen.counts()["drift"]


def run(past: Path, *arguments: str) -> Any:
    environment = to_environment(quick_settings(data_dir=past))
    return CliRunner().invoke(app, list(arguments), env=environment)


def test_the_command_shows_both_and_plays_an_export_like_the_archive(
    past: Path, tmp_path: Path
) -> None:
    out = tmp_path / "past.npz"
    done = run(past, "export", str(out))
    assert done.exit_code == 0, done.output
    assert "2,048 samples of 7 segments" in done.output
    with np.load(out) as arrays:
        assert len(arrays["labels"]) == 2 * LENGTH
    done = run(past, "replay", str(out), "--set", "drift_delta=1e-300", "--json")
    assert done.exit_code == 0, done.output
    both = json.loads(done.stdout[done.stdout.index("[") :])
    assert [r["name"] for r in both] == ["as it was", "drift_delta=1e-300"]
    assert both[1]["counts"].get("drift", 0) == 0 < both[0]["counts"]["drift"]
    assert both[0]["flops"]["done"] > 0 and both[0]["seconds"]["wall"] > 0
    assert both[0]["settings"] == {} and both[1]["settings"] == {"drift_delta": 1e-300}


def test_what_cannot_be_played_is_said(past: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="LEARNDROP_ARCHIVE_BYTES"):
        play("none", tmp_path, quick_settings(), {})
    done = run(past, "replay")
    assert done.exit_code != 0 and "say what to change" in str(done.exception)
    done = run(tmp_path, "replay", "--set", "drift_delta=1e-300")
    assert isinstance(done.exception, NotFound) and "playing" not in done.output
    done = run(tmp_path, "export", str(tmp_path / "x.npz"))
    assert done.exit_code != 0 and "no archive there" in str(done.exception)
