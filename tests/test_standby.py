"""Two workers on one stream: real processes, paused and killed."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.settings import Settings
from learndrop.stream.account import Counts
from tests.processes import Processes, processes, wait_until
from tests.servers import server, settings_on
from tests.test_worker_kills import Service, grown
from tests.tiny_worker import EAGER, saved

__all__ = ["processes", "server"]

LEASE_S = 0.6
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def settings(server: EmbeddedRedis, tmp_path: Path) -> Settings:
    return settings_on(
        server,
        data_dir=tmp_path / "one",
        **EAGER,
        lease_s=LEASE_S,
        max_deliveries=100,
    )


@pytest.fixture
def start(settings: Settings, processes: Processes) -> Start:
    def start(**overrides: Any) -> subprocess.Popen[bytes]:
        return processes.start("tests.tiny_worker", settings.model_copy(update=overrides))

    return start


def stands_by(processes: Processes, worker: subprocess.Popen[bytes]) -> Callable[[], bool]:
    return lambda: "standing_by" in processes.said(worker)


async def test_the_second_takes_over_from_the_last_checkpoint_when_the_first_is_killed(
    settings: Settings, start: Start, processes: Processes
) -> None:
    service = Service(settings)
    first = start()
    await service.publish(150)
    await processes.works_until(first, grown(service, 20))
    second = start()
    await processes.works_until(second, stands_by(processes, second))
    first.kill()
    first.wait()
    await service.publish(50)
    await processes.works_until(second, lambda: service.learned_or_buried(200))
    assert await service.counts() == Counts(200, 200, 0, 0)
    assert saved(settings.data_dir)[0] == list(range(200))
    second.terminate()
    assert second.wait(20) == 0
    await service.publisher.close()


async def test_a_clean_end_hands_the_lease_on_at_once(
    settings: Settings, start: Start, processes: Processes
) -> None:
    service = Service(settings)
    first = start(lease_s=60.0)  # nobody would wait for that
    await service.publish(20)
    await processes.works_until(first, lambda: service.learned_or_buried(20))
    second = start(lease_s=60.0)
    await processes.works_until(second, stands_by(processes, second))
    first.terminate()
    assert first.wait(20) == 0
    await service.publish(20)
    await processes.works_until(second, lambda: service.learned_or_buried(40))
    assert saved(settings.data_dir)[0] == list(range(40))
    await service.publisher.close()


async def test_a_worker_that_slept_through_its_lease_writes_nothing_when_it_wakes(
    settings: Settings, start: Start, processes: Processes
) -> None:
    service = Service(settings)
    first = start()
    await service.publish(40)
    await processes.works_until(first, lambda: service.learned_or_buried(40))
    second = start()
    await processes.works_until(second, stands_by(processes, second))
    await service.publish(360)
    await processes.works_until(first, grown(service, 80))
    first.send_signal(signal.SIGSTOP)  # most likely in the middle of something
    await processes.works_until(second, lambda: '"leading"' in processes.said(second))
    await wait_until(lambda: service.learned_or_buried(400))
    by_first = versions_of(settings, first)
    first.send_signal(signal.SIGCONT)
    await processes.works_until(first, lambda: "deposed" in processes.said(first))
    await service.publish(100)
    await processes.works_until(second, lambda: service.learned_or_buried(500))
    assert await service.counts() == Counts(500, 500, 0, 0)
    state = json.loads((settings.data_dir / "checkpoint.json").read_text())
    assert state["numbers"] == list(range(500))  # each once, and none by the one that woke
    assert state["process"] == second.pid
    assert versions_of(settings, first) == by_first
    second.kill()
    second.wait()
    await service.publish(20)  # and it takes over once more, from what the other had learned
    await processes.works_until(first, lambda: service.learned_or_buried(520))
    assert saved(settings.data_dir)[0] == list(range(520))
    await service.publisher.close()


async def test_another_data_folder_by_mistake_corrupts_nothing_and_waits_to_be_told(
    settings: Settings, start: Start, processes: Processes, tmp_path: Path
) -> None:
    service = Service(settings)
    first = start()
    await service.publish(100)
    await processes.works_until(first, lambda: service.learned_or_buried(100))
    wrong = start(data_dir=tmp_path / "two")
    await processes.works_until(wrong, stands_by(processes, wrong))
    first.kill()
    first.wait()
    await service.publish(50)
    await processes.works_until(wrong, lambda: "stream_gap" in processes.said(wrong))
    assert "it lacks 100 of them" in processes.said(wrong)
    assert await service.counts() == Counts(150, 100, 0, 50)  # nothing was learned there
    (warning,) = [w for w in await service.publisher.warnings() if "LEARNDROP_ON_GAP" in w]
    assert "lacks 100" in warning
    wrong.terminate()
    assert wrong.wait(20) == 0
    right = start()
    await processes.works_until(right, lambda: service.learned_or_buried(150))
    assert saved(settings.data_dir)[0] == list(range(150))
    assert not [w for w in await service.publisher.warnings() if "LEARNDROP_ON_GAP" in w]
    await service.publisher.close()


async def test_told_to_go_on_it_does_with_what_its_folder_has(
    settings: Settings, start: Start, processes: Processes, tmp_path: Path
) -> None:
    service = Service(settings)
    first = start()
    await service.publish(40)
    await processes.works_until(first, lambda: service.learned_or_buried(40))
    first.terminate()
    assert first.wait(20) == 0
    second = start(data_dir=tmp_path / "two", on_gap="go_on")
    await service.publish(10)
    await processes.works_until(second, lambda: service.learned_or_buried(50))
    assert saved(tmp_path / "two")[0] == list(range(40, 50))
    assert await service.counts() == Counts(50, 50, 0, 0)
    await service.publisher.close()


def versions_of(settings: Settings, worker: subprocess.Popen[bytes]) -> int:
    """How many versions this process has published."""
    path = settings.data_dir / "versions"
    return path.read_text().split().count(str(worker.pid))
