"""Runs of a bench in processes of their own."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from learndrop.bench.apart import FORKS, Apart
from learndrop.bench.jobs import Job
from learndrop.errors import LearndropError
from tests.learning import QUICK

SETTINGS = {k: v for k, v in QUICK.items() if k != "batch"} | {"worker_threads": 1}
JOB = Job(length=64, worlds=("clean",), strategy="plain", settings=SETTINGS).as_values()


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    with pytest.MonkeyPatch.context() as patch, Apart() as apart:
        patch.delenv("OMP_NUM_THREADS", raising=False)  # libraries would like one a core
        yield apart


def measured(result: dict[str, Any]) -> dict[str, Any]:
    """What two runs of one job must have alike."""
    return {k: result[k] for k in ("accuracy", "samples", "flops")}


def test_two_runs_of_one_job_are_alike_and_start_from_nothing(apart: Apart, tmp_path: Path) -> None:
    results = []
    for name in ("a.json", "b.json"):
        apart.run("stream", JOB, tmp_path / name)
        results.append(json.loads((tmp_path / name).read_text()))
    assert measured(results[0]) == measured(results[1])
    assert results[1]["seconds"]["cpu"] < 3 * results[0]["seconds"]["cpu"] + 1  # no one else's


def test_a_run_that_fails_says_why_and_the_next_is_done(apart: Apart, tmp_path: Path) -> None:
    with pytest.raises(LearndropError, match="ended with 1: .*no strategy 'magic'"):
        apart.run("stream", JOB | {"strategy": "magic"}, tmp_path / "a.json")
    assert not list(tmp_path.iterdir())
    apart.run("stream", JOB, tmp_path / "b.json")
    assert (tmp_path / "b.json").exists()


@pytest.mark.skipif(not FORKS, reason="nothing is copied here")
def test_what_is_copied_for_each_run_has_one_thread(apart: Apart, tmp_path: Path) -> None:
    apart.run("stream", JOB, tmp_path / "a.json")
    assert apart._process, "it was copied, and waits for the next"
    assert len(os.listdir(f"/proc/{apart._process.pid}/task")) == 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="no library starts threads here")
def test_where_libraries_have_started_threads_each_run_starts_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    with Apart() as apart:
        for name in ("a.json", "b.json"):
            with pytest.raises(LearndropError, match="ended with 1: .*no strategy 'magic'"):
                apart.run("stream", JOB | {"strategy": "magic"}, tmp_path / name)
            assert apart._process is None


@pytest.mark.skipif(not FORKS, reason="here a run is the process that would say so itself")
def test_a_run_that_is_killed_is_told(apart: Apart, tmp_path: Path) -> None:
    fifo = tmp_path / "endless.npz"
    os.mkfifo(fifo)  # who opens it waits for ever

    def kill() -> None:
        server = apart._process
        assert server
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")
        for _ in range(600):
            if pids := children.read_text().split():
                os.kill(int(pids[0]), 9)
                return
            time.sleep(0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(LearndropError, match="ended with -9"):
        apart.run("stream", JOB | {"data": str(fifo)}, tmp_path / "a.json")
    killer.join()
    apart.run("stream", JOB, tmp_path / "b.json")
