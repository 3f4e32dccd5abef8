"""The worker's loop and what cannot be learned: buried, and the rest still learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from learndrop.stream.account import Counts
from learndrop.stream.messages import Sample
from tests.loops import SIZE, Told, World, make, world

__all__ = ["make", "world"]


GOOD = Sample(np.zeros((SIZE, SIZE, 3), np.uint8), "a", 1.0).to_fields()


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"image": b"\x00" * 192, b"label": b"a"},
        GOOD | {b"v": b"0"},
        GOOD | {b"v": b"2"},
        GOOD | {b"image": GOOD[b"image"][:-1]},
        GOOD | {b"image": b"\x01" + GOOD[b"image"][1:]},
        GOOD | {b"shape": b"eight"},
        GOOD | {b"shape": b"-8x-8"},
        GOOD | {b"label": b"\xff\xfe"},
        GOOD | {b"label": b""},
        GOOD | {b"at": b"yesterday"},
    ],
    ids=str,
)
def test_an_unreadable_entry_is_buried_and_the_rest_still_learned(
    world: World, fields: dict[bytes, bytes]
) -> None:
    world.publish("a")
    by_hand = world.memory.write_by_hand(fields)
    world.publish("b")
    world.run(turns=4)
    assert world.learner.labels == ["a", "b"]
    assert [(i, r) for i, r, _, _ in world.memory.dead] == [(by_hand, "unreadable")]
    assert world.adds_up() == Counts(3, 2, 1, 0)
    assert world.value("learndrop_samples_buried_total", reason="unreadable") == 1


def test_an_image_of_the_wrong_size_is_buried(world: World) -> None:
    world.publish("a", "b")
    world.publish("c", size=SIZE + 1)
    world.run(turns=4)
    assert world.learner.labels == ["a", "b"]
    assert [(r, why) for _, r, why, _ in world.memory.dead] == [("wrong_size", "9 x 9, not 8 x 8")]
    assert world.value("learndrop_samples_buried_total", reason="wrong_size") == 1


def test_a_label_too_many_is_buried_also_within_one_batch(make: Callable[..., World]) -> None:
    world = make(max_classes=2)
    world.publish("a", "b", "c", "a")
    world.publish("d", "b")
    world.run(turns=4)
    assert world.learner.labels == ["a", "b", "a", "b"]
    assert [r for _, r, _, _ in world.memory.dead] == ["too_many_classes"] * 2
    assert world.adds_up() == Counts(6, 4, 2, 0)


def test_a_batch_of_nothing_but_rubbish_is_passed(world: World) -> None:
    for _ in range(9):
        world.memory.write_by_hand({b"x": b"y"})
    world.run(turns=5)
    assert world.learner.labels == []
    assert world.story.kinds().count("save") == 1  # nothing to learn is no reason to hurry
    assert world.adds_up() == Counts(9, 0, 9, 0)


@pytest.mark.parametrize("at", [b"nan", b"inf", b"-5", b"0"])
def test_a_time_that_is_none_has_no_age(world: World, at: bytes) -> None:
    world.memory.write_by_hand(GOOD | {b"at": at})
    world.publish("b")
    world.run(turns=4)
    assert world.learner.labels == ["a", "b"]
    assert world.value("learndrop_sample_age_seconds_count") == 1


def test_a_sample_that_kills_the_learner_is_buried_after_three_deaths(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish("a", "poison", "c")
    world.tick_s = 0.01  # no checkpoint before the deaths
    deaths = 0
    while deaths < 10:
        learner = world.learner
        learn = learner.learn

        def deadly(
            samples: Sequence[Sample],
            *,
            waiting: int = 0,
            learn: Callable[[Sequence[Sample]], Told] = learn,
        ) -> Told:
            if any(s.label == "poison" for s in samples):
                raise RuntimeError("dead")
            return learn(samples)

        monkeypatch.setattr(learner, "learn", deadly)
        try:
            world.run(turns=9)
        except RuntimeError:
            deaths += 1
            world.start_again()
        else:
            break
    assert deaths == 3
    assert world.learner.labels == ["a", "c"]
    assert world.adds_up() == Counts(3, 2, 1, 0)
    assert world.value("learndrop_samples_buried_total", reason="killed_worker") == 1


def test_a_stream_of_nothing_but_wrong_sizes_is_acknowledged_all_the_same(world: World) -> None:
    bad = world.publish(*["a"] * 12, size=SIZE + 1)
    world.run(turns=6)
    assert world.saved[-1] == bad[-1]
    assert f"ack {bad[-1]}" in world.story
    assert len(world.saved) == 1  # after checkpoint_s, not after every batch
    assert world.adds_up() == Counts(12, 0, 12, 0)
