"""The bench: rivals get the same stream and the same help, and do what their name says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.through_http import in_process
from learndrop.bench.arrivals import Arrivals
from learndrop.bench.jobs import Job
from learndrop.bench.pages.runs import Group, Run
from learndrop.bench.pages.tables import table
from learndrop.bench.pages.within_worlds import settled_pace
from learndrop.bench.play import play
from learndrop.bench.strategies import STRATEGIES, strategy
from learndrop.bench.streams import stream
from learndrop.errors import BadInput
from learndrop.images import datasets
from tests.learning import digits, quick_settings


def played(name: str, length: int = 320, worlds: tuple[str, ...] = ("clean",), **own: Any) -> Any:
    rival, differs = strategy(name)
    return play(digits(*worlds, length=length), rival, quick_settings(**{**own, **differs}))


@pytest.mark.parametrize(
    ("name", "trained"),
    [
        ("plain", 1.0),
        ("plain:every=3", 1 / 3),
        ("share:share=0.25", 0.25),
        ("drift-aware:share=0.5,after=640", 0.75),
    ],
)
def test_a_control_trains_on_the_share_that_it_names(name: str, trained: float) -> None:
    run = played(name, 1280, replays="0")
    kinds = run["flops"]["by_kind"]
    assert kinds["forward"] / kinds["test"] == pytest.approx(trained, abs=0.03)
    assert sum(run["batches"]["trained"]) / 40 == pytest.approx(trained, abs=0.03)


def test_replays_are_as_many_as_named() -> None:
    kinds = played("replays:replays=3")["flops"]["by_kind"]
    assert kinds["forward"] / kinds["test"] == pytest.approx(4.0, abs=0.4)


def test_head_only_trains_nothing_but_the_head() -> None:
    run = played("head-only")
    assert set(run["batches"]["depth"]) == {run["units"] - 1}


def test_the_same_seconds_are_kept_to() -> None:
    run = played("held:seconds=1e-9", 640)
    assert sum(run["batches"]["trained"]) < 4


def test_freezing_pays_the_forward_that_dropping_saves() -> None:
    plan = "cuts=0.5@64,replays=1"
    dropped = played(f"schedule:{plan}", 640, ("clean",))
    # FreezeOut's first unit freezes at 0.512 of the world, the later ones one by one
    frozen = played("freezeout:replays=1", 640)
    assert dropped["batches"]["depth"][-1] > 0 and frozen["batches"]["depth"][-1] > 0
    kinds = frozen["flops"]["by_kind"]
    # each sample and its replay pass the whole network in each step, trained or not; at each
    # freeze BatchNorm's statistics are taken anew from up to 256 samples
    freezes = len(set(frozen["batches"]["depth"])) - 1
    paid = (kinds["forward"] + kinds["build"]) / kinds["test"]
    assert 1.9 < paid < 2.1 + freezes * 256 / 640
    assert frozen["store"]["bytes"] == 0
    kinds = dropped["flops"]["by_kind"]
    assert (kinds["forward"] + kinds["build"]) / kinds["test"] < 1.8


def test_freeze_only_learns_what_learndrop_learns() -> None:
    own: dict[str, Any] = {
        "settled_windows": 1,
        "warmup_windows": 0,
        "persistence_low": 1.0,
        "replays": "0",
    }
    ours, frozen = (played(n, 1600, **own) for n in ("learndrop", "freeze-only"))
    assert max(ours["batches"]["depth"]) > 0
    assert ours["batches"]["depth"] == frozen["batches"]["depth"]
    assert ours["batches"]["right"] == pytest.approx(frozen["batches"]["right"], abs=2)
    assert frozen["flops"]["by_kind"]["build"] > ours["flops"]["by_kind"]["build"]


def test_an_oracle_is_told_and_drops_at_its_times() -> None:
    run = played("schedule:cuts=0.5@64+0.9@128", 256, ("clean", "noise40"))
    units, depth = run["units"], run["batches"]["depth"]
    half, most = round(0.5 * units), units - 1
    assert depth == ([0] * 2 + [half] * 2 + [most] * 4) * 2
    assert not [e for e in run["events"] if e["type"] == "drift"]


def test_a_random_prefix_is_seeded_and_leaves_in_the_first_world() -> None:
    first, again = (played("random-prefix")["batches"]["depth"] for _ in range(2))
    assert first == again and 0 < first[-1]
    assert played("random-prefix:seed=5")["batches"]["depth"] != first


def test_an_egeria_like_rule_freezes_from_the_front_and_pays_for_its_readings() -> None:
    run = played("egeria:every=1,window=2,patience=1,bound=5.0", 640, replays="0")
    depth = run["batches"]["depth"]
    assert depth == sorted(depth) and 0 < depth[-1] < run["units"]
    assert run["flops"]["by_kind"]["build"] > 0


def test_latent_replay_keeps_its_cut_through_a_drift() -> None:
    run = played("latent-replay:cut=0.5", 640, ("clean", "inverted"))
    assert set(run["batches"]["depth"]) == {round(0.5 * run["units"])}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_takes_a_setting_and_has_a_name_of_its_own(name: str) -> None:
    rival, differs = strategy(f"{name}:rate=0.01")
    assert differs == {"rate": 0.01}
    others = [strategy(n)[0].label for n in STRATEGIES if n != name]
    assert rival.label not in others


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plane", "near: plain"),
        ("plain:every", "NAME:key=value"),
        ("plain:every=x", "invalid literal"),
        ("schedule:cuts=half", "SHARE@SAMPLES"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused(text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        strategy(text)


def test_a_run_writes_down_every_batch() -> None:
    run = played("learndrop", 330, ("clean", "rotated90"))
    batches = run["batches"]
    assert batches["count"] == ([32] * 10 + [10]) * 2
    assert all(len(column) == 22 for column in batches.values())
    assert run["accuracy"] == pytest.approx(sum(batches["right"]) / 660)
    assert run["seconds"]["learn"] == pytest.approx(sum(batches["train_s"]))
    # nothing that a strategy spends beside its steps stays out of the account
    assert run["seconds"]["learn"] >= run["seconds"]["train"] + run["seconds"]["build"] - 0.01
    assert [w["begin"] for w in run["worlds"]] == [0, 330]
    json.dumps(run, allow_nan=False)


def test_where_classes_come_one_after_the_other_pictures_never_shown_are_asked_all_along() -> None:
    asked = play(
        stream("ordered", datasets.load("digits", 16), 300, worlds=("clean", "inverted")),
        strategy("learndrop")[0],
        quick_settings(),
    )
    looks = asked["held_out"]
    assert looks["samples"] == [256, 524] and len(looks["right"]) == 2
    told = table(Group("ordered", (Run({**asked, "job": Job().to_json()}),)))
    assert f"| {100 * sum(looks['right']) / 2:.1f} |" in told.splitlines()[2]
    assert "held-out %" in told.splitlines()[0]
    assert asked["last_label"] > 0.9
    mixed = played("learndrop")
    assert mixed["held_out"] is None and mixed["last_label"] < 0.2


def test_thawed_windows_are_part_of_the_settled_pace() -> None:
    own: dict[str, Any] = {
        "settled_windows": 1,
        "warmup_windows": 0,
        "persistence_low": 1.0,
        "thaw_every": 1,
    }
    run = Run(played("learndrop", 2400, **own))
    depth = run.column("depth")
    at = [e["samples"] // 32 for e in run.data["events"] if e["type"] == "thaw"]
    assert at
    # the batch that ends a thaw is written down with the depth after it
    for first in at[:-1]:
        assert run.thawed()[first : first + 4].all()
        assert list(depth[first - 1 : first + 3]) == [0, 0, 0, 0]
        assert depth[first + 3] > 0
    assert not run.thawed()[: at[0]].any()
    assert run.thawed().sum() == pytest.approx(4 * len(at), abs=4)


def test_a_pace_that_was_kept_as_no_time_is_no_figure() -> None:
    """So runs of before kept steps on the head alone, by counted operations."""
    ours, full = played("learndrop", 2400, persistence_low=1.0), played("plain", 2400)
    runs = tuple(Run({**run, "job": Job().to_json()}) for run in (ours, full))
    assert settled_pace(Group("abrupt", runs))
    deepest = max(ours["batches"]["depth"])
    for column in ("train_s", "step_s"):
        each = zip(ours["batches"][column], ours["batches"]["depth"], strict=True)
        ours["batches"][column] = [0.0 if depth == deepest else s for s, depth in each]
    assert deepest and not settled_pace(Group("abrupt", runs))


def test_in_real_time_who_is_too_slow_skips_and_still_answers() -> None:
    stream, settings = digits("clean", length=640), quick_settings()
    rushed = play(stream, strategy("plain")[0], settings, Arrivals(rate=1e6, backlog=32))
    assert rushed["samples"] == 640  # all are answered
    assert sum(rushed["batches"]["trained"]) <= 1
    assert rushed["real_time"]["skipped"] >= 640 - 32
    assert rushed["seconds"]["wait"] < 0.01
    calm = play(stream, strategy("plain")[0], settings, Arrivals(rate=1.0, backlog=32))
    assert calm["real_time"]["skipped"] == 0 and sum(calm["batches"]["trained"]) == 20
    assert calm["seconds"]["wait"] > 300


def test_seconds_are_those_of_the_clock() -> None:
    ticks = iter(range(10**9))
    rival = strategy("egeria:every=1")[0]
    run = play(digits("clean", length=64), rival, quick_settings(), clock=lambda: next(ticks))
    assert run["seconds"]["learn"] == int(run["seconds"]["learn"]) > 0
    assert all(s == int(s) >= 1 for s in (run["seconds"][part] for part in ("test", "train")))


def test_the_bare_loop_answers_as_well_as_the_learner() -> None:
    data = datasets.load("digits", 16, 1600)
    settings = quick_settings(
        classes=tuple(data.classes), replays="0", drop=False, worker_threads=1
    )
    bare, ours = (in_process(data, settings, bare=b)["accuracy"] for b in (True, False))
    assert bare == pytest.approx(ours, abs=0.05)
