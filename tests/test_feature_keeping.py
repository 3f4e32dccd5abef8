"""What a learner does with stored maps: kept, read, passed on, chosen, made anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from learndrop.features import choice
from learndrop.learning import checkpoint
from learndrop.learning.learner import Learner
from learndrop.learning.moving import ASKED, move_cut
from learndrop.networks.prefix import prefix_hash
from tests.learning import digits, learn, quick_learner, quick_settings


def still(cut: int = 3, length: int = 256, **overrides: object) -> Learner:
    """A learner that drops nothing by itself, dropped to a cut, with maps of some samples."""
    settings = {"drop": False, "replays": "1", "drift_delta": 1e-9} | overrides
    learner = Learner(quick_settings(**settings), clock=lambda: 0.0)
    learn(learner, digits("clean", length=96))
    learner.drop_to(cut, "for the test")
    learn(learner, digits("clean", length=length, seed=1))
    return learner


def held_now(learner: Learner) -> set[int]:
    """Ids of the samples whose maps of the present cut are stored."""
    now = learner.features._now
    assert now is not None
    return set(now.ids.tolist())


def exact(learner: Learner) -> torch.Tensor:
    """Maps of everything in the replay buffer, made of pixels now."""
    return learner.trainer.prefix(learner.floats(learner.replay.images[: learner.replay.size]))


def stored(learner: Learner) -> tuple[torch.Tensor, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    return learner.features.get(learner.replay.ids[: learner.replay.size])


def test_what_is_read_is_what_the_prefix_makes() -> None:
    learner = still()
    found, hit = stored(learner)
    assert hit.sum() > 200
    assert torch.allclose(found, exact(learner)[torch.from_numpy(hit)], rtol=0.01, atol=0.01)


def test_nothing_is_stored_while_nothing_is_replayed() -> None:
    learner = still(replays="0")
    assert len(learner.features) == 0 and learner.features.key is not None


def test_a_deeper_cut_takes_its_maps_from_those_that_were_stored() -> None:
    learner = still(3, feature_bytes=16 * 2**20)
    batch, before_it = learner.settings.batch, held_now(learner)
    before = prefix_hash(learner.chain, learner.trainer.cut)
    learner.drop_to(5, "for the test")
    assert prefix_hash(learner.chain, 3) == before  # statistics of what was dropped stay
    older = learner.features.older
    assert older is not None
    held = set(older.ids.tolist())
    assert before_it <= held  # and those that BatchNorm's statistics were taken from
    steps = 0
    for samples in digits("clean", length=1280, seed=2).batches(batch):
        pushed = learner.features.pushed
        learner.learn(samples)
        steps += 1
        # a batch in its turn, and those that were drawn just now: 32 replays at most
        assert learner.features.pushed - pushed <= 2 * batch
        if learner.features.older is None:
            break
    assert learner.features.older is None
    assert steps <= 1 + len(held) / batch + 16  # each page may end with a part of a batch
    found, hit = stored(learner)
    ids = learner.replay.ids[: learner.replay.size]
    assert held & set(ids.tolist()) <= set(ids[hit].tolist())
    wanted = exact(learner)[torch.from_numpy(hit)]
    assert float((found - wanted).norm() / wanted.norm()) < 0.05  # rounded twice


def test_a_deeper_cut_makes_no_pause_of_more_than_three_steps() -> None:
    learner = still(3)
    batch = learner.settings.batch
    step = batch * learner.ledger.step_cost(3)

    def built() -> int:
        return int(learner.ledger.totals()["by_kind"]["build"])

    before = built()
    learner.drop_to(5, "for the test")
    at_once = built() - before
    assert 0 < at_once <= 3 * step
    for samples in digits("clean", length=96, seed=2).batches(batch):
        before = built()
        learner.learn(samples)
        # a batch passed on in its turn; of the replays at most a quarter are made of pixels
        most = 2 * batch * learner.ledger.forward_cost(3, 5)
        assert built() - before <= most + batch / 4 * learner.ledger.forward_cost(0, 5)


def test_on_probation_nothing_is_moved_and_a_cut_taken_back_finds_its_maps() -> None:
    learner = still(3)
    held = held_now(learner)
    move_cut(learner, 5)
    assert learner.rehearsal.keeping.pass_on(hold=True) == 0
    older = learner.features.older
    assert older is not None and held <= set(older.ids.tolist())
    move_cut(learner, 3)
    assert learner.features.older is None
    assert held <= held_now(learner)
    found, hit = stored(learner)
    assert torch.allclose(found, exact(learner)[torch.from_numpy(hit)], rtol=0.01, atol=0.01)


def test_maps_of_other_weights_are_not_passed_on() -> None:
    learner = still(3)
    with torch.no_grad():
        next(learner.chain.units[1].module.parameters()).add_(0.1)
    held = len(learner.features)
    learner.drop_to(5, "for the test")
    older, numbers = learner.features.older, learner.replay.ids
    assert older is not None and len(older) < held  # those that were made for the statistics
    ids = older.ids
    places = [int(np.flatnonzero(numbers == i)[0]) for i in ids.tolist()]
    learner.chain.eval()
    with torch.no_grad():
        wanted = learner.chain.prefix(learner.floats(learner.replay.images[places]), 3)
    kept = older.codec.decode(older.read(ids.tolist(), learner.device))
    assert torch.allclose(kept, wanted, rtol=0.01, atol=0.01)


def test_a_weight_that_was_written_to_below_the_cut_makes_every_stored_map_stale() -> None:
    learner = still(3)
    assert len(learner.features) > 200
    with torch.no_grad():
        next(learner.chain.units[1].module.parameters()).add_(0.1)
    places = np.arange(40)
    maps = learner.rehearsal.maps(places, learner.floats)  # nobody has told the store
    assert torch.allclose(maps, exact(learner)[:40], atol=1e-5)
    assert len(learner.features) == 40


@pytest.mark.parametrize(("refresh", "made"), [(0.0, 0), (1.0, 40)])
def test_a_share_of_the_maps_is_made_anew_from_another_view(
    refresh: float, made: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = still(3, replay_augment=True, feature_refresh=refresh)
    ids = learner.replay.ids[: learner.replay.size]
    places = np.flatnonzero(learner.features.holds(ids))[:40]
    calls: list[int] = []
    prefix = learner.trainer.prefix

    def counted(x: Tensor) -> Tensor:
        calls.append(len(x))
        return prefix(x)

    monkeypatch.setattr(learner.trainer, "prefix", counted)
    first, second = (learner.rehearsal.maps(places, learner.floats) for _ in range(2))
    assert sum(calls) == 2 * made
    assert torch.equal(first, second) == (made == 0)


@pytest.mark.parametrize("codec", ["smallest", "auto"])
def test_the_gate_looks_at_arrivals_tells_its_figure_and_costs_little(codec: str) -> None:
    learner = still(3, length=960, feature_codec=codec)
    told = learner.state()["features"]
    assert "accuracy falls by" in told["why"]
    totals = learner.ledger.totals()
    # the drop asked the newest samples before and after
    asked = 2 * ASKED * learner.ledger.forward_cost(0, len(learner.chain.units))
    assert 0 < totals["by_kind"]["probe"] - asked <= choice.MOST_FLOPS * totals["done"]


def spoilt(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the present codec give back nothing of its maps, and learn on until that is noticed."""
    codec = learner.features.codec
    assert codec is not None and codec.ready
    decode = codec.decode
    monkeypatch.setattr(codec, "decode", lambda rows: torch.zeros_like(decode(rows)))
    learn(learner, digits("clean", length=160, seed=2))


def test_a_codec_that_costs_accuracy_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "MOST_FLOPS", 1.0)  # to look at every batch
    learner = still(5, length=64, feature_codec="smallest")
    assert learner.state()["features"]["codec"] == "int8"
    spoilt(learner, monkeypatch)
    told = learner.state()["features"]
    assert told["codec"] == "bf16" and "int8 was given up: accuracy falls by" in told["why"]
    found, hit = stored(learner)
    assert hit.any()
    assert torch.allclose(found, exact(learner)[torch.from_numpy(hit)], rtol=0.01, atol=0.01)


def test_where_the_next_would_be_larger_than_twice_the_pixels_nothing_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Maps of this cut are 2.7 times the pixels in int8, 5.3 in bfloat16."""
    monkeypatch.setattr(choice, "MOST_FLOPS", 1.0)
    learner = still(3, length=160, feature_codec="smallest")
    assert learner.state()["features"]["codec"] == "klt"
    spoilt(learner, monkeypatch)
    told = learner.state()["features"]
    assert (told["codec"], told["bytes"]) == (None, 0)
    assert "klt was given up" in told["why"] and "nothing is stored: the next" in told["why"]
    places = learner.rehearsal.places(32)
    assert len(places) == 32  # from anywhere, made anew
    maps = learner.rehearsal.maps(places, learner.floats)
    assert torch.allclose(maps, exact(learner)[torch.from_numpy(places)], atol=1e-5)


def slow_store(codec: str) -> Learner:
    """A learner by whose clock storing takes longer than making anew."""
    learner = still(3, feature_codec=codec)
    figures = learner.rehearsal.keeping.choice.figures
    for _ in range(24):
        figures.time("store_s", 1.0, read=16, made=0)
    figures.time("make_s", 0.1, read=0, made=64)
    return learner


def test_who_asks_no_clock_stores_however_long_it_takes() -> None:
    learner = slow_store("smallest")
    learn(learner, digits("clean", length=32, seed=2))
    assert learner.state()["features"]["codec"] == "klt"
    assert not learner.rehearsal.keeping.choice.timing


def test_where_storing_takes_longer_than_making_nothing_is_stored() -> None:
    learner = slow_store("auto")
    learn(learner, digits("clean", length=32, seed=2))
    told = learner.state()["features"]
    assert (told["codec"], told["bytes"]) == (None, 0)
    assert told["why"].startswith("nothing is stored: a stored map took")
    places = learner.rehearsal.places(32)
    assert len(places) == 32
    maps = learner.rehearsal.maps(places, learner.floats)
    assert torch.allclose(maps, exact(learner)[torch.from_numpy(places)], atol=1e-5)


def test_what_one_byte_less_than_a_map_has_room_for_is_nothing_and_it_learns_on() -> None:
    learner = still(3, feature_bytes=1)
    assert len(learner.features) == 0
    assert np.isfinite(learner.progress.loss)


CODEC_OR_TIER: list[dict[str, object]] = [
    {"feature_codec": "int8"},
    {"feature_codec": "klt"},
    {"feature_codec": "smallest"},
    {"feature_bytes": 100_000, "feature_file_bytes": 2**20},
    {"feature_mixup": 0.2, "replay_augment": True, "feature_codec": "klt"},
]


@pytest.mark.parametrize(
    ("more", "deeper"),
    [
        *((more, 5) for more in CODEC_OR_TIER),  # some maps are still to be passed on
        (CODEC_OR_TIER[0], None),
        *(pytest.param(more, None, marks=pytest.mark.slow) for more in CODEC_OR_TIER[1:]),
    ],
)
def test_resumes_bit_for_bit_with_each_codec_and_tier(
    tmp_path: Path, more: dict[str, object], deeper: int | None
) -> None:
    more = more | {"data_dir": tmp_path / "data", "drop": False, "replays": "1"}
    whole = still(3, length=96, **more)
    if deeper:
        learn(whole, digits("clean", length=160, seed=4))
        whole.drop_to(deeper, "for the test")  # the rest is still to be passed on
        learn(whole, digits("clean", length=32, seed=5))
    checkpoint.save(whole, tmp_path / "saved", "1-1", keep=1)
    found = checkpoint.load_latest(tmp_path / "saved", whole.settings)
    assert found is not None
    resumed = found[0]
    resumed.rehearsal.keeping._clock = whole.rehearsal.keeping._clock
    assert (whole.features.older is not None) == (resumed.features.older is not None)
    for batch in digits("clean", length=160, seed=3).batches(32):
        one, other = whole.learn(batch), resumed.learn(batch)
        assert (one.correct, one.loss) == (other.correct, other.loss)
    assert whole.features.hits > 0
    assert resumed.state()["features"] == whole.state()["features"]
    ours, theirs = whole.chain.state_dict(), resumed.chain.state_dict()
    assert all(torch.equal(t, theirs[n]) for n, t in ours.items())


def test_a_file_takes_what_memory_has_no_room_for(tmp_path: Path) -> None:
    one = quick_learner(feature_bytes=300_000, feature_file_bytes=2**22, data_dir=tmp_path)
    rows = still(3, feature_bytes=300_000, feature_file_bytes=2**22, data_dir=tmp_path)
    tiers = rows.state()["features"]["tiers"]
    assert tiers["device"]["bytes"] > 250_000 and tiers["file"]["bytes"] > 250_000
    assert rows.features.max_bytes == one.features.max_bytes == 300_000 + 2**22
    found, hit = stored(rows)
    assert torch.allclose(found, exact(rows)[torch.from_numpy(hit)], rtol=0.01, atol=0.01)
