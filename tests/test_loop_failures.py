"""The worker's loop, its versions, a disk that refuses and a Redis that is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from learndrop.errors import DamagedFile, StreamAway
from learndrop.stream.account import Counts
from learndrop.stream.contract import Entry
from tests.loops import World, make, world

__all__ = ["make", "world"]


# -- versions ----------------------------------------------------------------------------------


def test_versions_keep_their_distance(make: Callable[..., World]) -> None:
    world = make(publish_s=3.0, checkpoint_s=1000.0)
    world.publish(*"abcdefghijklmnopqrstuvwx")
    world.run(turns=6)
    assert [a["samples"] for a in world.registry.abouts] == [4, 16, 24]


def test_what_matters_is_published_at_once(world: World) -> None:
    world.registry.publish({}, {})
    world.publish(*"abcdefghijkl")
    world.learner.reports = [{}, {"should_publish": True}, {}]
    world.run(turns=3)
    learned = [a["samples"] for a in world.registry.abouts[1:]]
    assert learned == [4, 8, 12]  # the first, the one that matters, the one at the end


def test_a_network_that_has_learned_nothing_is_not_published(world: World) -> None:
    world.run(turns=3)
    assert world.registry.abouts == []


@pytest.mark.parametrize(
    ("settings", "published"),
    [
        ({"weights": "w.safetensors", "classes": ("a", "b")}, 1),
        ({"weights": "w.safetensors"}, 0),
        ({"classes": ("a", "b")}, 0),
    ],
)
def test_a_network_that_knows_classes_already_is_published_at_the_start(
    make: Callable[..., World], settings: dict[str, Any], published: int
) -> None:
    world = make(**settings)
    world.run(turns=2)
    assert len(world.registry.abouts) == published
    world.start_again()
    world.run(turns=2)
    assert len(world.registry.abouts) == published  # the version that is out is enough


@pytest.mark.parametrize("error", [OSError("no space"), DamagedFile("a tensor is not finite")])
def test_a_version_that_cannot_be_written_is_tried_again(world: World, error: Exception) -> None:
    world.story.fails["publish"] = [error]
    world.publish("a")
    world.run(turns=9)
    assert len(world.registry.abouts) == 1
    assert world.learner.labels == ["a"]
    assert world.value("learndrop_write_failures_total", what="publish") == 1


def test_a_checkpoint_that_cannot_be_written_acknowledges_nothing(world: World) -> None:
    world.story.fails["save"] = [OSError("no space")]
    world.publish("a")
    waiting = []
    world.before_turn = lambda turn: waiting.append(world.adds_up().pending)
    world.run(turns=9)
    assert waiting[2:6] == [1, 1, 1, 1] and waiting[-1] == 0
    assert world.value("learndrop_write_failures_total", what="checkpoint") == 1


def test_a_last_checkpoint_that_cannot_be_written_is_an_error(world: World) -> None:
    world.publish("a")
    world.tick_s = 0.01
    world.story.fails["save"] = [OSError("no space")]
    with pytest.raises(OSError, match="no space"):
        world.run(turns=1)
    assert world.adds_up() == Counts(1, 0, 0, 1)


# -- Redis away --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "times"),
    [("claim", 3), ("hold", 3), ("bury", 3), ("ack", 3), ("state", 3), ("events", 1)],
)
def test_redis_away_at_any_step_loses_and_repeats_nothing(
    world: World, what: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.story.fails[what] = [StreamAway("gone")] * times
    world.publish("a", "b")
    world.memory.write_by_hand({b"not": b"readable"})
    world.publish("c")
    reopen = world.stream.claim

    def claim(
        most: int, wait_s: float, stopping: Callable[[], bool] = lambda: False
    ) -> list[Entry]:
        world.stream._handed = world.stream.position  # what the Redis one does by itself
        return reopen(most, wait_s, stopping)

    monkeypatch.setattr(world.stream, "claim", claim)
    world.run(turns=20)
    assert world.learner.labels == ["a", "b", "c"]
    assert world.adds_up() == Counts(4, 3, 1, 0)
    assert [e.type for e in world.board.events] == ["publish"]
    assert len(world.paused) == times and max(world.paused) <= 1.0
    assert world.metrics.redis_up


def test_redis_away_at_the_end_leaves_a_checkpoint_that_is_enough(world: World) -> None:
    world.publish("a")
    world.story.fails["ack"] = [StreamAway("gone")]
    world.run(turns=1)
    assert world.saved == ["1-0"]
    world.start_again()
    world.run(turns=1, position="1-0")
    assert world.learner.labels == []
    assert world.adds_up() == Counts(1, 1, 0, 0)


def test_what_another_hand_deleted_is_counted_without_waiting_for_samples(world: World) -> None:
    (entry_id,) = world.publish("a")
    del world.memory.entries[entry_id]
    world.run(turns=2)
    assert world.adds_up() == Counts(1, 0, 1, 0)
    assert world.value("learndrop_samples_buried_total", reason="vanished") == 1
