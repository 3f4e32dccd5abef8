"""Checkpoints: the whole state, resumed bit for bit; a damaged one is refused."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import torch

from learndrop.disk import checkpoint_files
from learndrop.errors import BadSettings, DamagedFile, UnknownFileFormat
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from tests.learning import digits, quick_learner, quick_settings

Told = tuple[int, float, tuple[str, ...]]  # of one batch: right answers, loss, events


def saved(folder: Path, batches: int = 4) -> Learner:
    learner = quick_learner()
    for batch in list(digits("clean", length=32 * batches).batches(32)):
        learner.learn(batch)
    checkpoint.save(learner, folder, "7-0", keep=2)
    return learner


def same(a: Learner, b: Learner) -> bool:
    ours, theirs = a.chain.state_dict(), b.chain.state_dict()
    return all(torch.equal(t, theirs[n]) for n, t in ours.items())


AFTER = 40  # batches that are compared
STOPS = {"in training": 40, "dropped": 100, "after a drift": 132}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, Learner, list[Told]]]:
    """One run, by each stop: the folder it was saved in, and what it did afterwards."""
    batches = list(digits("clean", "rotated90", length=3840).batches(32))
    whole = quick_learner(replays="1")
    told: list[Told] = []
    kept: dict[int, Path] = {}
    made: dict[int, tuple[Path, Learner, list[Told]]] = {}
    for at, batch in enumerate(batches[: max(STOPS.values()) + AFTER]):
        if at in STOPS.values():
            kept[at] = tmp_path_factory.mktemp("stop")
            checkpoint.save(whole, kept[at], "1-1", keep=2)
            assert "drop" in {e.type for e in whole.recent_events} or at == STOPS["in training"]
        report = whole.learn(batch)
        told.append((report.correct, report.loss, tuple(e.type for e in report.events)))
        for stop in kept.keys() - made.keys():
            if at + 1 == stop + AFTER:
                folder = tmp_path_factory.mktemp("end")
                checkpoint.save(whole, folder, "2-2", keep=1)
                found = checkpoint.load_latest(folder, whole.settings)
                assert found is not None
                made[stop] = (kept[stop], found[0], told[stop:])
    return made


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS.keys())
def test_a_resumed_run_equals_one_that_was_never_stopped(
    told: dict[int, tuple[Path, Learner, list[Told]]], stop: int
) -> None:
    folder, whole, expected = told[stop]
    found = checkpoint.load_latest(folder, quick_settings(replays="1"))
    assert found is not None
    resumed, position = found
    assert position == "1-1"
    again = list(digits("clean", "rotated90", length=3840).batches(32))[stop : stop + AFTER]
    for batch, was in zip(again, expected, strict=True):
        report = resumed.learn(batch)
        assert (report.correct, report.loss, tuple(e.type for e in report.events)) == was
    assert same(whole, resumed)
    assert whole.replay.ids.tolist() == resumed.replay.ids.tolist()
    assert resumed.state() | {"seconds": 0} == whole.state() | {"seconds": 0}


def test_momentum_comes_back_in_the_memory_format_of_the_weights(tmp_path: Path) -> None:
    """The fused optimizer walks weights and momentum as they lie in memory."""
    batches = list(digits("clean", length=256).batches(32))
    given = {"memory_format": "channels_last"}
    whole = quick_learner(**given)
    for batch in batches[:4]:
        whole.learn(batch)
    checkpoint.save(whole, tmp_path, "1-1", keep=2)
    found = checkpoint.load_latest(tmp_path, quick_settings(**given))
    assert found is not None
    for batch in batches[4:]:
        assert whole.learn(batch).loss == found[0].learn(batch).loss
    assert same(whole, found[0])


def test_arithmetic_that_the_settings_name_is_taken_after_a_restart(tmp_path: Path) -> None:
    saved(tmp_path)
    found = checkpoint.load_latest(tmp_path, quick_settings(memory_format="channels_last"))
    assert found is not None
    assert found[0].precision.memory_format == torch.channels_last


def test_another_score_begins_anew_after_a_restart(tmp_path: Path) -> None:
    saved(tmp_path, batches=12)
    found = checkpoint.load_latest(tmp_path, quick_settings(score="motion"))
    assert found is not None
    learner = found[0]
    for batch in list(digits("clean", length=512).batches(32)):
        learner.learn(batch)
    assert {"motion"} <= set(learner.settling.unit_scores[0])


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert checkpoint.load_latest(tmp_path / "none", quick_settings()) is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    learner = saved(tmp_path)
    for _ in range(3):
        checkpoint.save(learner, tmp_path, "8-0", keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000003", "00000004"]


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_one_is_passed_over_for_the_last_good_one(
    tmp_path: Path, name: str, damage: str
) -> None:
    learner = saved(tmp_path)
    newest = checkpoint.save(learner, tmp_path, "9-0", keep=2)
    path = newest / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    elif damage == "cut":
        data = data[: len(data) // 2]
    path.unlink()
    if damage != "gone":
        path.write_bytes(data)
    with pytest.raises(DamagedFile, match=name):
        checkpoint_files.read_checkpoint(newest)
    found = checkpoint.load_latest(tmp_path, quick_settings())
    assert found is not None and found[1] == "7-0"


def test_when_none_is_whole_it_is_said_instead_of_starting_anew(tmp_path: Path) -> None:
    saved(tmp_path)
    for path in tmp_path.glob("*/state.json"):
        path.write_bytes(b"{}")
    with pytest.raises(DamagedFile, match="none of 1"):
        checkpoint.load_latest(tmp_path, quick_settings())


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    saved(tmp_path)
    path = next(tmp_path.glob("*/state.json"))
    state = orjson.loads(path.read_bytes().partition(b"\n")[2])
    path.write_bytes(checkpoint_files.sealed({**state, "format": 99}))
    with pytest.raises(UnknownFileFormat, match="format 99"):
        checkpoint.load_latest(tmp_path, quick_settings())


def test_another_network_in_the_settings_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(BadSettings, match="image_size"):
        checkpoint.load_latest(tmp_path, quick_settings(image_size=32))


def test_a_half_written_folder_is_never_read(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / ".00000002.part").mkdir()
    found = checkpoint.load_latest(tmp_path, quick_settings())
    assert found is not None and found[1] == "7-0"
