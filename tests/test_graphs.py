"""Work recorded as a CUDA graph gives what it gives when it is done; a CPU records nothing."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learndrop.features.codecs import Bf16
from learndrop.features.store import FeatureStore
from learndrop.features.tiers import FileTier, MemoryTier
from learndrop.networks.by_hand import by_hand
from learndrop.networks.transfer import to_device
from learndrop.training.graphs import AFTER, MOST, Graphs
from learndrop.training.precision import Choice
from learndrop.training.trainer import Trainer
from learndrop.training.updates import Step
from tests.learning import quick_settings

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")


class Doubling:
    """Counts how often Python does the work."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        self.done += 1
        return (2 * x,)


@pytest.fixture
def exactly() -> Iterator[None]:
    """Kernels that give the same sums in the same order each time."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


def test_a_cpu_does_the_work_each_time() -> None:
    work = Doubling()
    graphs = Graphs(work, CPU, wanted=True)
    for i in range(AFTER + 3):
        assert graphs(torch.full((2,), float(i)))[0].tolist() == [2.0 * i] * 2
    assert work.done == AFTER + 3 and len(graphs) == 0


def test_an_array_reaches_the_cpu_without_a_copy() -> None:
    array = np.zeros(3, np.int64)
    to_device(array, CPU)[0] = 7
    assert array[0] == 7


@gpu
@needs_cuda
def test_a_shape_that_comes_often_is_recorded_and_others_are_done() -> None:
    work = Doubling()
    graphs = Graphs(work, CUDA, wanted=True)
    for i in range(AFTER + 5):
        assert graphs(torch.full((2,), float(i), device=CUDA))[0].tolist() == [2.0 * i] * 2
    assert len(graphs) == 1 and work.done == AFTER + 1  # the last time to record it
    assert graphs(torch.ones(3, device=CUDA))[0].tolist() == [2.0] * 3
    assert len(graphs) == 1 and work.done == AFTER + 2
    graphs.forget()
    graphs(torch.ones(2, device=CUDA))
    assert len(graphs) == 0 and work.done == AFTER + 3


@gpu
@needs_cuda
def test_recordings_are_few() -> None:
    graphs = Graphs(Doubling(), CUDA, wanted=True)
    for size in range(1, MOST + 4):
        for _ in range(AFTER + 2):
            graphs(torch.ones(size, device=CUDA))
    assert len(graphs) == MOST


@gpu
@needs_cuda
def test_not_wanted_is_not_recorded() -> None:
    graphs = Graphs(Doubling(), CUDA, wanted=False)
    for _ in range(AFTER + 2):
        graphs(torch.ones(2, device=CUDA))
    assert len(graphs) == 0


@gpu
@needs_cuda
def test_work_that_reads_back_is_done_as_it_is_and_draws_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work(x: Tensor) -> Sequence[Tensor]:
        noisy = nn.functional.dropout(x, 0.5)
        return (noisy * (2.0 if float(noisy.sum()) >= 0 else 3.0),)

    graphs = Graphs(work, CUDA, wanted=True)
    x = torch.ones(64, device=CUDA)
    with caplog.at_level(logging.WARNING):
        for _ in range(AFTER + 4):
            assert set(graphs(x)[0].tolist()) <= {0.0, 4.0}
    assert len(graphs) == 0
    assert sum("given up" in r.message for r in caplog.records) == 1
    assert float(torch.rand(1, device=CUDA)) < 1.0  # the generator is whole


def trainer_of(*, recorded: bool, classes: int = 10) -> Trainer:
    """A network with BatchNorm and dropout, on the GPU."""
    torch.manual_seed(0)
    blocks = [
        nn.Sequential(nn.Conv2d(a, b, 3, stride=2), nn.BatchNorm2d(b), nn.ReLU(), nn.Dropout(0.2))
        for a, b in ((3, 8), (8, 8), (8, 16))
    ]
    model = nn.Sequential(*blocks, nn.Sequential(nn.Flatten(), nn.Linear(16, classes))).eval()
    chain = by_hand(model, [str(n) for n in range(len(model))], torch.zeros(1, 3, 16, 16))
    settings = quick_settings(cuda_graphs=recorded)
    choice = Choice(torch.float32, torch.contiguous_format)
    return Trainer(copy.deepcopy(chain), settings, CUDA, choice)


def batches(n: int, sizes: Sequence[int] = (16,)) -> Iterator[tuple[Tensor, Tensor]]:
    draws = torch.Generator().manual_seed(1)
    for i in range(n):
        size = sizes[i % len(sizes)]
        x = torch.randn(size, 3, 16, 16, generator=draws)
        yield x.to(CUDA), torch.randint(0, 10, (size,), generator=draws).to(CUDA)


def left_by(trainer: Trainer) -> dict[str, Tensor]:
    """What steps leave behind: weights, statistics, means, and the last one's gradients."""
    named = trainer.chain.named_parameters()
    return {
        **{f"weights {n}": t for n, t in trainer.chain.state_dict().items()},
        **{f"means {n}": t for n, t in trainer.averages.tensors().items()},
        **{f"gradients {n}": p.grad for n, p in named if p.grad is not None},
    }


def moving_cuts(trainer: Trainer, sizes: Sequence[int]) -> Iterator[Step]:
    for i, (x, targets) in enumerate(batches(40, sizes)):
        if i == 14:
            trainer.move_cut(2)
        if i == 28:
            trainer.move_cut(1, fresh=True)
        maps, _, _ = trainer.test(x, watch=True)
        yield trainer.step(maps, targets, 0.05 / (i + 1))


def an_odd_shape_before_the_last(trainer: Trainer) -> Iterator[Step]:
    for x, targets in (*batches(AFTER + 2), *batches(2, (8, 16))):
        yield trainer.step(x, targets, 0.05)


def shallow_ones_between(trainer: Trainer) -> Iterator[Step]:
    for i, (x, targets) in enumerate(batches(2 * AFTER + 4)):
        yield trainer.step(x, targets, 0.05)
        if i > AFTER:
            yield trainer.step(trainer.run(x, 0, 2), targets, 0.05, start=2)


def every_other_of_few_classes(trainer: Trainer) -> Iterator[Step]:
    for i, (x, targets) in enumerate(batches(4 * AFTER + 8)):
        few = i % 2 == 1
        shares = torch.linspace(-3, -1, 10, device=CUDA) - i if few else None
        yield trainer.step(x, targets, 0.05, norms=not few, log_shares=shares)


@gpu
@needs_cuda
@pytest.mark.parametrize(
    ("steps", "recordings"),
    [
        pytest.param(partial(moving_cuts, sizes=(16,)), 1, id="cuts"),
        pytest.param(partial(moving_cuts, sizes=(16, 8)), 2, id="cuts, two shapes"),
        pytest.param(partial(moving_cuts, sizes=(16, 1)), 2, id="cuts, batches of one"),
        pytest.param(an_odd_shape_before_the_last, 1, id="an odd shape"),
        pytest.param(shallow_ones_between, 1, id="shallow"),
        pytest.param(every_other_of_few_classes, 2, id="few classes have recordings of their own"),
    ],
)
def test_recorded_steps_are_the_same_to_the_last_bit(
    exactly: None, steps: Callable[[Trainer], Iterator[Step]], recordings: int
) -> None:
    losses: list[list[float]] = []
    tensors: list[dict[str, Tensor]] = []
    for recorded in (False, True):
        trainer = trainer_of(recorded=recorded)
        torch.manual_seed(2)
        taken = list(steps(trainer))
        assert all(bool(step.taken) for step in taken)
        losses.append([float(step.loss) for step in taken])
        tensors.append(left_by(trainer))
        assert len(trainer.updates.recorded) == recordings * recorded
    assert losses[0] == losses[1]
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(t, tensors[1][n]) for n, t in tensors[0].items())


@gpu
@needs_cuda
def test_what_a_step_gave_stays_when_the_next_is_made() -> None:
    trainer = trainer_of(recorded=True)
    steps = [trainer.step(x, targets, 0.05) for x, targets in batches(AFTER + 4)]
    assert len(trainer.updates.recorded) == 1
    assert len({float(s.loss) for s in steps}) == len(steps)
    assert all(bool(s.taken) and s.right.shape == (16,) for s in steps)


@gpu
@needs_cuda
def test_a_recorded_step_that_is_no_number_moves_no_weight() -> None:
    trainer = trainer_of(recorded=True)
    for x, targets in batches(AFTER + 2):
        trainer.step(x, targets, 0.05)
    assert len(trainer.updates.recorded) == 1
    before = {n: p.detach().clone() for n, p in trainer.chain.named_parameters()}
    step = trainer.step(torch.full_like(x, float("nan")), targets, 0.05)
    assert not step.taken
    assert all(torch.equal(p, before[n]) for n, p in trainer.chain.named_parameters())


@gpu
@needs_cuda
def test_a_head_that_grows_is_answered_by() -> None:
    trainer = trainer_of(recorded=True)
    x, _ = next(batches(1))
    for _ in range(AFTER + 2):
        assert trainer.test(x, watch=True)[1].shape == (16, 10)
    trainer.grow(12)
    maps, logits, outputs = trainer.test(x, watch=True)
    assert logits.shape == (16, 12) and len(outputs) == len(trainer.chain)
    torch.testing.assert_close(logits, trainer.test(x)[1])


@gpu
@needs_cuda
def test_maps_come_back_from_every_tier_to_the_gpu(tmp_path: Path) -> None:
    shape = (8, 4, 4)
    row = 2 * 128
    tiers = [
        MemoryTier("device", 8 * row, CUDA),
        MemoryTier("host", 8 * row, CPU, pinned=True),
        FileTier(8 * row, tmp_path),
    ]
    store = FeatureStore(tiers, 24, CUDA)
    store.open(1, "hash", Bf16(shape))
    maps = torch.randn(24, *shape, device=CUDA).bfloat16().float()
    for start in range(0, 24, 6):
        store.put(np.arange(start, start + 6), maps[start : start + 6])
    assert [t.nbytes for t in tiers] == [8 * row] * 3
    wanted = np.random.default_rng(0).permutation(24)
    found, hit = store.get(wanted)
    assert hit.all() and found.is_cuda
    assert torch.equal(found, maps[torch.from_numpy(wanted).to(CUDA)])
