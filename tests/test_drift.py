"""Drift: noticed once, not twice; getting better is none."""

from __future__ import annotations

import json

import numpy as np

from learndrop.drift.detector import DriftDetector


def errors(rate: float, n: int, seed: int = 0) -> list[bool]:
    return [bool(e) for e in np.random.default_rng(seed).random(n) < rate]


def alarms(detector: DriftDetector, stream: list[bool], reset: bool = True) -> list[int]:
    found = []
    for i, wrong in enumerate(stream):
        detector.update(wrong)
        if detector.drift_detected:
            found.append(i)
            if reset:
                detector.reset()
    return found


def test_a_rise_of_the_error_is_noticed_soon_and_once() -> None:
    found = alarms(DriftDetector(0.002, 512), errors(0.2, 3000) + errors(0.7, 3000, 1))
    assert len(found) == 1
    assert 3000 < found[0] < 3300


def test_a_quiet_stream_raises_no_alarm() -> None:
    assert alarms(DriftDetector(0.002, 512), errors(0.3, 30_000)) == []


def test_getting_better_is_no_drift() -> None:
    assert alarms(DriftDetector(0.002, 512), errors(0.8, 3000) + errors(0.2, 3000, 1)) == []


def test_a_drift_is_noticed_whenever_it_comes_while_the_error_falls() -> None:
    """Each time the fall is seen, the worse part of the window goes; the better one stays."""
    rates = (0.4, 0.2, 0.15, 0.1, 0.07)
    falling = [w for i, rate in enumerate(rates) for w in errors(rate, 600, i)]
    risen = errors(0.6, 600, 9)
    missed = []
    for at in range(800, len(falling), 10):
        detector = DriftDetector(0.002, 512)
        assert alarms(detector, falling[:at]) == []
        found = alarms(detector, risen)
        if len(found) != 1 or found[0] > 200:
            missed.append(at)
    assert missed == []


def test_no_second_alarm_in_the_cool_down() -> None:
    stream = errors(0.1, 1000) + errors(0.5, 300, 1) + errors(0.9, 300, 2)
    found = alarms(DriftDetector(0.002, 2000), errors(0.1, 2000) + stream)
    assert len(found) <= 1


def test_a_rise_in_the_cool_down_that_lasts_is_told_at_its_end() -> None:
    found = alarms(DriftDetector(0.002, 512), errors(0.1, 300) + errors(0.5, 1000, 1))
    assert found == [512]  # the first sample behind it


def test_a_rise_in_the_cool_down_that_passes_is_none() -> None:
    passing = errors(0.1, 200) + errors(0.6, 60, 1)
    assert alarms(DriftDetector(0.002, 512), passing + errors(0.1, 2000, 2)) == []


def test_what_rose_in_the_cool_down_is_known_after_save_and_load() -> None:
    one, other = DriftDetector(0.002, 512), DriftDetector(0.002, 512)
    alarms(one, errors(0.1, 300) + errors(0.5, 150, 1))
    other.load_json(json.loads(json.dumps(one.to_json())))
    later = errors(0.5, 200, 2)
    assert alarms(one, later) == alarms(other, later) != []
    assert (one.before, one.after) == (other.before, other.after)


def test_says_how_the_error_rose_and_since_when() -> None:
    detector = DriftDetector(0.002, 512)
    for wrong in errors(0.2, 3000) + errors(0.7, 3000, 1):
        detector.update(wrong)
        if detector.drift_detected:
            break
    assert detector.before < detector.after
    assert 0 < detector.width < detector.seen


def test_goes_on_identically_after_save_and_load() -> None:
    stream = errors(0.2, 1500)
    one, other = DriftDetector(0.002, 512), DriftDetector(0.002, 512)
    alarms(one, stream)
    other.load_json(json.loads(json.dumps(one.to_json())))
    later = errors(0.2, 500, 3) + errors(0.6, 1000, 4)
    assert alarms(one, later) == alarms(other, later) != []
