"""Our processes as children of a test, and a wait for what they do."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deploy.children import ROOT, to_environment
from learndrop.settings import Settings

PATIENCE_S = 90.0


async def wait_until(
    condition: Callable[[], bool | Awaitable[bool]],
    *,
    or_else: Callable[[], bool] = lambda: False,
    within_s: float = PATIENCE_S,
) -> None:
    """Ask until it is so (or `or_else` is); fail when it does not become so in time."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer or or_else():
            return
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        await asyncio.sleep(0.02)


class Processes:
    """Starts modules with settings; kills what is left of them after the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, module: str, settings: Settings) -> subprocess.Popen[bytes]:
        """Run `python -m module` with these settings and no others."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
        log = self._folder / f"process-{len(self._started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-W", "error::ResourceWarning", "-m", module],
                cwd=ROOT,
                env=inherited | to_environment(settings) | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._started.append(process)
        return process

    def said(self, process: subprocess.Popen[bytes]) -> str:
        """What it wrote so far."""
        number = self._started.index(process)
        return (self._folder / f"process-{number}.log").read_text()

    async def works_until(
        self,
        process: subprocess.Popen[bytes],
        condition: Callable[[], bool | Awaitable[bool]],
    ) -> None:
        """Wait for the condition; fail with its last words when the process ends before."""
        await wait_until(condition, or_else=lambda: process.poll() is not None)
        assert process.poll() is None, self.said(process)[-3000:]

    def end(self) -> None:
        """Kill whatever still runs."""
        for process in self._started:
            process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Started processes end with the test."""
    processes = Processes(tmp_path_factory.mktemp("processes"))
    yield processes
    processes.end()
