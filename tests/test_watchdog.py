"""A worker whose loop does not come round any more ends itself; one that was paused does not."""

from __future__ import annotations

import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from worker.metrics import WorkerMetrics
from worker.watchdog import LOOKS, STALLED, Patience, watched

WITHIN_S = 0.2


class Ending:
    """What stands in for the end of the process."""

    def __init__(self) -> None:
        self.code: int | None = None
        self.reached = threading.Event()

    def __call__(self, code: int) -> None:
        self.code = code
        self.reached.set()


def started(clock: Callable[[], float]) -> WorkerMetrics:
    metrics = WorkerMetrics(CollectorRegistry(), clock=clock)
    metrics.alive(redis_up=True)
    return metrics


def test_a_loop_that_hangs_ends_the_process() -> None:
    times = iter(range(10_000))
    metrics, end = started(lambda: float(next(times))), Ending()
    with watched(metrics, WITHIN_S, end):
        assert end.reached.wait(20)
    assert end.code == STALLED


def test_a_worker_that_is_still_starting_is_left_alone() -> None:
    looked = threading.Semaphore(0)

    class Starting(WorkerMetrics):
        def idle_s(self) -> float | None:
            looked.release()
            return None

    end = Ending()
    with watched(Starting(CollectorRegistry()), WITHIN_S, end):
        for _ in range(2 * LOOKS):
            assert looked.acquire(timeout=20)
    assert end.code is None


def test_a_pause_counts_as_one_look_however_long_it_was() -> None:
    patience = Patience(every_s=1.0, most=20)
    ages_s = [0.1, 1.5, 2.5, 9000.0, 9001.0, 0.2]  # stopped by somebody for hours, then woken
    assert not any(patience.over(age_s) for age_s in ages_s)


def test_a_loop_that_waits_for_work_is_well() -> None:
    patience = Patience(every_s=1.0, most=20)
    assert not any(patience.over(age_s) for age_s in [0.0, 0.9, 0.4, 0.99] * 100)
