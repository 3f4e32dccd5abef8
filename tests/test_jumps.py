"""Pictures that are plainly others: told by one batch, in a cool-down too, and never by noise."""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray

from learndrop.drift.jumps import LEAST, STAYS, Jumps
from learndrop.drift.watch import Alarm, Verdict, Watch


class Camera:
    """Batches of pictures of its own brightness and contrast."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)

    def pictures(self, mean: float = 0.0, spread: float = 1.0, n: int = 32) -> torch.Tensor:
        scene = self.rng.normal(0, 0.5, (n, 3, 1, 1))  # pictures differ more than their places
        pixels = scene + self.rng.normal(0, 1, (n, 3, 8, 8))
        return torch.from_numpy((mean + spread * pixels).astype(np.float32))

    def statistics(self, mean: float = 0.0, spread: float = 1.0) -> NDArray[np.float64]:
        x = self.pictures(mean, spread).double().numpy()
        return np.stack([x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))])


def quiet(batches: int = 80, seed: int = 0) -> tuple[Jumps, Camera]:
    jumps, camera = Jumps(), Camera(seed)
    assert not any(jumps.look(camera.statistics()) for _ in range(batches))
    return jumps, camera


def test_other_contrast_brightness_and_an_inversion_are_told_by_one_batch() -> None:
    for change in ({"spread": 0.3}, {"mean": 1.5}, {"mean": -1.5, "spread": 2.0}):
        jumps, camera = quiet()
        assert jumps.look(camera.statistics(**change)), change


def test_noise_is_never_told() -> None:
    for seed in range(5):
        quiet(2000, seed)


def test_a_small_change_is_left_to_the_error() -> None:
    jumps, camera = quiet()
    assert not jumps.look(camera.statistics(spread=1.05))


def test_two_cameras_that_take_turns_are_usual() -> None:
    jumps, camera = Jumps(), Camera()
    told = [jumps.look(camera.statistics(mean=1.5 * (i % 2))) for i in range(200)]
    assert not any(told)


def test_a_few_batches_are_compared_with_nothing() -> None:
    jumps, camera = quiet(LEAST)
    assert not jumps.look(camera.statistics(spread=0.3))


def test_what_stays_is_usual_in_the_end_and_what_comes_back_a_jump_again() -> None:
    jumps, camera = quiet()
    told = [jumps.look(camera.statistics(mean=3.0)) for _ in range(STAYS + 60)]
    assert told == [True] * STAYS + [False] * 60
    assert jumps.look(camera.statistics())


def test_pictures_that_are_all_alike_are_not_compared_to_the_last_bit() -> None:
    jumps = Jumps()
    same = np.full((2, 3), 1.0)
    assert not any(jumps.look(same) for _ in range(60))
    assert not jumps.look(same + np.array([[0.0], [1e-9]]))


def test_goes_on_identically_after_save_and_load() -> None:
    jumps, camera = quiet(30)
    jumps.look(camera.statistics(mean=3.0))
    other = Jumps()
    other.load_json(json.loads(json.dumps(jumps.to_json())))
    for i in range(80):
        now = camera.statistics(mean=3.0 * (i > 40))
        assert jumps.look(now) == other.look(now)
    assert jumps.to_json() == other.to_json()


# -- the watch ------------------------------------------------------------------------------


def watched(cooldown: int = 10_000) -> tuple[Watch, Camera]:
    """A watch in its cool-down, to which one answer in five is wrong."""
    watch, camera = Watch(1, delta=0.002, cooldown=cooldown), Camera()
    for _ in range(60):
        assert told(watch, camera.pictures(), wrong=0.2) is None
    return watch, camera


def told(watch: Watch, pictures: torch.Tensor, *, wrong: float) -> object:
    n = len(pictures)
    right = np.arange(n) >= round(wrong * n)
    watch.look([pictures])
    return watch.update(right.tolist(), np.arange(n) % 4, np.arange(n) % 4)


def test_one_batch_of_other_pictures_answered_worse_is_an_alarm_in_a_cool_down_too() -> None:
    watch, camera = watched()
    alarm = told(watch, camera.pictures(spread=0.3), wrong=0.8)
    assert isinstance(alarm, Alarm) and alarm.samples == 32
    assert alarm.before < 0.3 and alarm.after > 0.7
    verdict = told(watch, camera.pictures(spread=0.3), wrong=0.8)  # one more batch is enough
    assert isinstance(verdict, Verdict) and verdict.onset == 0 and verdict.renames == {}


def test_other_pictures_are_told_as_such_soon_after_a_change_of_labels_as_well() -> None:
    watch, camera = watched(cooldown=100)
    verdicts = [told(watch, camera.pictures(), wrong=0.8) for _ in range(10)]
    (verdict,) = (v for v in verdicts if isinstance(v, Verdict))
    assert verdict.onset is None  # the pictures are as before
    for _ in range(3):
        told(watch, camera.pictures(), wrong=0.2)
    assert isinstance(told(watch, camera.pictures(spread=0.3), wrong=0.8), Alarm)
    later = told(watch, camera.pictures(spread=0.3), wrong=0.8)
    assert isinstance(later, Verdict) and later.onset == 0


def test_other_pictures_that_are_answered_as_well_are_none() -> None:
    watch, camera = watched()
    for _ in range(STAYS + 5):
        assert told(watch, camera.pictures(spread=0.3), wrong=0.2) is None


def test_worse_answers_to_the_same_pictures_wait_for_the_cool_down() -> None:
    watch, camera = watched()
    assert all(told(watch, camera.pictures(), wrong=0.8) is None for _ in range(20))


def test_a_few_other_pictures_wait_for_more() -> None:
    watch, camera = watched()
    for _ in range(3):
        assert told(watch, camera.pictures(spread=0.3, n=8), wrong=0.8) is None
    assert isinstance(told(watch, camera.pictures(spread=0.3, n=8), wrong=0.8), Alarm)


def test_a_watch_goes_on_identically_after_save_and_load() -> None:
    watch, camera = watched()
    assert told(watch, camera.pictures(spread=0.3, n=16), wrong=0.8) is None
    other = Watch(1, delta=0.002, cooldown=10_000)
    other.load_json(json.loads(json.dumps(watch.to_json())))
    pictures = camera.pictures(spread=0.3, n=16)
    assert isinstance(told(watch, pictures, wrong=0.8), Alarm)
    assert isinstance(told(other, pictures, wrong=0.8), Alarm)
