"""The worker forgets in every turn, and old checkpoints go in time and never all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from learndrop.belief.reserve import Reserve
from learndrop.disk.archive import Archive
from learndrop.disk.old_checkpoints import numbers, remove_through
from learndrop.errors import NotLeading, StreamAway
from learndrop.learning import checkpoint
from learndrop.learning.forgetting import Forgetting
from learndrop.learning.learner import Learner
from learndrop.replay.buffer import ReplayBuffer
from learndrop.stream.id_arrays import as_rows
from learndrop.stream.messages import Sample
from learndrop.upkeep.forget_requests import Request
from tests.learning import quick_settings
from worker.erasing import Erasing
from worker.metrics import WorkerMetrics


class Asks:
    """Requests of a test, and what was answered."""

    def __init__(self, *requests: Request) -> None:
        self.requests = list(requests)
        self.said: list[tuple[str, list[str]]] = []
        self.fails = 0

    def after(self, last: str) -> list[Request]:
        return [r for r in self.requests if int(r.id[:-2]) > int(last[:-2])]

    def forgotten(self, requests: Sequence[Request], replayed: Set[str]) -> None:
        if self.fails:
            self.fails -= 1
            raise StreamAway("for the test")
        self.said.append(("replayed", sorted(replayed)))

    def erased(self, requests: Sequence[Request]) -> None:
        self.said.append(("erased", [r.sample_id for r in requests]))


class Scene:
    """A learner with twelve samples, its checkpoints, and a clock."""

    def __init__(self, folder: Path, asks: Asks, **overrides: object) -> None:
        self.settings = quick_settings(data_dir=folder, erase_within_s=100.0, **overrides)
        self.learner, self.asks, self.now_s = Learner(self.settings), asks, 1000.0
        self.registry = CollectorRegistry()
        metrics = WorkerMetrics(self.registry)
        self.archive = Archive(self.settings.archive_dir, 1 << 20)
        self.erasing = Erasing(
            self.settings, Forgetting(self.learner), self.archive, asks, metrics, lambda: self.now_s
        )
        self.learn(*range(12))

    def learn(self, *seconds: int) -> None:
        """Learn a sample that the stream was given at each of these times."""
        images = np.random.default_rng(0).integers(0, 256, (len(seconds), 16, 16, 3), np.uint8)
        samples = [
            Sample(image, f"c{n % 2}", float(at), id=f"{1000 * at}-0")
            for n, (image, at) in enumerate(zip(images, seconds, strict=True))
        ]
        self.learner.learn(samples)
        self.archive.add([s.id for s in samples], samples, "0-0")
        self.archive.write()

    def save(self) -> None:
        checkpoint.save(self.learner, self.settings.checkpoints_dir, "0-0", keep=2)

    def turn(self) -> bool:
        """What the loop does of it; whether a checkpoint was made for it."""
        self.erasing.forget()
        wanted = self.erasing.wants_checkpoint()
        if wanted:
            self.save()
        self.erasing.erase()
        return wanted

    @property
    def there(self) -> list[int]:
        return numbers(self.settings.checkpoints_dir)

    def archived(self) -> list[int]:
        """The same of what the archive holds."""
        ids = [i for part in self.archive.segments() for i in part.ids.tolist()]
        return sorted(int(i.split("-")[0]) // 1000 for i in ids)

    def held(self) -> list[int]:
        """Seconds at which the stream was given what the buffer holds."""
        replay = self.learner.replay
        return sorted((replay.stream_ids[: replay.size, 0] // 1000).tolist())


def request(number: int, second: int, asked_s: float = 1000.0) -> Request:
    return Request(f"{number}-0", f"{1000 * second}-0", asked_s, f"{1000 * second}-0")


def test_old_checkpoints_go_by_themselves_while_it_learns(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(request(1, 5)))
    scene.save()
    scene.save()
    assert not scene.turn()
    assert 5 not in scene.held() and len(scene.held()) == 11
    assert scene.asks.said == [("replayed", ["5000-0"])]
    scene.save()
    assert not scene.turn()
    assert scene.asks.said[1:] == []
    scene.save()
    assert not scene.turn()
    assert scene.asks.said[1:] == [("erased", ["5000-0"])]
    assert scene.there == [3, 4]


def test_an_idle_worker_makes_a_checkpoint_for_it_and_removes_the_others(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(request(1, 5)))
    scene.save()
    scene.save()
    assert not scene.turn()
    scene.now_s += 49
    assert not scene.turn()
    scene.now_s += 2
    assert scene.turn()
    assert scene.there == [3]
    assert scene.asks.said[-1] == ("erased", ["5000-0"])
    assert not scene.turn()


def test_a_worker_that_leads_no_more_removes_no_checkpoint(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks())
    for _ in range(2):
        scene.save()

    leads = False

    @contextmanager
    def sealing() -> Iterator[None]:
        if not leads:
            raise NotLeading("another worker leads")
        yield

    before = scene.there
    with pytest.raises(NotLeading):
        remove_through(scene.settings.checkpoints_dir, before[0], sealing)
    assert scene.there == before
    leads = True
    assert remove_through(scene.settings.checkpoints_dir, before[0], sealing)
    assert scene.there == before[1:]


def test_the_only_whole_checkpoint_is_never_removed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(request(1, 5)))
    scene.save()
    scene.turn()
    scene.now_s += 60
    scene.save()
    (scene.settings.checkpoints_dir / "00000002" / "state.json").write_bytes(b"damaged")
    scene.erasing.erase()
    assert scene.there == [1, 2]
    assert ("erased", ["5000-0"]) not in scene.asks.said
    scene.save()
    scene.turn()
    assert 1 not in scene.there


def test_without_any_checkpoint_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(request(1, 5)))
    assert not scene.turn()
    assert scene.asks.said[-1] == ("erased", ["5000-0"])


def test_what_redis_did_not_hear_is_told_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(request(1, 5), request(2, 7)))
    scene.asks.fails = 1
    with pytest.raises(StreamAway):
        scene.erasing.forget()
    assert {5, 7}.isdisjoint(scene.held())
    scene.erasing.forget()
    assert scene.asks.said == [("replayed", ["5000-0", "7000-0"])]
    erased = scene.registry.get_sample_value("learndrop_samples_erased_total", {"why": "request"})
    assert erased == 2


def test_a_restored_learner_forgets_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(request(1, 5)))
    scene.save()
    scene.turn()
    found = checkpoint.load_latest(scene.settings.checkpoints_dir, scene.settings)
    assert found is not None
    scene.learner = found[0]
    assert 5 in scene.held()
    metrics = WorkerMetrics(CollectorRegistry())
    held = Forgetting(scene.learner)
    scene.erasing = Erasing(
        scene.settings, held, scene.archive, scene.asks, metrics, lambda: 1001.0
    )
    scene.turn()
    assert 5 not in scene.held()


def test_samples_over_their_age_leave_replay_and_checkpoints(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(), replay_max_age_s=995.5)
    scene.save()
    scene.turn()
    assert scene.held() == list(range(5, 12))
    assert scene.archived() == list(range(12))  # by whole segments: the newest is not over its age
    assert scene.registry.get_sample_value("learndrop_samples_erased_total", {"why": "age"}) == 5
    scene.now_s += 2
    scene.turn()
    assert scene.held() == list(range(5, 12))  # it does not look in every turn
    scene.now_s += 60
    assert scene.turn()  # old checkpoints are due too
    assert scene.held() == []
    assert scene.there == [2]


def test_stored_maps_of_a_forgotten_sample_are_blank(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(request(1, 5)))
    learner = scene.learner
    learner.drop_to(1, "for the test")
    scene.learn(*range(20, 32))
    number = learner.replay.ids[learner.replay.stream_ids[:, 0] == 25_000]
    assert learner.features.holds(number).all()
    held = len(learner.features)
    scene.asks.requests.append(request(2, 25))
    scene.turn()
    assert not learner.features.holds(number).any()
    assert len(learner.features) == held - 1
    scene.learn(*range(40, 52))  # and it learns on
    keeping = learner.rehearsal.keeping
    keeping.load(keeping.tensors(), keeping.to_json())
    assert not learner.features.holds(number).any()


# -- the buffer ------------------------------------------------------------------------------


def buffer(capacity: int = 8) -> ReplayBuffer:
    made = ReplayBuffer((1, 1, 3), samples=capacity, max_bytes=10**6, old_world_weight=0.1, seed=0)
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1).repeat(3, axis=3)
    made.add(
        images, np.arange(6) % 2, np.arange(6), names=as_rows([f"{n}-{n}" for n in range(6)], 6)
    )
    return made


def rows(made: ReplayBuffer) -> dict[int, tuple[int, int, list[int]]]:
    """Target, first pixel and stream id of each number."""
    return {
        int(made.ids[p]): (
            int(made.targets[p]), int(made.images[p, 0, 0, 0]), made.stream_ids[p].tolist()
        )
        for p in range(made.size)
    }  # fmt: skip


def test_what_is_forgotten_is_gone_and_the_rest_is_whole() -> None:
    made = buffer()
    before = rows(made)
    assert made.forget(["4-4", "0-0", "9-9", "", "4-5"]) == {"0-0": 0, "4-4": 4}
    assert rows(made) == {n: row for n, row in before.items() if n not in (0, 4)}
    assert not made.images[made.size :].any()
    assert made.forget(["0-0"]) == {}
    assert made.forget(f"{n}-{n}" for n in range(6)).keys() == {"1-1", "2-2", "3-3", "5-5"}
    assert made.size == 0 and len(made.draw(5)) == 0


def test_a_full_buffer_that_forgot_takes_new_ones_in() -> None:
    made = buffer(capacity=6)
    made.forget(["5-5", "1-1"])
    images = np.arange(30, 39, dtype=np.uint8).reshape(3, 1, 1, 3)
    made.add(images, np.array([0, 1, 1]), np.array([10, 11, 12]), names=as_rows(("1-7",) * 3, 3))
    assert made.size == 6
    assert {10, 11, 12} & set(rows(made)) and made.by_class().keys() == {0, 1}


def test_samples_that_came_another_way_have_no_age() -> None:
    made = buffer()
    made.add(np.full((1, 1, 1, 3), 77, np.uint8), np.array([0]), np.array([7]))
    assert sorted(made.forget_before(1.0)) == [0, 1, 2, 3, 4, 5]
    assert list(rows(made)) == [7]


def test_a_checkpoint_of_before_has_samples_without_names() -> None:
    made = buffer()
    arrays = {n: a for n, a in made.arrays().items() if n != "stream_ids"}
    again = buffer()
    again.load(arrays, made.to_json())
    assert again.size == 6
    assert again.forget(["1-1"]) == {}


def test_no_checkpoints_are_nothing_to_remove(tmp_path: Path) -> None:
    assert numbers(tmp_path / "none") == []
    assert remove_through(tmp_path / "none", 5)


def test_the_reserve_forgets_too() -> None:
    reserve = Reserve((1, 1, 3), 10)
    ids = np.arange(0, 64, 8)
    images = np.zeros((8, 1, 1, 3), np.uint8)
    names = as_rows([f"{1000 * n}-0" for n in ids], 8)
    reserve.add(images, ids % 2, ids, np.zeros(8, np.int64), names)
    reserve.forget(["8000-0", "9000-0"])
    assert reserve.ids.tolist() == [0, 16, 24, 32, 40, 48, 56]
    reserve.forget_before(24.0)
    assert reserve.ids.tolist() == [24, 32, 40, 48, 56]
    old = {name: array for name, array in reserve.arrays().items() if name != "stream_ids"}
    again = Reserve((1, 1, 3), 10)
    again.load(old)
    again.forget(["24000-0"])
    assert again.ids.tolist() == [24, 32, 40, 48, 56]


def test_a_deleted_sample_leaves_the_archive_or_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, Asks(request(1, 5)))
    assert 5 in scene.archived()

    def refuse(ids: Collection[str]) -> int:
        raise OSError("disk full")

    with monkeypatch.context() as full:
        full.setattr(scene.archive, "erase", refuse)
        scene.turn()
    assert 5 in scene.archived() and scene.asks.said == []
    failed = scene.registry.get_sample_value("learndrop_write_failures_total", {"what": "erase"})
    assert failed == 1
    scene.turn()
    assert scene.asks.said == []  # not tried again so soon
    scene.now_s += 6
    scene.turn()
    assert scene.archived() == [0, 1, 2, 3, 4, *range(6, 12)]
    assert scene.asks.said[0] == ("replayed", ["5000-0"])


def test_whole_segments_over_their_age_leave_the_archive(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Asks(), replay_max_age_s=980.0)
    scene.turn()
    assert scene.archived() == []
