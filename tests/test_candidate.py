"""A second network that learns beside: begun at a warning, taken over only where it is better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from learndrop.drift.candidate import LIFE, Candidate, perturb
from learndrop.drift.watch import Verdict
from learndrop.errors import BadNetwork
from learndrop.learning import checkpoint, drifts
from learndrop.learning.growing import targets_of
from learndrop.learning.learner import Learner
from learndrop.learning.life import Recovery
from learndrop.networks.heads import begun_anew
from tests.learning import digits, learn, learned, quick_learner, quick_settings


def settled(**overrides: Any) -> Learner:
    """A learner that has learned a world and has dropped all but the head."""
    learner = learned(960, candidate=True, **overrides)
    learner.drop_to(5, "by hand")
    return learner


def beside(learner: Learner) -> Candidate | None:
    """Its candidate; asked so, mypy does not take it for what was assigned before."""
    return learner.candidate


def weights_of(learner: Learner) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in learner.chain.state_dict().items()}


def test_it_learns_beside_and_the_first_network_is_left_as_it_is() -> None:
    learner = settled()
    before = weights_of(learner)
    candidate = Candidate(learner.trainer, "warned")
    batch = next(digits("rotated90", length=32).batches(32))
    images = np.stack([s.image for s in batch])
    targets = targets_of(learner, [s.label for s in batch])
    for _ in range(20):
        candidate.learn(learner.floats(images), targets, np.zeros(32, bool), 0.05, 10)
    own, others, n = candidate.accuracies(32)
    assert (others, n) == (0.0, 32) and own > 0.9  # it knows them by heart
    assert all(torch.equal(before[n], t) for n, t in learner.chain.state_dict().items())
    assert len(candidate.trainer.trained) > len(learner.trainer.trained)  # all units


def test_a_warning_that_no_alarm_follows_ends_without_effect() -> None:
    learner = settled()
    learner.candidate = Candidate(learner.trainer, "warned")
    types = learn(learner, digits("clean", length=LIFE + 64, seed=1))
    assert beside(learner) is None
    assert "reset" not in types
    assert learner.ledger.totals()["by_kind"]["probe"] > 0  # and it was paid for


def test_a_candidate_that_is_better_at_the_verdict_takes_over() -> None:
    learner = settled()
    # begun long before the drift, it knows the new world already
    known = Candidate(learner.trainer, "warned")
    for batch in digits("rotated90", length=1500, seed=2).batches(32):
        images = np.stack([s.image for s in batch])
        targets = targets_of(learner, [s.label for s in batch])
        known.learn(learner.floats(images), targets, np.zeros(len(batch), bool), 0.05, 10)
    known.samples, known.own, known.others = 0, [], []
    learner.candidate = known
    learner.replay.new_world(since=learner.progress.samples)
    learn(learner, digits("rotated90", length=128))
    drifts.answer(learner, Verdict(onset=0, strengths=[9.0], accuracy_before=0.9))
    (reset,) = [e for e in learner.recent_events if e.type == "reset"]
    assert reset.detail["kind"] == "candidate"
    assert reset.depth == 0 and beside(learner) is None
    known_by_heart = learner.predict(images).argmax(1) == targets
    assert known_by_heart.mean() > 0.8


def test_where_a_reset_has_not_helped_a_perturbed_one_is_tried() -> None:
    learner = learned(1600, candidate=True, recovery_samples=LIFE)
    learner.recovery = Recovery(1.0, learner.progress.samples, kept=0, share=1.01)
    drifts.check_recovery(learner)
    assert learner.candidate is not None and learner.candidate.kind == "perturbed"
    before = learner.life.resets
    learn(learner, digits("clean", length=2 * LIFE, seed=1))
    assert beside(learner) is None
    assert learner.life.resets == before  # nothing was wrong: neither it nor a fresh one is better


def test_perturbed_weights_point_where_they_did() -> None:
    chain = quick_learner().chain
    before = {n: p.detach().clone() for n, p in chain.named_parameters()}
    perturb(chain, seed=1)
    for name, parameter in chain.named_parameters():
        if parameter.ndim < 2:
            assert torch.equal(parameter, before[name])
            continue
        a, b = parameter.detach().flatten(), before[name].flatten()
        assert torch.nn.functional.cosine_similarity(a, b, dim=0) > 0.99
        assert 0.55 < float(a.norm() / b.norm()) < 0.65


def silenced(learner: Learner) -> None:
    """Take every unit to where its activation gives nothing and passes no gradient back."""
    with torch.no_grad():
        for module in learner.chain.units[0].module.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.bias.fill_(-100.0)
                module.weight.fill_(0.01)


def test_where_units_answer_nothing_any_more_one_begins_afresh() -> None:
    learner = quick_learner(candidate=True, recovery_samples=512, earlier_worlds=0)
    learn(learner, digits("clean", length=960))
    silenced(learner)
    kinds = []
    for batch in digits("clean", length=2720, seed=1).batches(32):
        learner.learn(batch)
        kinds += [learner.candidate.kind] if learner.candidate else []
    resets = [e.detail["kind"] for e in learner.recent_events if e.type == "reset"]
    assert kinds.index("perturbed") < kinds.index("fresh")  # which could not mend it
    assert resets[-1] == "fresh" and beside(learner) is None
    assert learner.progress.newest_accuracy(256) > 0.6


def test_rows_that_came_since_begin_afresh_as_the_mean_of_the_first() -> None:
    first = {"w": torch.tensor([[1.0], [3.0]]), "b": torch.tensor([0.0, 4.0])}
    present = {"w": torch.full((3, 1), 9.0), "b": torch.full((3,), float("nan"))}
    begun = begun_anew(first, present)
    assert begun["w"].flatten().tolist() == [1.0, 3.0, 2.0]
    assert begun["b"].tolist() == [0.0, 4.0, 2.0]


def test_a_network_of_ones_own_begins_afresh_as_it_came() -> None:
    """Its first weights are kept, for there is no name to build it by."""
    settings = quick_settings(candidate=True, classes=("0", "1"))
    own = Learner(settings).chain
    came = {n: t.clone() for n, t in own.state_dict().items()}
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.add_(1.0)
    learner = Learner(settings, chain=own)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.zero_()
    kept = learner.first_weights()
    moved = {n for n, _ in own.named_parameters()}
    assert all(torch.equal(kept[n], t + 1 if n in moved else t) for n, t in came.items())
    with pytest.raises(BadNetwork, match="candidate"):
        Learner(quick_settings(), chain=own).first_weights()


def test_one_that_was_brought_back_begins_afresh_with_the_same_weights(tmp_path: Path) -> None:
    """They may be a file's: a learner is restored without reading it."""
    known = quick_learner(seed=5, classes=("0", "1")).chain.state_dict()
    save_file({n: t.contiguous() for n, t in known.items()}, tmp_path / "known.safetensors")
    own = {"weights": str(tmp_path / "known.safetensors"), "classes": ("0", "1")}
    learner = quick_learner(**own)
    learn(learner, digits("clean", length=64))
    checkpoint.save(learner, tmp_path / "kept", position="7-0", keep=1)
    found = checkpoint.load_latest(tmp_path / "kept", quick_settings(**own))
    assert found is not None
    begun = found[0].first_weights()
    assert all(torch.equal(t, begun[n]) for n, t in known.items())


def test_a_checkpoint_takes_it_along(tmp_path: Path) -> None:
    learner = settled()
    learner.candidate = Candidate(learner.trainer, "warned")
    learn(learner, digits("clean", length=128, seed=1))
    checkpoint.save(learner, tmp_path, position="7-0", keep=1)
    found = checkpoint.load_latest(tmp_path, quick_settings(candidate=True))
    assert found is not None and found[0].candidate is not None
    ahead = digits("clean", length=128, seed=2)
    assert learn(found[0], ahead) == learn(learner, ahead)
    assert learner.candidate is not None
    assert found[0].candidate.to_json() == learner.candidate.to_json()
    theirs = learner.candidate.tensors()
    assert all(torch.equal(t, theirs[n]) for n, t in found[0].candidate.tensors().items())
