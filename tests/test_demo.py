"""The demo's parts that need no service: what it plays, draws, counts and judges."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from deploy.demo import __main__ as command
from deploy.demo import live, report
from deploy.demo.data import Stream
from deploy.demo.phases import Reading, Record, failures, plan, rows, saved
from deploy.demo.picture import picture
from learndrop.errors import BadInput
from learndrop.images.datasets import load
from tests.demo_record import UNITS, event, played


def printed(thing: object, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(thing)
    return out.getvalue()


def test_the_plan_is_learn_settle_change_settle_change_settle() -> None:
    phases = plan()
    assert [bool(phase.change) for phase in phases] == [False, False, True, False, True, False]
    assert [phase.waits for phase in phases] == [False, True, False, True, False, True]
    assert phases[3].pictures == phases[4].pictures != phases[0].pictures  # one change at a time
    assert phases[4].labels != phases[3].labels == "clean"


def test_a_reading_takes_the_names_that_clients_may_rely_on() -> None:
    state = {
        "samples_learned": 96,
        "samples": {"accepted": 100, "learned": 64, "buried": 0, "pending": 36},
        "prequential": {"accuracy": 0.5},
        "drop": {"depth": 1, "units": [{"state": "dropped"}, {"state": "training"}]},
        "flops": {"done": 3.0, "full": 4.0},
        "model": {"version": 7},
    }
    reading = Reading.from_state(state, second=1.5, phase=0)
    assert reading == Reading(1.5, 0, 96, 0.5, 1, ("dropped", "training"), 3.0, 4.0, 36, 7)
    empty = Reading.from_state({"drop": None, "model": None}, second=0.0, phase=0)
    assert (empty.samples, empty.accuracy, empty.states, empty.version) == (0, None, (), None)


def test_a_good_run_has_no_failures() -> None:
    assert failures(played()) == []


@pytest.mark.parametrize(
    ("flaw", "told"),
    [
        ({"drops": False}, ["no layer was dropped"]),
        ({"drifts": False}, ["input: noise90: no drift", "labels: permuted: no drift"]),
        ({"comes_back": False}, ["input: noise90: accuracy did not come back: 60.0 %"]),
    ],
)
def test_each_flaw_is_told_in_one_line(flaw: dict[str, bool], told: list[str]) -> None:
    lines = failures(played(**flaw))
    assert len(lines) == len(told)
    for line, start in zip(lines, told, strict=True):
        assert line.startswith(start)
        assert "\n" not in line


def test_a_run_that_was_cut_short_says_what_was_not_reached() -> None:
    record = played()
    record.readings = [r for r in record.readings if r.phase < 2]
    record.starts = record.starts[:2]
    assert [line.split(":")[0] for line in failures(record)] == ["input", "labels"]
    assert failures(Record(plan()))  # nothing at all is a failure too, not a crash


def test_a_drift_before_the_change_does_not_count_for_it() -> None:
    record = played(drifts=False)
    record.events.append(event("drift", record.starts[2], 0, "false alarm at the last old sample"))
    assert [line for line in failures(record) if line.startswith("input")]
    record.events.append(event("drift", record.starts[2] + 1, 0, "the first new sample"))
    assert not [line for line in failures(record) if line.startswith("input")]


def test_the_table_adds_up() -> None:
    record = played()
    table = rows(record)
    last = record.readings[-1]
    assert sum(row.samples for row in table) == last.samples == 7200
    assert sum(row.seconds for row in table) == pytest.approx(last.second)
    assert sum(row.asked for row in table) == 16 * len(record.readings)
    assert sum(row.drifts for row in table) == 2
    assert [row.drifts for row in table] == [0, 0, 1, 0, 1, 0]
    assert saved(record) == pytest.approx(1 - last.flops_done / last.flops_full)
    text = printed(report.table(record), 120)
    for word in ("input: noise90", "labels: permuted", "whole run", "5 of 6", "7,200"):
        assert word in text


def test_the_plot_is_a_picture_with_curve_strips_and_drifts(tmp_path: Path) -> None:
    report.plot(played(), tmp_path / "demo.png")
    image = Image.open(tmp_path / "demo.png").convert("RGB")
    assert image.width > 1000
    assert image.height > 600
    pixels = np.asarray(image).reshape(-1, 3)
    colours = {tuple(int(v) for v in row) for row in np.unique(pixels, axis=0)}
    for colour in ("#009e73", report.FILL["training"], report.FILL["dropped"], "#d55e00"):
        assert tuple(bytes.fromhex(colour[1:])) in colours
    report.plot(played(drops=False, drifts=False), tmp_path / "flat.png")
    assert (tmp_path / "flat.png").read_bytes() != (tmp_path / "demo.png").read_bytes()


def test_a_plot_of_nothing_and_of_one_reading_is_still_drawn(tmp_path: Path) -> None:
    record = played()
    report.plot(Record(plan()), tmp_path / "nothing.png")
    record.readings = record.readings[:1]
    report.plot(record, tmp_path / "one.png")
    assert (tmp_path / "nothing.png").stat().st_size > 1000
    assert printed(report.table(Record(plan())))


def test_spans_join_equal_states_and_cover_the_run() -> None:
    record = played()
    spans = report.spans(record, 0)
    assert [state for *_, state in spans] == ["training", "dropped", "returned", "dropped"]
    assert spans[0][0] == 0
    assert spans[-1][1] == 7200
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_the_live_view_says_everything_without_colour() -> None:
    text = printed(picture(played(), "learndrop demo", 100))
    for word in (
        "6 of 6: settling again",
        "98.0 %",
        "60/s",
        "FLOPs saved 31 %",
        "predictions",
        "dropped 5 of 6",
    ):
        assert word in text
    for unit in UNITS:
        assert any(line.startswith(f"│ {unit}") for line in text.splitlines())
    assert "TTTTDDDD" in text
    assert "DDDDRRRR" in text
    assert "drift" in text
    assert "error rose from 4 % to 70 %" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_view_fits_its_terminal(width: int) -> None:
    record = played()
    for count in (0, 1, 40, len(record.readings)):
        part = Record(
            record.phases, record.starts, record.readings[:count], unit_names=record.unit_names
        )
        lines = printed(picture(part, "t", width), width).splitlines()
        assert max(map(len, lines)) <= max(width, 44)
        assert len(lines) < 40


def test_many_units_are_shown_side_by_side() -> None:
    record = played()
    record.unit_names = [f"layer{i}" for i in range(40)]
    record.readings = [
        Reading(1.0, 0, 50, 0.5, 20, ("dropped",) * 20 + ("training",) * 20),
    ]
    assert "units       " + "D" * 20 + "T" * 20 in printed(picture(record, "t", 100))


def test_lines_replace_the_picture_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    record = played()
    everything, record.readings = record.readings, []
    events, record.events = record.events, []
    view = live.view_for(Console(file=out, width=100), "demo")
    with view:
        for reading in everything:
            record.readings.append(reading)
            record.events = [e for e in events if e["samples"] <= reading.samples]
            view.update(record)
    lines = out.getvalue().splitlines()
    assert sum("--" in line for line in lines) == 6
    assert sum("drift: error rose" in line for line in lines) == 2
    assert "\x1b" not in out.getvalue()


def test_the_stream_is_seeded_and_asks_only_what_was_held_out() -> None:
    data = load("digits", 8, 200)
    first, second = Stream(data, 3), Stream(data, 3)
    clean, changed = plan()[0], plan()[4]
    images, labels = first.samples(clean, 100)
    again, labels_again = second.samples(clean, 100)
    assert np.array_equal(images, again)
    assert labels == labels_again
    asked, _ = first.questions(clean, 30)
    sent = {image.tobytes() for image in np.concatenate([images, first.samples(clean, 70)[0]])}
    assert not sent & {image.tobytes() for image in asked}
    turned, renamed = first.questions(changed, 30)
    assert turned.shape == (30, 8, 8, 3)
    assert set(renamed) <= set(data.classes)


def test_a_changed_world_alters_pictures_and_renames_labels() -> None:
    data = load("digits", 8, 100)
    plain, turned = Stream(data, 0), Stream(data, 0)
    images, labels = plain.samples(plan()[0], 50)
    other, renamed = turned.samples(plan()[4], 50)
    assert not np.array_equal(images, other)
    assert 20 < (other.astype(float) - images).std() < 90
    assert all(a != b for a, b in zip(labels, renamed, strict=True))
    assert len({(a, b) for a, b in zip(labels, renamed, strict=True)}) == len(set(labels))


def test_each_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    out = command.make_folder(tmp_path / "a" / "b")
    assert out.is_dir()
    (out / "service").mkdir()
    with pytest.raises(BadInput, match="holds a demo already"):
        command.make_folder(out)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be made"):
        command.make_folder(tmp_path / "file" / "x")


def test_the_environment_wins_over_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEARNDROP_NETWORK", "small-resnet18")
    settings = command.settings_for(tmp_path, 0, 5)
    assert settings.network == "small-resnet18"
    assert settings.accuracy_window == command.SETTINGS["accuracy_window"]
    assert settings.seed == 5
    assert settings.data_dir == tmp_path / "service"
    assert settings.port != settings.metrics_port


def test_curl_lines_quote_what_a_shell_would_break() -> None:
    lines = report.curl_lines("http://127.0.0.1:1", Path("/tmp/a b/x.png"), "it's 7")
    assert "'images=@/tmp/a b/x.png'" in lines[1]
    assert """'labels=it'"'"'s 7'""" in lines[2]
