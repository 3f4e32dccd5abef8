"""Location: an input change begins early, a change of labels nowhere."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from learndrop.drift.location import FEW, TRIAL, ActivationMonitor


def batch(scale: float = 1.0, late_shift: float = 0.0) -> list[torch.Tensor]:
    """An input and two units' outputs that follow from it."""
    x = scale * torch.randn(32, 3, 8, 8)
    first = torch.relu(x)
    return [x, first, first.mean((2, 3)) + late_shift]


def watched(quiet: int = 80) -> ActivationMonitor:
    torch.manual_seed(0)
    monitor = ActivationMonitor(3)
    for _ in range(quiet):
        monitor.update(batch())
    return monitor


def verdict(monitor: ActivationMonitor, **change: float) -> int | None:
    monitor.start_trial()
    while not monitor.trial_is_over:
        monitor.update(batch(**change))
    return monitor.onset()[0]


class Reads(TorchFunctionMode):
    """Notes every call that reads values back from the device, on the CPU too."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in {"cpu", "to", "item", "tolist", "__bool__", "__float__"}:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_a_batch_is_read_back_in_one_transfer_however_many_units_are_watched() -> None:
    monitor = watched()
    for trial in (False, True):
        if trial:
            monitor.start_trial()
        outputs = batch()
        with Reads() as reads:
            monitor.update(outputs)
        assert reads.seen == ["cpu"]


def test_what_is_read_back_is_each_units_means_exactly() -> None:
    torch.manual_seed(0)
    monitor = ActivationMonitor(3)
    outputs = batch()
    monitor.update(outputs)
    sums = monitor.to_json()["sums"]
    for output, (mean, square) in zip(outputs, sums, strict=True):
        seen = output[:16]
        dims = [0, 2, 3] if seen.ndim == 4 else [0]
        assert mean == seen.mean(dims).double().tolist()
        assert square == (seen * seen).mean(dims).double().tolist()


def test_a_changed_input_is_seen_from_the_input_on() -> None:
    assert verdict(watched(), scale=3.0) == 0


def trial_batches(monitor: ActivationMonitor, **change: float) -> int:
    monitor.start_trial()
    for n in range(1, 10):
        monitor.update(batch(**change))
        if monitor.trial_is_over:
            return n
    raise AssertionError("no verdict")


def test_pictures_that_are_plainly_others_are_told_by_one_batch() -> None:
    assert trial_batches(watched(), scale=3.0) == 1


def test_what_lies_deeper_or_is_less_plain_takes_the_whole_trial() -> None:
    assert trial_batches(watched(), late_shift=200.0) == TRIAL
    assert trial_batches(watched(), scale=1.05) == TRIAL
    assert trial_batches(watched()) == TRIAL


def test_a_few_samples_tell_nothing_however_different() -> None:
    monitor = watched()
    monitor.start_trial()
    monitor.update([o[: FEW - 1] for o in batch(scale=3.0)])
    assert not monitor.trial_is_over
    monitor.update([o[:1] for o in batch(scale=3.0)])
    assert monitor.trial_is_over


def test_a_change_inside_is_seen_where_it_begins() -> None:
    assert verdict(watched(), late_shift=2.0) == 2


def test_when_only_labels_change_nothing_stands_out() -> None:
    for _ in range(5):
        assert verdict(watched()) is None


def test_a_trial_without_a_past_gives_no_verdict() -> None:
    monitor = ActivationMonitor(3)
    assert verdict(monitor, scale=9.0) is None


def test_what_was_being_read_when_the_alarm_came_is_not_the_past() -> None:
    monitor = watched()
    for _ in range(5):
        monitor.update(batch(scale=3.0))  # the new world, before the alarm
    assert verdict(monitor, scale=3.0) == 0


def test_a_trial_of_small_batches_waits_for_enough_samples() -> None:
    monitor = watched()
    monitor.start_trial()
    looked = 0
    while not monitor.trial_is_over:
        monitor.update([o[:2] for o in batch()])
        looked += 2
    assert looked == 128


def test_after_the_verdict_the_new_world_is_normal() -> None:
    monitor = watched()
    verdict(monitor, scale=3.0)
    for _ in range(80):
        monitor.update(batch(scale=3.0))
    assert verdict(monitor, scale=3.0) is None


def test_goes_on_identically_after_save_and_load() -> None:
    one, other = watched(45), ActivationMonitor(3)
    other.load_json(json.loads(json.dumps(one.to_json())))
    outputs = [batch(scale=2.0) for _ in range(4)]
    found = []
    for monitor in (one, other):
        monitor.start_trial()
        for o in outputs:
            monitor.update(o)
        found.append(monitor.onset())
    assert found[0] == found[1]
