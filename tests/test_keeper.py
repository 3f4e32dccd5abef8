"""What is served stays good: spoiled weights go to nobody, and the last good ones come back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from learndrop.disk.registry import Registry
from learndrop.errors import LearndropError
from learndrop.learning import checkpoint
from learndrop.learning.keeper import Keeper
from learndrop.learning.learner import Learner
from learndrop.learning.returning import is_finite, tensors_of
from learndrop.stream.messages import Sample
from service.answering.model import Model
from tests.learning import quick_settings
from tests.senders import CLASSES, samples


@pytest.fixture(scope="module")
def learned() -> Iterator[Path]:
    """A checkpoint of a learner that knows digits and has a reserve."""
    from tempfile import TemporaryDirectory

    learner = Learner(quick_settings(classes=tuple(CLASSES)))
    stream = samples(2560)
    for at in range(0, len(stream), 32):
        learner.learn(stream[at : at + 32])
    assert learner.belief.reserve.tells
    with TemporaryDirectory() as folder:
        checkpoint.save(learner, Path(folder), "1-0", keep=1)
        yield Path(folder)


@pytest.fixture
def good(learned: Path) -> Learner:
    found = checkpoint.load_latest(learned, quick_settings(classes=tuple(CLASSES)))
    assert found is not None
    return found[0]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def publish(learner: Learner, registry: Registry) -> int:
    number = registry.publish(*learner.export())
    learner.published(number)
    return number


def spoil(learner: Learner, value: float = 0.0) -> None:
    """Weights as after a poisoned minute, or not numbers at all."""
    with torch.no_grad():
        for parameter in learner.chain.units[-1].module.parameters():
            parameter.mul_(-1.0).add_(value)


def shifted(batch: Sequence[Sample]) -> list[Sample]:
    """Each digit by the name of the next."""
    return [replace(s, label=CLASSES[(CLASSES.index(s.label) + 1) % 10]) for s in batch]


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {n: t.clone() for n, t in learner.chain.state_dict().items()}


def test_good_weights_are_published_and_remembered_as_such(
    good: Learner, registry: Registry
) -> None:
    keeper = Keeper(good, registry)
    assert keeper.before_publish() is None
    assert good.belief.best_fitness is not None and good.belief.best_fitness > 0.8
    assert good.state()["reserve"]["best_accuracy"] == good.belief.best_fitness


def test_weights_that_got_worse_go_back_to_the_last_good_version(
    good: Learner, registry: Registry
) -> None:
    keeper = Keeper(good, registry)
    assert keeper.before_publish() is None
    number, before = publish(good, registry), weights(good)
    spoil(good)
    event = keeper.before_publish()
    assert event is not None and event.type == "rollback"
    assert event.detail["version"] == number and f"back to version {number}" in event.cause
    assert "accuracy on the reserve fell from 0." in event.cause
    assert all(torch.equal(t, before[n]) for n, t in weights(good).items())
    assert registry.current() == number
    assert keeper.before_publish() is None


def test_readers_go_back_too_when_the_bad_version_serves_already(
    good: Learner, registry: Registry
) -> None:
    keeper = Keeper(good, registry)
    assert keeper.before_publish() is None
    first = publish(good, registry)
    spoil(good)
    assert publish(good, registry) == first + 1 == registry.current()
    assert keeper.before_publish() is not None
    assert registry.current() == first and not registry.held()
    assert publish(good, registry) == first + 2 == registry.current()  # and go on from there


def test_between_two_returns_lies_a_cool_down(good: Learner, registry: Registry) -> None:
    keeper = Keeper(good, registry)
    keeper.before_publish()
    publish(good, registry)
    spoil(good)
    assert keeper.before_publish() is not None
    spoil(good)
    assert keeper.before_publish() is None
    good.progress.samples += good.settings.rollback_cooldown
    assert keeper.before_publish() is not None


def until(event: str, learner: Learner, stream: list[Sample], at: int) -> int:
    """Learn on from there, eight at a time, until that event; the place behind it."""
    for place in range(at, len(stream), 8):
        if event in {e.type for e in learner.learn(stream[place : place + 8]).events}:
            return place + 8
    raise AssertionError(f"no {event}")


def test_a_drift_on_trial_comes_to_its_verdict_whatever_the_reserve_of_before_says(
    good: Learner, registry: Registry
) -> None:
    keeper = Keeper(good, registry)
    assert keeper.before_publish() is None
    publish(good, registry)
    stream = shifted(samples(512, seed=5))
    at = until("drift", good, stream, 0)
    spoil(good)  # as steps in the new world may do, as far as the old one is concerned
    assert keeper.before_publish() is None
    until("reset", good, stream, at)


def test_a_drift_that_looked_like_spoilt_weights_at_first_is_told_all_the_same(
    good: Learner, registry: Registry
) -> None:
    """With the weights of before the errors stay where the new world has taken them."""
    keeper = Keeper(good, registry)
    assert keeper.before_publish() is None
    publish(good, registry)
    stream = shifted(samples(512, seed=5))
    for at in range(0, 24, 8):
        assert "drift" not in {e.type for e in good.learn(stream[at : at + 8]).events}
    spoil(good)
    assert keeper.before_publish() is not None
    told = [e.type for at in range(24, 152, 8) for e in good.learn(stream[at : at + 8]).events]
    assert "drift" in told


def test_where_nothing_kept_is_better_it_goes_on_learning(
    good: Learner, registry: Registry
) -> None:
    keeper = Keeper(good, registry)
    keeper.before_publish()
    spoil(good)
    before = weights(good)
    assert keeper.before_publish() is None
    assert all(torch.equal(t, before[n]) for n, t in weights(good).items())
    assert good.belief.best_fitness is not None and good.belief.best_fitness < 0.5
    assert keeper.before_publish() is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_neither_published_nor_checkpointed(
    good: Learner, registry: Registry, value: float
) -> None:
    keeper = Keeper(good, registry)
    keeper.before_publish()
    number = publish(good, registry)
    spoil(good, value)
    with pytest.raises(LearndropError, match="is not finite: nothing was published"):
        good.export()
    event = keeper.before_checkpoint()
    assert event is not None and event.detail["version"] == number
    assert is_finite(good.trainer) and registry.current() == number


def test_without_a_version_fresh_weights_are_better_than_none(
    good: Learner, registry: Registry
) -> None:
    spoil(good, math.nan)
    event = Keeper(good, registry).before_checkpoint()
    assert event is not None and "fresh weights" in event.cause and "version" not in event.detail
    assert is_finite(good.trainer)
    assert good.trainer.cut == 0 and good.rate == good.settings.rate  # all of it has to learn
    publish(good, registry)


def test_a_version_that_cannot_be_read_is_passed_over(good: Learner, registry: Registry) -> None:
    keeper = Keeper(good, registry)
    keeper.before_publish()
    first = publish(good, registry)
    with torch.no_grad():
        next(good.chain.units[0].module.parameters()).add_(1e-6)
    second = publish(good, registry)
    blob = registry._shelf.manifest(second).parts["stem"]
    registry._blobs.path(blob).write_bytes(b"rotten")
    spoil(good, math.nan)
    event = keeper.before_checkpoint()
    assert event is not None and event.detail["version"] == first


def test_labels_that_came_since_keep_their_rows(good: Learner, registry: Registry) -> None:
    keeper = Keeper(good, registry)
    keeper.before_publish()
    number = publish(good, registry)
    sample = samples(1)[0]
    good.learn([type(sample)(sample.image, "eleven")])
    spoil(good, math.nan)
    event = keeper.before_checkpoint()
    assert event is not None and event.detail["version"] == number
    assert is_finite(good.trainer) and good.classes[-1] == "eleven"
    publish(good, registry)
    answers = Model(registry.load()).predict(sample.image[None])
    assert answers.shape == (1, 11)


def test_the_learner_answers_what_the_version_it_went_back_to_answers(
    good: Learner, registry: Registry
) -> None:
    keeper = Keeper(good, registry)
    keeper.before_publish()
    publish(good, registry)
    pictures = good.belief.reserve.held()[0][:8]
    before = good.predict(pictures)
    spoil(good)
    keeper.before_publish()
    assert (good.predict(pictures) == before).all()
    version = registry.load()
    assert set(tensors_of(version.parts)) == set(good.chain.state_dict())
    good.learn(samples(64, seed=5)[:32])  # and it learns on
