"""The learner on real digits: it learns, drops physically, notices, brings back, drops again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learndrop.drift.watch import Verdict
from learndrop.errors import NotLearnedYet
from learndrop.learning.learner import Learner
from learndrop.stream.messages import Sample
from tests.learning import digits, learn, learned, quick_learner


def dropped(depth: int = 4, **overrides: object) -> Learner:
    """A learner with some digits learned and `depth` units dropped by hand."""
    learner = quick_learner(drop=False, **overrides)
    learn(learner, digits("clean", length=320))
    learner.drop_to(depth, "by hand")
    return learner


@pytest.fixture(scope="module")
def two_worlds() -> tuple[Learner, list[str]]:
    learner = quick_learner()
    return learner, learn(learner, digits("clean", "rotated90", length=4500))


def test_learns_drops_notices_brings_back_and_drops_again(
    two_worlds: tuple[Learner, list[str]],
) -> None:
    learner, types = two_worlds
    drift = types.index("drift")
    assert "drop" in types[:drift]
    assert "reset" in types[drift:]
    assert "drop" in types[types.index("reset", drift) :]
    assert learner.progress.newest_accuracy(256) > 0.8
    assert learner.ledger.totals()["saved_ratio"] > 0


def test_state_accounts_for_every_unit(two_worlds: tuple[Learner, list[str]]) -> None:
    state = two_worlds[0].state()
    units = state["drop"]["units"]
    assert len(units) == state["drop"]["total"]
    assert state["drop"]["depth"] == sum(u["state"] == "dropped" for u in units)
    assert all(u["why"] for u in units)
    assert sum(u["flops_share"] for u in units) == pytest.approx(1.0)
    assert state["samples_learned"] == 9000


def test_dropped_units_are_out_of_the_optimizer_and_never_change() -> None:
    learner = dropped(4)
    before = {
        n: t.clone() for u in learner.chain.units[:4] for n, t in u.module.state_dict().items()
    }
    learn(learner, digits("clean", length=640, seed=1))
    inside = {id(p) for p in learner.trainer.optimizer.parameters}
    for unit in learner.chain.units[:4]:
        assert not {id(p) for p in unit.module.parameters()} & inside
        assert all(p.grad is None for p in unit.module.parameters())
        for name, tensor in unit.module.state_dict().items():  # BatchNorm's statistics too
            assert torch.equal(tensor, before[name])


def test_dropped_units_are_not_called_in_a_step() -> None:
    learner = dropped(4)
    calls = []
    for unit in learner.chain.units[:4]:
        unit.module.register_forward_hook(lambda *_: calls.append(1))
    maps = torch.randn(8, *learner.chain.units[3].out_shape, device=learner.device)
    targets = torch.zeros(8, dtype=torch.int64, device=learner.device)
    learner.trainer.step(maps, targets, 0.01)
    assert calls == []


def test_replays_of_a_dropped_learner_come_from_stored_maps() -> None:
    learner = dropped(4, replays="1")
    learn(learner, digits("clean", length=640, seed=1))
    assert learner.features.hits > 300
    assert learner.features.misses < learner.features.hits
    assert learner.features.nbytes <= learner.settings.feature_bytes


def test_after_a_drop_the_rest_steps_as_plain_sgd_on_the_same_maps() -> None:
    learner = dropped(4, weight_decay=0.0, momentum=0.0, clip_norm=1e9)
    maps = torch.randn(8, *learner.chain.units[3].out_shape, device=learner.device)
    targets = torch.arange(8, device=learner.device) % 10
    learner.chain.train_from(4)
    loss = torch.nn.functional.cross_entropy(learner.chain.tail(maps, 4), targets)
    wanted = [
        p.detach() - 0.01 * g
        for p, g in zip(
            learner.chain.parameters(4),
            torch.autograd.grad(loss, list(learner.chain.parameters(4))),
            strict=True,
        )
    ]
    learner.trainer.step(maps, targets, 0.01)
    for parameter, value in zip(learner.chain.parameters(4), wanted, strict=True):
        assert torch.allclose(parameter, value, atol=1e-6)


def test_returning_units_bring_exactly_the_weights_they_left_with() -> None:
    learner = dropped(4)
    before = {
        n: t.clone() for u in learner.chain.units[:4] for n, t in u.module.state_dict().items()
    }
    learner.trainer.move_cut(0, fresh=True)
    after = {n: t for u in learner.chain.units[:4] for n, t in u.module.state_dict().items()}
    assert all(torch.equal(t, after[n]) for n, t in before.items())
    trained = {id(p) for p in learner.trainer.optimizer.parameters}
    assert {id(p) for p in learner.chain.parameters()} == trained


def test_new_names_for_the_classes_move_the_rows_of_the_head_and_leave_the_prefix_dropped() -> None:
    learner = learned(2400, recovery_samples=100_000)
    depth, before = learner.trainer.cut, learner.progress.newest_accuracy(256)
    assert depth > 0
    learn(learner, digits("permuted", length=1600, seed=0))
    reset = next(e for e in learner.recent_events if e.type == "reset")
    assert reset.depth >= depth and "labels changed" in reset.cause
    assert len(reset.detail["renamed"]) >= 8
    assert learner.progress.newest_accuracy(256) > before - 0.05


def test_a_new_label_grows_the_head_and_keeps_what_was_known() -> None:
    learner = dropped(2)
    images = digits("clean", length=64).images[:8]
    before = learner.predict(images)
    known = before.shape[1]
    report = learner.learn([Sample(images[0], "a new one")] * 2, train=False)
    assert [e.type for e in report.events] == ["grow"]
    after = learner.predict(images)
    assert after.shape[1] == known + 1
    assert (after[:, :known].argmax(1) == before.argmax(1)).all()


def test_no_answer_before_the_first_label() -> None:
    with pytest.raises(NotLearnedYet):
        quick_learner().predict(np.zeros((1, 16, 16, 3), np.uint8))


def test_the_answer_counts_before_the_sample_is_learned() -> None:
    learner = quick_learner()
    batch = next(digits("clean", length=32).batches(32))
    first = learner.learn(batch)
    assert first.correct <= 16  # random weights
    for _ in range(30):
        learner.learn(batch)
    assert learner.learn(batch).correct > 28


def test_one_sample_at_a_time_is_learned_with_batchnorm() -> None:
    learner = quick_learner(replays="0")
    for sample in next(digits("clean", length=8).batches(8)):
        assert np.isfinite(learner.learn([sample]).loss)


@pytest.mark.parametrize("feature_bytes", [0, 100])
def test_a_budget_under_one_feature_map_drops_nothing_and_learns_on(feature_bytes: int) -> None:
    learner = quick_learner(feature_bytes=feature_bytes)
    types = learn(learner, digits("clean", length=1920))  # with room it drops after 1,664
    assert "drop" not in types
    assert learner.progress.newest_accuracy(256) > 0.8


def test_dropping_can_be_switched_off() -> None:
    learner = quick_learner(drop=False)
    assert "freeze" not in learn(learner, digits("clean", length=1920))
    assert learner.trainer.cut == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
def test_learns_and_drops_on_cuda() -> None:
    learner = quick_learner(device="cuda", precision="auto", memory_format="auto")
    types = learn(learner, digits("clean", "rotated90", length=4500))
    assert "drop" in types and "drift" in types
    assert learner.progress.newest_accuracy(256) > 0.8


def test_maps_of_the_batch_of_a_reset_are_those_of_the_statistics_that_came_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = dropped(3)
    batch = next(digits("inverted", length=32).batches(32))
    ids = np.arange(learner.progress.samples, learner.progress.samples + 32)
    learner.replay.new_world(since=0)  # enough of it to take statistics from
    verdict = Verdict(onset=0, strengths=[9.0], accuracy_before=0.1)
    monkeypatch.setattr(learner.watch, "update", lambda *_: verdict)
    (reset,) = [e for e in learner.learn(batch).events if e.type == "reset"]
    assert reset.detail["kind"] == "statistics" and learner.trainer.cut == 3  # nothing came back
    stored, hit = learner.features.get(ids)
    assert hit.all()
    made = learner.trainer.prefix(learner.floats(np.stack([s.image for s in batch])))
    torch.testing.assert_close(stored, made, rtol=0.01, atol=0.01)


def test_what_dropping_saves_can_be_spent_on_replays() -> None:
    spent = {}
    for budget in ("seconds", "replays"):
        learner = dropped(5, budget=budget)
        before = learner.ledger.totals()["by_kind"]
        learn(learner, digits("clean", length=320, seed=1))
        after = learner.ledger.totals()["by_kind"]
        spent[budget] = sum(after[k] - before[k] for k in ("forward", "backward"))
        assert spent[budget] <= 320 * learner.ledger.step_cost(0)  # never over full training
    assert spent["replays"] > 2 * spent["seconds"]
