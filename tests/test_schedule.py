"""When checkpoints and versions are due, with time as a number."""

from __future__ import annotations

from learndrop.settings import load_settings
from worker.schedule import AGAIN_S, PUBLISH_WAIT_S, SOON_S, Checkpoints, Versions

CHECKPOINTS = load_settings(checkpoint_s=30.0, max_pending=100)
VERSIONS = load_settings(publish_s=5.0)


def test_a_busy_worker_saves_soon_after_its_start_then_every_so_often() -> None:
    checkpoints = Checkpoints(CHECKPOINTS, now=0.0)
    now, distances = 0.0, []
    for _ in range(8):
        checkpoints.learned(1)
        since = now
        while not checkpoints.due(now, idle=False):
            now += 1.0
        checkpoints.done(now, cost_s=0.01)
        distances.append(now - since)
    assert distances == [1, 2, 4, 8, 16, 30, 30, 30]


def test_early_checkpoints_that_cost_much_keep_their_distance() -> None:
    checkpoints = Checkpoints(CHECKPOINTS, now=0.0)
    checkpoints.learned(1)
    checkpoints.done(1.0, cost_s=0.4)
    checkpoints.learned(1)
    assert not checkpoints.due(1.0 + 19.9, idle=False)
    assert checkpoints.due(1.0 + 20.0, idle=False)


def test_nothing_learned_is_nothing_to_save() -> None:
    assert not Checkpoints(CHECKPOINTS, now=0.0).due(1e9, idle=True)


def test_a_position_that_moves_past_buried_entries_is_saved_after_the_longest_time() -> None:
    checkpoints = Checkpoints(CHECKPOINTS, now=0.0)
    checkpoints.passed()
    assert not checkpoints.due(29.9, idle=True)
    assert checkpoints.due(30.0, idle=False)
    checkpoints.done(30.0, cost_s=0.1)
    assert not checkpoints.due(1e9, idle=True)


def test_an_idle_worker_saves_soon_but_spends_little_on_it() -> None:
    checkpoints = Checkpoints(CHECKPOINTS, now=0.0)
    checkpoints.learned(1)
    assert checkpoints.due(SOON_S, idle=True)
    checkpoints.done(SOON_S, cost_s=0.5)
    checkpoints.learned(1)
    assert not checkpoints.due(SOON_S + 9.9, idle=True)
    assert checkpoints.due(SOON_S + 10.0, idle=True)


def test_half_a_stream_of_learned_samples_is_saved_at_once() -> None:
    checkpoints = Checkpoints(CHECKPOINTS, now=0.0)
    checkpoints.learned(49)
    assert not checkpoints.due(0.1, idle=False)
    checkpoints.learned(1)
    assert checkpoints.due(0.1, idle=False)


def test_a_failed_checkpoint_waits_before_the_next_try() -> None:
    checkpoints = Checkpoints(CHECKPOINTS, now=0.0)
    checkpoints.learned(100)
    checkpoints.failed(10.0)
    assert not checkpoints.due(10.0 + AGAIN_S - 0.1, idle=True)
    assert checkpoints.due(10.0 + AGAIN_S, idle=True)


def test_the_first_version_does_not_wait_and_the_next_does() -> None:
    versions = Versions(VERSIONS, now=50.0)
    assert not versions.due(50.0, idle=False)
    versions.learned(1, urgent=False)
    assert versions.due(50.0, idle=False)
    versions.done(50.0, cost_s=0.01)
    assert not versions.due(99.0, idle=False)
    versions.learned(1, urgent=False)
    assert not versions.due(54.9, idle=False)
    assert versions.due(55.0, idle=False)


def test_what_is_urgent_does_not_wait() -> None:
    versions = Versions(VERSIONS, now=0.0)
    versions.learned(1, urgent=False)
    versions.done(0.0, cost_s=0.01)
    versions.learned(1, urgent=True)
    versions.learned(1, urgent=False)
    assert versions.due(0.1, idle=False)
    versions.done(0.1, cost_s=0.01)
    versions.learned(1, urgent=False)
    assert not versions.due(0.2, idle=False)


def test_a_failed_version_waits_before_the_next_try() -> None:
    versions = Versions(VERSIONS, now=0.0)
    versions.learned(1, urgent=True)
    versions.failed(1.0)
    assert not versions.due(1.0 + AGAIN_S - 0.1, idle=False)
    assert versions.due(1.0 + AGAIN_S, idle=False)


def test_versions_that_cost_much_keep_their_distance_while_there_is_more_to_learn() -> None:
    versions = Versions(VERSIONS, now=0.0)
    versions.learned(1, urgent=False)
    versions.done(10.0, cost_s=2.0)
    versions.learned(1, urgent=False)
    assert not versions.due(10.0 + 4.9, idle=True)
    assert versions.due(10.0 + 5.0, idle=True)
    assert not versions.due(10.0 + 19.9, idle=False)
    assert versions.due(10.0 + 20.0, idle=False)
    versions.learned(1, urgent=True)
    assert versions.due(10.1, idle=False)
    versions.done(100.0, cost_s=1000.0)  # it was asleep, say
    versions.learned(1, urgent=False)
    assert versions.due(100.0 + PUBLISH_WAIT_S, idle=False)
