"""The bench as a command: it goes on where it was, and draws from its runs alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from learndrop.bench.command import bench
from learndrop.bench.pages import epoch_table
from learndrop.bench.pages.aims import aims
from learndrop.bench.pages.redraw import RUNS, TABLES, page, redraw
from learndrop.bench.pages.runs import Run, grouped, read_runs
from learndrop.bench.pages.tables import table
from learndrop.bench.plans import IN_REAL_TIME, Plan, Played, long_form, short_form
from learndrop.bench.strategies import strategy
from learndrop.errors import BadInput, DamagedFile, LearndropError
from tests.learning import QUICK

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
# one thread: two that wait for each other take ten times as long where other tests compute too
SETTINGS = {k: v for k, v in QUICK.items() if k != "batch"} | {"worker_threads": 1}
PLAN = Plan(
    streams=(Played("abrupt", 192, ("clean", "permuted")),),
    strategies=("plain", "learndrop", "held", "share"),
    settings=SETTINGS,
    real_time=2.0,
    depth=96,
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("bench")
    assert bench(PLAN, out=folder, say=lambda text: None)
    yield folder


def test_a_bench_does_all_its_runs_and_none_twice(out: Path) -> None:
    files = sorted((out / RUNS).glob("*.json"))
    runs = read_runs(out / RUNS)
    units = runs[0].data["units"]
    assert len(files) == 4 + len(IN_REAL_TIME) + units
    written = {p: p.stat().st_mtime_ns for p in files}
    said: list[str] = []
    assert bench(PLAN, out=out, say=said.append)
    assert not said
    assert {p: p.stat().st_mtime_ns for p in (out / RUNS).glob("*.json")} == written


def test_a_bench_whose_time_is_up_or_one_of_whose_runs_failed_goes_on_at_the_next_call(
    tmp_path: Path,
) -> None:
    plan = Plan(streams=(Played("abrupt", 64, ("clean",)),), strategies=("plain", "head-only"),
                settings=SETTINGS)  # fmt: skip
    said: list[str] = []
    with pytest.raises(BadInput, match="no runs"):  # nothing at all was done in no time
        bench(plan, out=tmp_path, say=said.append, limit_s=-1)
    wrong = replace(plan, strategies=(*plan.strategies, "magic"))
    with pytest.raises(LearndropError, match="bench: magic: .*no strategy 'magic'"):
        bench(wrong, out=tmp_path, say=said.append)
    assert len(said) == 2
    assert bench(plan, out=tmp_path, say=said.append)
    assert len(said) == 2  # they were done before one failed


def test_rivals_are_held_to_what_learndrop_spent(out: Path) -> None:
    runs = {r.label: r for r in read_runs(out / RUNS) if r.job["stream"] == "abrupt"
            and not r.job["rate"]}  # fmt: skip
    ours, full = runs["learndrop"], runs["full fine-tuning"]
    named = runs["full, same share of samples"].job["strategy"]
    assert named == f"share:share={ours.train_s / full.train_s:.4g}"
    assert runs["full, same seconds"].train_s <= 1.3 * ours.train_s + 0.3


def test_samples_come_faster_than_full_training_was_measured_to_keep(out: Path) -> None:
    (full,) = [r for r in read_runs(out / RUNS) if r.job["strategy"] == "plain" and
               r.job["stream"] == "abrupt" and not r.job["rate"]]  # fmt: skip
    kept = full.data["samples"] / (full.train_s + full.data["seconds"]["test"])
    paced = [r for r in read_runs(out / RUNS) if r.job["rate"]]
    assert len(paced) == len(IN_REAL_TIME)
    assert all(r.job["rate"] == pytest.approx(2 * kept, rel=0.01) for r in paced)


def test_the_page_shows_every_run_and_every_picture_is_there(out: Path) -> None:
    page = (out / TABLES).read_text()
    for group in grouped(read_runs(out / RUNS)):
        if group.runs[0].job["stream"] == "block":
            continue
        for label in group.labels:
            (run,) = group.of(label)
            assert f"| {label} | {100 * run.accuracy:.1f} |" in page
    pictures = {line.split("](")[1][:-1] for line in page.splitlines() if line.startswith("![")}
    assert len(pictures) == 4
    for name in pictures:
        with Image.open(out / name) as picture:
            assert min(picture.size) > 500
            assert len(picture.convert("RGB").getcolors(10**7) or []) > 50
    units = read_runs(out / RUNS)[0].data["units"]
    assert f"of {units} (0: " in page


def test_noise_in_a_unit_is_a_figure_of_learndrop_also_where_its_world_was_not_named(
    out: Path,
) -> None:
    struck = next(r for r in read_runs(out / RUNS) if r.worlds[-1] == "block3")
    unnamed = Run(struck.data | {"job": struck.job | {"worlds": []}})  # the kind's own worlds
    rival = Run(unnamed.data | {"label": "full fine-tuning"})
    assert " of 1 (3: " in aims(grouped([unnamed, rival]))
    assert aims(grouped([rival])) == ""


def test_drawn_again_from_its_runs_the_page_is_the_same(out: Path, tmp_path: Path) -> None:
    (tmp_path / RUNS).mkdir()
    for path in (out / RUNS).glob("*.json"):
        (tmp_path / RUNS / path.name).write_bytes(path.read_bytes())
    assert redraw(tmp_path).read_text() == (out / TABLES).read_text()
    assert sorted(p.name for p in tmp_path.glob("*.png")) == sorted(
        p.name for p in out.glob("*.png")
    )


@pytest.mark.parametrize("folder", [".", "streams"])
def test_the_figures_of_the_docs_are_drawn_from_the_runs_beside_them(folder: str) -> None:
    figures = FIGURES / folder
    told = (figures / TABLES).read_text()
    assert page(grouped(read_runs(figures / RUNS))) == told, (
        f"run: learndrop bench --redraw docs/figures/{folder}"
    )
    named = {line.split("](")[1][:-1] for line in told.splitlines() if line.startswith("![")}
    assert named == {path.name for path in figures.glob("*.png")}


def test_the_table_of_epochs_in_the_docs_is_drawn_from_the_runs_beside_it() -> None:
    runs = [json.loads(path.read_text()) for path in sorted((FIGURES / "epochs").glob("*.json"))]
    assert epoch_table.page(runs) == (FIGURES / "epochs.md").read_text(), (
        "run: learndrop bench --redraw docs/figures"
    )


def test_a_file_that_is_no_run_is_named(tmp_path: Path) -> None:
    (tmp_path / RUNS).mkdir()
    (tmp_path / RUNS / "other.json").write_text(json.dumps({"job": {}}))
    with pytest.raises(DamagedFile, match="other.json is no run"):
        redraw(tmp_path)


@pytest.mark.parametrize("form", [short_form, long_form])
def test_every_strategy_of_a_form_can_be_played(form: object) -> None:
    plan = short_form("digits", {}) if form is short_form else long_form("digits", {})
    labels = [strategy(name)[0].label for name in plan.strategies]
    assert len(set(labels)) == len(labels)


def test_runs_by_the_processors_clock_are_a_group_of_their_own(out: Path) -> None:
    (group,) = [g for g in grouped(read_runs(out / RUNS)) if g.name.endswith("abrupt-192")]
    beside = [Run({**r.data, "job": {**r.job, "clock": "processor"}}) for r in group.runs]
    assert len(grouped([*group.runs, *beside])) == 2
    (other,) = grouped(beside)
    assert "the processor's" in other.title and "the processor's" not in group.title
    wall = [f" {r.data['seconds']['wall']:.1f} |" for r in group.runs]
    assert all(s in table(group) for s in wall)
    assert table(other).count("|  |") == len(beside)  # others took of that time what they took


@pytest.mark.parametrize(("probe", "reached"), [(199, "yes"), (210, "**no**")])
def test_the_guards_are_held_to_their_share_of_what_full_training_costs(
    out: Path, probe: int, reached: str
) -> None:
    (group,) = [g for g in grouped(read_runs(out / RUNS)) if g.name.endswith("abrupt-192")]

    def with_guards(flops: int) -> list[Run]:
        spent = {"full": 10_000, "done": 8_000}
        return [
            Run({**r.data, "flops": {**spent, "by_kind": {"test": 0, "probe": flops}}})
            for r in group.runs
        ]

    share = f"{probe / 100:.2f} % ({probe / 80:.2f} % of its own) | {reached} |"
    assert share in aims(grouped(with_guards(probe)))
    assert "guards" not in aims(grouped(with_guards(0)))  # from before they were counted


def test_no_folder_of_this_machine_is_in_a_run(out: Path) -> None:
    assert str(out) not in "".join(p.read_text() for p in (out / RUNS).glob("*.json"))
    assert aims(grouped(read_runs(out / RUNS)))
