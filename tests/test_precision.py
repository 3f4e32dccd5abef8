"""Precision and memory format: chosen by trial, on a copy."""

from __future__ import annotations

import pytest
import torch

from learndrop.errors import DamagedFile
from learndrop.networks import catalogue
from learndrop.networks.chain import Chain
from learndrop.networks.units import cut
from learndrop.training import precision
from learndrop.training.precision import Choice, choose

CPU = torch.device("cpu")
BATCH = torch.zeros(4, 3, 16, 16)


@pytest.fixture(scope="module")
def chain() -> Chain:
    return cut(catalogue.build("small-resnet10", 3), torch.zeros(1, 3, 16, 16))


def test_the_fastest_of_four_is_taken(chain: Chain) -> None:
    choice = choose(chain, BATCH, CPU)
    assert sorted(choice.timings) == [
        "bfloat16/channels_last",
        "bfloat16/contiguous",
        "float32/channels_last",
        "float32/contiguous",
    ]
    assert all(s > 0 for s in choice.timings.values())
    told = choice.to_json()
    fastest = min(choice.timings, key=lambda names: choice.timings[names])
    assert f"{told['dtype']}/{told['memory_format']}" == fastest


def test_the_measurement_decides(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(trial: Chain, x: torch.Tensor, dtype: torch.dtype) -> float:
        last = x.is_contiguous(memory_format=torch.channels_last)
        weights = next(trial.parameters()).is_contiguous(memory_format=torch.channels_last)
        assert last == weights
        return 0.001 if dtype == torch.float32 and last else 0.002

    monkeypatch.setattr(precision, "_step", told)
    choice = choose(chain, BATCH, CPU)
    assert (choice.dtype, choice.memory_format) == (torch.float32, torch.channels_last)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_what_the_settings_name_is_taken_without_a_trial(
    chain: Chain, dtype: precision.Precision, layout: precision.Layout
) -> None:
    choice = choose(chain, BATCH, CPU, dtype, layout)
    assert choice.dtype == precision.DTYPES[dtype]
    assert choice.memory_format == precision.LAYOUTS[layout]
    assert choice.timings == {}


def test_half_a_setting_leaves_half_a_trial(chain: Chain) -> None:
    choice = choose(chain, BATCH, CPU, "bfloat16")
    assert choice.dtype == torch.bfloat16
    assert sorted(choice.timings) == ["bfloat16/channels_last", "bfloat16/contiguous"]
    choice = choose(chain, BATCH, CPU, "auto", "contiguous")
    assert sorted(choice.timings) == ["bfloat16/contiguous", "float32/contiguous"]


def test_the_network_and_the_random_numbers_stay_as_they_were(chain: Chain) -> None:
    chain.train_from(2)
    before = {n: t.clone() for n, t in chain.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    choose(chain, BATCH, CPU)
    assert torch.equal(torch.rand(3), expected)
    state = chain.state_dict()
    assert all(torch.equal(before[n], t) for n, t in state.items())
    assert all(t.is_contiguous() for t in state.values())
    assert all(p.grad is None for p in chain.parameters())
    assert [u.module.training for u in chain.units] == [False] * 2 + [True] * 4


def test_a_dtype_that_the_device_cannot_do_is_passed_over(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = precision._step

    def step(trial: Chain, x: torch.Tensor, dtype: torch.dtype) -> float:
        if dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return real(trial, x, dtype)

    monkeypatch.setattr(precision, "_step", step)
    assert choose(chain, BATCH, CPU).dtype == torch.float32


def test_long_steps_are_tried_with_fewer_images(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def step(trial: Chain, x: torch.Tensor, dtype: torch.dtype) -> float:
        sizes.append(len(x))
        return len(x) * 1.0

    monkeypatch.setattr(precision, "_step", step)
    choose(chain, torch.zeros(64, 3, 16, 16), CPU)
    assert sizes.count(64) == 1 and sum(sizes) < 64 + 48  # seconds here: one for an image
    assert min(sizes) >= 2  # BatchNorm needs two


def test_what_is_hopeless_on_a_few_images_is_not_tried_on_more(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[torch.dtype, list[int]] = {torch.float32: [], torch.bfloat16: []}

    def step(trial: Chain, x: torch.Tensor, dtype: torch.dtype) -> float:
        sizes[dtype].append(len(x))
        return len(x) * (0.01 if dtype == torch.float32 else 0.2)

    monkeypatch.setattr(precision, "_step", step)
    choice = choose(chain, torch.zeros(32, 3, 16, 16), CPU)
    assert choice.dtype == torch.float32
    assert sizes[torch.bfloat16] == [2, 2] and max(sizes[torch.float32]) == 32
    assert choice.timings["bfloat16/contiguous"] == pytest.approx(32 * 0.2)  # scaled up


def test_a_choice_survives_a_restart() -> None:
    choice = Choice(torch.bfloat16, torch.channels_last, {"bfloat16/channels_last": 0.25})
    assert Choice.from_json(choice.to_json()) == choice
    for damaged in ({}, choice.to_json() | {"dtype": "float64"}):
        with pytest.raises(DamagedFile, match="no choice of precision"):
            Choice.from_json(damaged)


@pytest.mark.gpu
def test_a_gpu_measures_too(chain: Chain) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA")
    assert len(choose(chain, BATCH, torch.device("cuda")).timings) == 4
    assert next(chain.parameters()).device == CPU
