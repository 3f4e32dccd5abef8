"""A training step: nothing is read back from the device, and compiled it gives the same."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from learndrop.learning.learner import Learner
from learndrop.networks import heads
from learndrop.networks.by_hand import by_hand
from learndrop.networks.chain import Chain
from learndrop.training.graphs import AFTER
from tests.learning import digits, quick_learner, quick_settings

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
MAPS = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0)).to(DEVICE)
TARGETS = torch.arange(16, device=DEVICE) % 10


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch's has no types
    """Notes every value that is read back from the device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # the same
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def tiny_chain() -> Chain:
    """Four units: small ones, since each kernel of each takes the compiler seconds."""
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, stride=2), nn.ReLU()) for a, b in ((3, 4), (4, 4), (4, 8))
    ]
    head = nn.Sequential(nn.Flatten(), nn.Linear(8, 10))
    model = nn.Sequential(*blocks, head).eval()
    return by_hand(model, [str(n) for n in range(len(model))], torch.zeros(1, 3, 16, 16))


def test_a_step_reads_nothing_back_until_it_is_asked() -> None:
    trainer = quick_learner(classes=tuple("0123456789")).trainer
    with Reads() as reads:
        step = trainer.step(MAPS, TARGETS, 0.01)
        assert reads.seen == []
        float(step.loss)
        assert len(reads.seen) == 1  # the test can fail


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("recorded", [False, True])
def test_a_step_on_cuda_never_waits_for_the_device(recorded: bool) -> None:
    learner = quick_learner(classes=tuple("0123456789"), device="cuda", cuda_graphs=recorded)
    maps, targets = MAPS, TARGETS
    for _ in range(AFTER + 1):
        learner.trainer.step(maps, targets, 0.01)
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            learner.trainer.step(maps, targets, 0.01)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize("cut", [0, 3])
def test_a_batch_on_cuda_waits_for_answers_statistics_and_loss(cut: int) -> None:
    learner = quick_learner(classes=tuple("0123456789"), device="cuda", drop=False, window=50)
    learner.drop_to(cut, "by hand")
    batches = list(digits("clean", length=32 * 16).batches(32))
    for batch in batches[:15]:
        learner.learn(batch)
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            learner.learn(batches[15])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in waits if "synchronizing" in str(w.message)]) <= 3, waits


def test_a_step_of_few_classes_reads_nothing_back_either() -> None:
    trainer = quick_learner(classes=tuple("0123456789")).trainer
    told = torch.full((10,), -2.3, device=DEVICE)
    trainer.step(MAPS, TARGETS, 0.01, norms=False, log_shares=told)
    with Reads() as reads:
        trainer.step(MAPS, TARGETS, 0.01, norms=False, log_shares=told)
    assert reads.seen == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_step_that_is_no_number_moves_no_weight_and_no_momentum(value: float) -> None:
    trainer = quick_learner(classes=tuple("0123456789")).trainer
    trainer.step(MAPS, TARGETS, 0.01)
    weights = {n: p.detach().clone() for n, p in trainer.chain.named_parameters()}
    momentum = {n: t.clone() for n, t in trainer.optimizer.momentum().items()}
    step = trainer.step(torch.full_like(MAPS, value), TARGETS, 0.01)
    assert not step.taken
    assert all(torch.equal(p, weights[n]) for n, p in trainer.chain.named_parameters())
    assert all(torch.equal(t, momentum[n]) for n, t in trainer.optimizer.momentum().items())


@pytest.mark.filterwarnings("default")
def test_a_compiled_step_gives_the_same_and_is_built_anew_for_each_cut(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    # which vector instructions the compiler has, torch would find out by compiling for each
    monkeypatch.setattr("torch._inductor.config.cpp.vec_isa_ok", False)
    plain, compiled = (
        Learner(quick_settings(classes=tuple("0123456789"), compile=c), chain=tiny_chain()).trainer
        for c in (False, True)
    )
    last = len(plain.chain) - 1
    for cut in (last, last - 1):
        maps = torch.randn(16, *plain.chain.units[cut - 1].out_shape, device=DEVICE)
        tails = []
        for trainer in (plain, compiled):
            trainer.move_cut(cut)
            tails.append(trainer.updates.tail)
            for _ in range(3):
                step = trainer.step(maps, TARGETS, 0.01)
        assert compiled.updates.tail is tails[1] and tails[1].is_compiled  # no fall back
        other = plain.step(maps, TARGETS, 0.0).loss
        assert float(compiled.step(maps, TARGETS, 0.0).loss) == pytest.approx(float(other), 1e-4)
        assert step.taken
    # torch keeps its graphs as pickles, which others could write: none is kept, so none is read
    assert list(tmp_path.iterdir()) and not list(tmp_path.rglob("fxgraph"))


@pytest.mark.filterwarnings("default")
def test_where_compiling_fails_steps_go_on_plain_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing compiled before
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no-such-compiler",))
    # a GPU's kernels need no such compiler
    trainer = quick_learner(classes=tuple("0123456789"), compile=True, device="cpu").trainer
    trainer.move_cut(len(trainer.chain) - 2)
    maps = torch.randn(12, *trainer.chain.units[trainer.cut - 1].out_shape)
    targets = TARGETS[:12].cpu()
    with caplog.at_level(logging.WARNING):
        assert trainer.step(maps, targets, 0.01).taken
        assert trainer.step(maps, targets, 0.01).taken
    assert "compile is given up" in caplog.text and caplog.text.count("given up") == 1


def test_where_torch_compiles_nothing_at_all_steps_are_plain_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_here(module: nn.Module) -> None:
        raise RuntimeError("Dynamo is not supported on this Python")

    monkeypatch.setattr("torch.compile", none_here)
    with caplog.at_level(logging.WARNING):
        trainer = quick_learner(classes=tuple("0123456789"), compile=True, device="cpu").trainer
        trainer.move_cut(len(trainer.chain) - 2)
        maps = torch.randn(12, *trainer.chain.units[trainer.cut - 1].out_shape)
        assert trainer.step(maps, TARGETS[:12].cpu(), 0.01).taken
    assert "compile is given up" in caplog.text and "not supported on this Python" in caplog.text


def test_a_class_that_loses_its_row_is_as_a_new_one_and_no_two_have_the_same() -> None:
    trainer = quick_learner(classes=tuple("0123456789")).trainer
    layer = heads.head(trainer.chain.units[-1].module)[1]
    before = layer.weight.detach().clone()
    trainer.rename({1: 0, 3: 2, 2: 3})
    now = layer.weight.detach()
    assert torch.equal(now[1], before[0]) and torch.equal(now[2:4], before[[3, 2]])
    assert torch.equal(now[0], before.mean(0))
    assert torch.equal(now[4:], before[4:])
