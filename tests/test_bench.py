"""The bench: rivals get the same stream and the same help, and the figures add up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.through_http import in_process
from learndrop import datasets
from learndrop.bench import strategies
from learndrop.bench.command import bench
from learndrop.bench.play import play
from learndrop.bench.report import plot, table
from learndrop.bench.streams import drifting
from tests.learning import QUICK, digits, quick_settings


def test_a_stream_is_the_same_for_the_same_seed_and_changes_where_its_world_says() -> None:
    one, other = digits("clean", "swap", length=256), digits("clean", "swap", length=256)
    assert np.array_equal(one.images, other.images) and one.labels == other.labels
    clean = digits("clean", "clean", length=256)
    assert one.labels[:256] == clean.labels[:256]
    assert one.labels[256:] != clean.labels[256:]
    assert np.array_equal(one.images, clean.images)


def test_batches_never_span_two_worlds() -> None:
    sizes = [len(b) for b in digits("clean", "swap", length=100).batches(32)]
    assert sizes == [32, 32, 32, 4] * 2


def test_a_set_smaller_than_the_stream_does_not_drift_where_it_begins_anew() -> None:
    data = datasets.load("digits", 16)
    stream = drifting(data, ["clean"], 2 * len(data))
    first, second = (stream.images[i * len(data) :][: len(data)] for i in (0, 1))
    assert abs(float(first.mean()) - float(second.mean())) < 1.0


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [
        (strategies.plain(), 1.0),
        (strategies.thinned(0.25), 0.25),
        (strategies.drift_aware(0.5, after_drift=640), 0.75),
    ],
)
def test_a_control_trains_on_the_share_that_it_names(
    strategy: strategies.Strategy, trained: float
) -> None:
    run = play(digits("clean", length=1280), strategy, quick_settings(replays="0"))
    kinds = run["flops"]["by_kind"]
    assert kinds["forward"] / kinds["test"] == pytest.approx(trained, abs=0.03)


def test_head_only_trains_nothing_but_the_head() -> None:
    run = play(digits("clean", length=320), strategies.head_only(), quick_settings())
    assert run["depth"] == run["units"] - 1


def test_the_same_seconds_are_kept_to() -> None:
    run = play(digits("clean", length=640), strategies.held_to(1e-9), quick_settings())
    assert run["flops"]["by_kind"]["forward"] / run["flops"]["by_kind"]["test"] < 0.2


def test_a_run_tells_accuracy_by_world_and_seconds_by_part() -> None:
    run = play(digits("clean", "rotated90", length=640), strategies.learndrop(), quick_settings())
    assert [w["name"] for w in run["worlds"]] == ["clean", "rotated90"]
    mean = sum(w["accuracy"] for w in run["worlds"]) / 2
    assert run["accuracy"] == pytest.approx(mean)
    assert {"test", "train", "build", "wait", "wall"} <= run["seconds"].keys()
    assert run["peak_memory_bytes"] > 0
    json.dumps(run, allow_nan=False)


def test_table_and_plot_come_from_the_runs(tmp_path: Path) -> None:
    runs = bench(
        worlds=("clean", "permuted"),
        length=320,
        out=tmp_path,
        settings={k: v for k, v in QUICK.items() if k != "batch"},
        say=lambda text: None,
    )
    assert [r["strategy"] for r in runs][:3] == ["learndrop", "full fine-tuning", "head only"]
    written = (tmp_path / "table.md").read_text()
    assert written.strip() == table(runs)
    for run in runs:
        assert f"| {run['strategy']} | {100 * run['accuracy']:.1f} |" in written
    again = tmp_path / "again.png"
    plot([json.loads(p.read_text()) for p in sorted(tmp_path.glob("*-0.json"))], again)
    with Image.open(tmp_path / "bench.png") as picture, Image.open(again) as redrawn:
        assert min(*picture.size, *redrawn.size) > 500
        assert len(picture.convert("RGB").getcolors(10**7) or []) > 50


def test_the_bare_loop_answers_as_well_as_the_learner() -> None:
    data = datasets.load("digits", 16, 1600)
    settings = quick_settings(
        classes=tuple(data.classes), replays="0", drop=False, worker_threads=1
    )
    bare, ours = (in_process(data, settings, bare=b)["accuracy"] for b in (True, False))
    assert bare == pytest.approx(ours, abs=0.05)
