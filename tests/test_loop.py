"""The order of the worker's page, told by parts that write down what is asked of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from learndrop.errors import NotLeading
from learndrop.events import Event
from learndrop.stream.account import Counts
from learndrop.stream.contract import Entry
from tests.loops import World, make, world

__all__ = ["make", "world"]


def test_batch_is_acked_only_after_its_checkpoint(world: World) -> None:
    *_, last = world.publish("a", "b")
    world.run(turns=6)
    order = [line for line in world.story if line.split()[0] in {"hold", "learn", "save", "ack"}]
    assert order == ["hold 1-0,2-0", "learn a,b", f"save {last}", f"ack {last}"]
    assert world.adds_up() == Counts(2, 2, 0, 0)


def test_every_sample_is_learned_once_and_in_order(world: World) -> None:
    labels = [str(n) for n in range(10)]
    world.publish(*labels)
    world.run(turns=6)
    assert world.learner.labels == labels
    assert [line for line in world.story if line.startswith("learn")] == [
        "learn 0,1,2,3",
        "learn 4,5,6,7",
        "learn 8,9",
    ]


def test_the_learner_is_told_how_many_wait_behind_each_batch(
    make: Callable[..., World],
) -> None:
    world = make(checkpoint_s=1.0)  # what is saved and taken off the stream waits no more either
    world.publish(*"abcdefghijklm")
    world.run(turns=6)
    assert world.learner.waiting == [0, 5, 1, 0]  # nothing was counted before the first


def test_checkpoints_are_made_as_often_as_set_while_samples_come(world: World) -> None:
    world.publish(*"abcdefghijklmnopqrstuvwx")  # 6 full batches, a second each
    world.run(turns=6)
    assert world.saved == ["4-0", "12-0", "24-0"]  # after 1 s, 2 s, then every 3 s


def test_an_idle_worker_saves_what_it_learned_soon(make: Callable[..., World]) -> None:
    world = make(checkpoint_s=1000.0)
    world.publish("a")
    world.tick_s = 0.4
    world.run(turns=9)
    assert world.saved == ["1-0"]
    assert world.story.kinds()[: world.story.index("save 1-0")].count("claim") == 3


def test_a_stream_half_full_of_learned_samples_is_saved_early(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make(checkpoint_s=1000.0, max_pending=16, batch=1)
    monkeypatch.setattr(world.metrics, "saved", lambda folder: setattr(world, "tick_s", 0.01))
    world.publish(*"abcdefghijklmnop")
    world.run(turns=16)
    assert world.saved == ["1-0", "9-0", "16-0"]  # the first is due anyway, the last is the end


def test_a_worker_with_nothing_to_do_writes_nothing(world: World) -> None:
    world.run(turns=20)
    assert set(world.story.kinds()) == {"claim", "state"}


def test_the_end_publishes_saves_and_acknowledges(make: Callable[..., World]) -> None:
    world = make(checkpoint_s=1000.0)
    *_, last = world.publish("a", "b", "c", "d")
    world.registry.publish({}, {})
    world.publish(*"efgh")
    world.run(turns=2)
    assert world.story[-5:] == [
        "publish",
        "save 8-0",
        "ack 8-0",
        "events publish",
        "state",
    ]
    assert world.registry.abouts[-1] == {"samples": 8, "position": "8-0"}
    assert world.adds_up() == Counts(8, 8, 0, 0)


def test_after_a_crash_the_same_batches_come_again_from_the_checkpoint(world: World) -> None:
    world.publish(*"abcdefgh")
    world.story.fails["save"] = [RuntimeError("killed while it saved")]
    with pytest.raises(RuntimeError):
        world.run(turns=9)
    assert world.adds_up() == Counts(8, 0, 0, 8)
    world.start_again()
    world.run(turns=3)
    assert world.learner.labels == list("abcdefgh")
    assert world.adds_up() == Counts(8, 8, 0, 0)


def test_after_a_crash_between_checkpoint_and_ack_nothing_is_learned_twice(world: World) -> None:
    world.publish(*"abcd")
    world.story.fails["ack"] = [RuntimeError("killed before it acknowledged")]
    with pytest.raises(RuntimeError):
        world.run(turns=9)
    world.start_again()
    world.publish("e")
    world.run(turns=3, position=world.saved[-1])
    assert world.learner.labels == ["e"]
    assert world.adds_up() == Counts(5, 5, 0, 0)


# -- what is told ------------------------------------------------------------------------------


def test_events_are_told_at_once_and_the_state_not_too_often(make: Callable[..., World]) -> None:
    world = make(publish_s=0.0)
    drop = Event("drop", 1.0, 4, "settled", 2)
    world.learner.reports = [{"events": [drop], "should_publish": True}]
    world.publish(*"abcd")
    world.run(turns=1)
    assert [e.type for e in world.board.events] == ["drop", "publish"]
    assert world.board.states[-1]["samples_learned"] == 4
    assert world.value("learndrop_events_total", type="drop") == 1
    assert world.value("learndrop_events_total", type="publish") == 1


def test_the_account_and_the_figures_are_shown(world: World) -> None:
    world.publish(*"abcde")
    world.learner.reports = [{"loss": 0.25}, {"loss": math.nan}]
    world.run(turns=5)
    assert world.value("learndrop_samples_learned_total") == 5
    assert world.value("learndrop_samples_accepted") == 5
    assert world.value("learndrop_samples_pending") == 0
    assert world.value("learndrop_loss") == 0.25  # a step that was skipped has none
    assert world.value("learndrop_step_seconds_total", part="train") == pytest.approx(0.4)
    assert world.value("learndrop_model_version") == len(world.registry.abouts) > 0
    assert world.value("learndrop_redis_up") == 1


def test_a_worker_that_was_taken_over_writes_nothing_more(world: World) -> None:
    world.publish(*"abcdefgh")
    world.story.fails["publish"] = [NotLeading("another leads")]
    with pytest.raises(NotLeading):
        world.run(turns=9)
    assert world.story.kinds()[-1] == "publish"  # no checkpoint, no ack, not even at the end
    assert world.saved == []
    assert world.value("learndrop_write_failures_total", what="publish") == 0
    assert world.adds_up() == Counts(8, 0, 0, 8)


def test_a_deleted_sample_is_left_out_of_its_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = world.publish(*"abcd")
    claim = world.stream.claim

    def deleted_after_the_claim(*args: Any) -> list[Entry]:
        entries = claim(*args)
        asyncio.run(world.memory.discard([published[1]]))
        return entries

    monkeypatch.setattr(world.stream, "claim", deleted_after_the_claim)
    world.run(turns=2)
    assert world.learner.labels == ["a", "c", "d"]
    assert world.adds_up() == Counts(4, 3, 0, 0, deleted=1)
