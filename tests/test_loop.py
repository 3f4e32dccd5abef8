"""The order of the worker's page, told by parts that write down what is asked of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from learndrop.account import Counts
from learndrop.errors import DamagedFile, NotLeading, StreamAway
from learndrop.events import Event
from learndrop.ids import START
from learndrop.memory_consumer import MemoryConsumer
from learndrop.memory_stream import MemoryStream
from learndrop.messages import Sample
from learndrop.settings import Settings, load_settings
from learndrop.stream import Entry, Reason
from worker.loop import run
from worker.metrics import WorkerMetrics
from worker.parts import Parts

SIZE = 8


@dataclass
class Told:
    """A report of the recording learner."""

    count: int
    events: Sequence[Event] = ()
    should_publish: bool = False
    loss: float = 0.5
    seconds: Mapping[str, float] = field(default_factory=lambda: {"test": 0.1, "train": 0.2})


class Story(list[str]):
    """What happened, in order; `count` calls of a kind may be made to fail."""

    def __init__(self) -> None:
        self.fails: dict[str, list[Exception]] = {}

    def __call__(self, what: str, detail: object = "") -> None:
        self.append(f"{what} {detail}".rstrip())
        if self.fails.get(what):
            raise self.fails[what].pop(0)

    def kinds(self) -> list[str]:
        return [line.split()[0] for line in self]


class RecordingLearner:
    """Remembers the labels that it learned, and nothing else."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.classes: list[str] = []
        self.labels: list[str] = []
        self.reports: list[dict[str, Any]] = []
        self.version: int | None = None

    def learn(self, samples: Sequence[Sample]) -> Told:
        labels = [s.label for s in samples]
        self.story("learn", ",".join(labels))
        self.labels += labels
        self.classes += [x for x in dict.fromkeys(labels) if x not in self.classes]
        return Told(len(samples), **(self.reports.pop(0) if self.reports else {}))

    def export(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        return {"head": b"1"}, {"samples": len(self.labels)}

    def published(self, version: int) -> Event:
        self.version = version
        return Event("publish", 0.0, len(self.labels), f"version {version}", 0)

    def state(self) -> dict[str, Any]:
        return {
            "samples_learned": len(self.labels),
            "prequential": {"accuracy": None},
            "drop": {"depth": 0, "total": 0, "units": []},
            "flops": {"done": 1.0, "full": 2.0, "saved_ratio": 0.5},
            "features": {"bytes": 0, "budget_bytes": 1},
            "replay": {"samples": 0},
            "rate": 0.1,
            "model": {"version": self.version},
        }


class RecordingStream(MemoryConsumer):
    def __init__(self, stream: MemoryStream, story: Story) -> None:
        self.story = story
        super().__init__(stream)

    def claim(
        self, most: int, wait_s: float, stopping: Callable[[], bool] = lambda: False
    ) -> list[Entry]:
        self.story("claim")
        return super().claim(most, 0)  # to ask `stopping` would count as a turn

    def hold(self, ids: Sequence[str]) -> set[str]:
        self.story("hold", ",".join(ids))
        return super().hold(ids)

    def ack(self, through: str) -> int:
        if self._opened:  # the first one belongs to the stream's own start
            self.story("ack", through)
        return super().ack(through)

    def bury(self, entry: Entry, reason: Reason, why: str) -> None:
        self.story("bury", f"{entry.id} {reason}")
        super().bury(entry, reason, why)


class RecordingRegistry:
    def __init__(self, story: Story) -> None:
        self.story, self.abouts = story, list[Mapping[str, Any]]()

    def publish(self, parts: Mapping[str, bytes], about: Mapping[str, Any]) -> int:
        self.story("publish")
        self.abouts.append(about)
        return len(self.abouts)

    def current(self) -> int | None:
        return len(self.abouts) or None


class RecordingBoard:
    def __init__(self, story: Story) -> None:
        self.story, self.events, self.states = story, list[Event](), list[Mapping[str, Any]]()

    def put_state(self, state: Mapping[str, Any]) -> None:
        self.story("state")
        self.states.append(state)

    def add_events(self, events: Sequence[Event]) -> None:
        self.events += events
        if events:
            self.story("events", ",".join(e.type for e in events))


class World:
    """A worker in memory, whose clock moves one second a turn."""

    def __init__(self, **overrides: Any) -> None:
        defaults = {"image_size": SIZE, "batch": 4, "checkpoint_s": 3.0, "publish_s": 1000.0}
        self.settings: Settings = load_settings(**(defaults | overrides))
        self.memory = MemoryStream(self.settings)
        self.story = Story()
        self.registry = RecordingRegistry(self.story)
        self.board = RecordingBoard(self.story)
        self.now, self.tick_s = 0.0, 1.0
        self.saved: list[str] = []
        self.paused: list[float] = []
        self.before_turn: Callable[[int], None] = lambda turn: None
        self.start_again()

    def start_again(self) -> None:
        """A new process: nothing of the old one is left but the stream, checkpoints, versions."""
        self.learner = RecordingLearner(self.story)
        self.stream = RecordingStream(self.memory, self.story)
        self.metrics = WorkerMetrics(CollectorRegistry(), clock=lambda: self.now)

    def publish(self, *labels: str, size: int = SIZE) -> list[str]:
        samples = [Sample(np.zeros((size, size, 3), np.uint8), label, 1.0) for label in labels]
        return asyncio.run(self.memory.publish(samples))

    def save(self, position: str) -> None:
        self.story("save", position)
        self.saved.append(position)

    def run(self, turns: int, position: str = START) -> None:
        """Run the loop for so many turns (and what it does at its end)."""
        left = turns

        def stopping() -> bool:
            nonlocal left
            if left == 0:
                return True
            self.now += self.tick_s
            self.before_turn(turns - left)
            left -= 1
            return False

        parts = Parts(
            self.settings,
            self.stream,
            self.learner,
            self.registry,
            self.board,
            self.metrics,
            self.save,
        )
        run(
            parts,
            position,
            stopping=stopping,
            clock=lambda: self.now,
            pause=self.paused.append,
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def adds_up(self) -> Counts:
        counts = self.memory.account()
        assert counts.missing == 0
        return counts


@pytest.fixture
def make() -> Callable[..., World]:
    return World


@pytest.fixture
def world() -> World:
    return World()


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


def test_a_stream_half_full_of_learned_samples_is_saved_early(make: Callable[..., World]) -> None:
    world = make(checkpoint_s=1000.0, max_pending=16, batch=1)
    world.metrics.saved = lambda: setattr(world, "tick_s", 0.01)  # type: ignore[method-assign]
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


# -- what cannot be learned --------------------------------------------------------------------

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
    assert world.learner.labels == [] and "save" not in world.story.kinds()
    assert world.adds_up() == Counts(9, 0, 9, 0)


@pytest.mark.parametrize("at", [b"nan", b"inf", b"-5", b"0"])
def test_a_time_that_is_none_has_no_age(world: World, at: bytes) -> None:
    world.memory.write_by_hand(GOOD | {b"at": at})
    world.publish("b")
    world.run(turns=4)
    assert world.learner.labels == ["a", "b"]
    assert world.value("learndrop_sample_age_seconds_count") == 1


def test_a_sample_that_kills_the_learner_is_buried_after_three_deaths(world: World) -> None:
    world.publish("a", "poison", "c")
    world.tick_s = 0.01  # no checkpoint before the deaths
    deaths = 0
    while deaths < 10:
        learner = world.learner
        learn = learner.learn

        def deadly(
            samples: Sequence[Sample], learn: Callable[[Sequence[Sample]], Told] = learn
        ) -> Told:
            if any(s.label == "poison" for s in samples):
                raise RuntimeError("dead")
            return learn(samples)

        learner.learn = deadly  # type: ignore[method-assign]
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
    world: World, what: str, times: int
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

    world.stream.claim = claim  # type: ignore[method-assign]
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
