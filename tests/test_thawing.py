"""What is dropped trains for a window now and then, and is dropped again or stays."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from learndrop.dropping.settling import Settling
from learndrop.dropping.thawing import Thawing
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.learning.moving import abandon_thaw
from learndrop.training.progress import Progress
from tests.learning import digits, learn, learned, quick_settings

CUT = 3
WINDOW = 4 * 32  # samples
STREAM = digits("clean", length=32 * 60)
BATCHES = list(STREAM.batches(32))


def dropped(**overrides: object) -> Learner:
    """A learner that is dropped to the cut by hand and drops no more by itself."""
    settings = {
        "thaw_every": 1,
        "drift_delta": 1e-9,
        "settled_windows": 100,
        "persistence_low": 1.0,  # no unit is found to be still learning
    }
    learner = learned(16 * 32, length=len(STREAM), **(settings | overrides))
    learner.drop_to(CUT, "by hand")
    return learner


def below(learner: Learner) -> dict[str, Tensor]:
    """Weights and statistics of the units before the cut."""
    return {
        f"{unit.position}.{name}": tensor.detach().clone()
        for unit in learner.chain.units[:CUT]
        for name, tensor in unit.module.state_dict().items()
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def until(learner: Learner, event: str, start: int = 16) -> int:
    """Learn until that event; the next batch's place."""
    for place in range(start, len(BATCHES)):
        if event in {e.type for e in learner.learn(BATCHES[place]).events}:
            return place + 1
    raise AssertionError(f"no {event}")


def test_a_thaw_is_one_window_in_which_all_trains() -> None:
    learner = dropped()
    before = below(learner)
    place = until(learner, "thaw")
    assert learner.trainer.cut == 0
    assert same(below(learner), before)  # until here what is dropped stood still
    momentum = learner.trainer.optimizer.momentum()
    assert momentum.keys() == dict(learner.chain.named_parameters()).keys()
    begun, steps = learner.progress.samples, learner.life.steps
    states = [row["state"] for row in learner.state()["drop"]["units"]]
    assert states == ["thawed"] * CUT + ["training"] * 3
    assert learner.state()["drop"]["thaws"] == 1
    until(learner, "drop", place)
    assert (learner.progress.samples - begun, learner.life.steps - steps) == (WINDOW, 4)
    assert learner.trainer.cut == CUT
    assert not same(below(learner), before)
    states = [row["state"] for row in learner.state()["drop"]["units"]]
    assert states == ["dropped"] * CUT + ["training"] * 3


def test_the_whole_window_is_in_the_account() -> None:
    learner = dropped(replays="0")
    place = until(learner, "thaw")
    done = learner.ledger.totals()["by_kind"]
    until(learner, "drop", place)
    now = learner.ledger.totals()["by_kind"]
    assert now["backward"] - done["backward"] == WINDOW * learner.ledger.backward_cost(0)
    assert now["build"] == done["build"]


@pytest.mark.parametrize("overrides", [{"thaw_every": 0}, {"drop": False}])
def test_what_is_dropped_is_let_be(overrides: dict[str, object]) -> None:
    learner = dropped(**overrides)
    before = below(learner)
    assert "thaw" not in [e.type for batch in BATCHES[16:] for e in learner.learn(batch).events]
    assert same(below(learner), before)


def test_what_helped_nobody_is_taken_back() -> None:
    learner = dropped()
    parts = Settling(learner.chain, learner.ledger, quick_settings(thaw_every=1))
    progress = Progress(256, 1024)
    parts.scorer.start(learner.trainer.trained)
    before = below(learner)
    progress.add([True] * 256)
    move = parts.read(CUT, progress, commonest=0.1, may_freeze=True, may_thaw=True)
    assert move is not None and move.type == "thaw"
    with torch.no_grad():
        for unit in learner.chain.units:
            for tensor in unit.module.state_dict().values():
                tensor.add_(1)
    head = learner.chain.units[-1].module.state_dict()
    kept = {name: tensor.clone() for name, tensor in head.items()}
    progress.add([False] * 32 + [True] * 96)
    move = parts.read(0, progress, commonest=0.1, may_freeze=True, may_thaw=True)
    assert move is not None
    assert (move.type, move.event, move.cut) == ("close", "drop", CUT)
    assert move.cause.startswith("thawed in vain: error 0.250 against 0.000 before")
    assert same(below(learner), before)
    assert same(kept, head)  # what was in training goes on


def move(thawing: Thawing, learner: Learner, *steps: float) -> None:
    """A thaw begins, and every weight of each unit below the cut moves by the same."""
    thawing.begin(CUT, 0.1, 0)
    with torch.no_grad():
        for unit in learner.chain.units[:CUT]:
            for parameter in unit.module.parameters():
                parameter.add_(steps[unit.position % len(steps)])


def thaw(thawing: Thawing, learner: Learner, *steps: float) -> tuple[dict[int, float], int]:
    """One whole thaw."""
    move(thawing, learner, *steps)
    return thawing.judge()


def test_the_wait_doubles_each_time_that_finds_all_settled() -> None:
    learner = dropped()
    thawing = Thawing(learner.chain, 3, 0.4)
    waits = []
    for step in (0.5, -0.5, 0.5, 0.5, 0.5, -0.5):
        waits.append(next(n for n in range(1, 99) if thawing.due()))
        thaw(thawing, learner, step)
    # the first has nothing to compare with, the fourth and the fifth go on as before
    assert waits == [3, 3, 6, 12, 3, 3]
    assert next(n for n in range(1, 99) if thawing.due()) == 6
    move(thawing, learner, 1.0)
    thawing.take_back(harmed=True)
    assert next(n for n in range(1, 99) if thawing.due()) == 12
    thawing.forget()
    assert next(n for n in range(1, 99) if thawing.due()) == 3


def test_a_unit_that_goes_on_as_before_stays_in_training() -> None:
    learner = dropped()
    thawing = Thawing(learner.chain, 1, 0.4)
    assert thaw(thawing, learner, 0.5) == ({}, CUT)  # nothing to compare with
    found, settled = thaw(thawing, learner, 0.25)
    assert found == pytest.approx(dict.fromkeys(range(CUT), 1.0)) and settled == 0
    found, settled = thaw(thawing, learner, -0.25, 0.25)  # the first unit turns, the second goes on
    assert found[0] == pytest.approx(-1.0) and found[1] == pytest.approx(1.0) and settled == 1
    found, settled = thaw(thawing, learner, 0.5, -0.5)
    assert found == pytest.approx(dict.fromkeys(range(CUT), -1.0)) and settled == CUT
    assert thawing.trial is None
    thawing.forget()
    assert thaw(thawing, learner, -0.5) == ({}, CUT)  # a drift lies between


def test_units_that_still_learn_are_back_in_training_and_must_settle_anew() -> None:
    learner = dropped(persistence_low=1e-6)
    place = until(learner, "thaw", until(learner, "thaw"))
    events = []
    while learner.settling.thawing.trial is not None:
        events = learner.learn(BATCHES[place]).events
        place += 1
    still = [u for u, s in sorted(learner.settling.unit_scores.items()) if s["persistence"] > 1e-6]
    cut = next((u for u in still if u < CUT), CUT)
    assert cut < CUT  # two thaws of a young network go the same way
    assert learner.trainer.cut == cut
    assert [e.type for e in events] == (["drop"] if cut else ["return"])
    assert "still learning" in events[0].cause
    assert learner.settling.rule.records[cut].why == "returned to training: must settle anew"


def test_a_drift_ends_a_thaw_and_nothing_of_it_stays() -> None:
    learner = dropped(drift_delta=0.002, drift_cooldown=0)
    for batch in BATCHES[16:]:
        learner.learn(batch)
    if learner.settling.thawing.trial is None:
        until(learner, "thaw", 0)
    held = learner.settling.thawing.tensors().items()
    kept = {n.removeprefix("before."): t.clone() for n, t in held if n.startswith("before.")}
    events = []
    for batch in digits("inverted", length=WINDOW - 32).batches(32):
        events += learner.learn(batch).events
        if learner.settling.thawing.trial is None:
            break
    assert [e.type for e in events][:2] == ["drop", "drift"]
    copied = learner.witness  # what stands trial now is as it was dropped
    assert copied is not None and copied.cut == CUT
    assert same({n.partition(".")[2]: t for n, t in kept.items()}, copied.weights)


def test_stored_maps_outlive_only_a_thaw_that_is_taken_back() -> None:
    learner = dropped(replays="1")
    place = until(learner, "thaw")
    held = learner.features.held
    assert held > 0
    learner.learn(BATCHES[place])
    abandon_thaw(learner, "a test")
    assert learner.trainer.cut == CUT
    assert learner.features.held == held
    place = until(learner, "thaw", place + 1)
    until(learner, "drop", place)
    assert learner.features.held == 0


def test_a_checkpoint_in_the_middle_of_a_thaw_goes_on_as_if_there_were_none(tmp_path: Path) -> None:
    whole = dropped()
    place = until(whole, "thaw", until(whole, "thaw"))
    whole.learn(BATCHES[place])
    checkpoint.save(whole, tmp_path, "1-0", 1)
    found = checkpoint.load_latest(tmp_path, whole.settings)
    assert found is not None
    parts = whole, found[0]
    told = [
        [e.type for batch in BATCHES[place + 1 :] for e in learner.learn(batch).events]
        for learner in parts
    ]
    assert told[0] == told[1]
    assert "thaw" in told[0]
    weights = [learner.chain.state_dict() for learner in parts]
    assert same(weights[0], weights[1])


def test_weights_taken_back_end_a_thaw() -> None:
    learner = dropped()
    parts, _ = learner.export()
    before = below(learner)
    until(learner, "thaw")
    learner.take_back(parts, "by hand")
    assert learner.settling.thawing.trial is None
    assert learner.trainer.cut == CUT
    assert same(below(learner), before)
    samples = learner.progress.samples
    learn(learner, digits("clean", length=64))  # and it goes on
    assert learner.progress.samples == samples + 64
