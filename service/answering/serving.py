"""Answers pictures with the newest model version, which is swapped by one reference.

A version is checked, built and warmed aside, in pieces between the passes of the one before, which
answers on; only its files are read beside, for a disk may be slow. A request keeps the version that
it began with. Torch is not imported here: `service/answering/model.py` has it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from learndrop.disk.registry import Registry, Version
from learndrop.disk.turns import Doing
from learndrop.errors import BadNetwork, DamagedFile, NoModel, NotFound
from service.answering.passes import Passes, Pixels, Probabilities, Served
from service.answering.shift import ShiftWatch
from service.metrics import ServiceMetrics

AGAIN_S = 5.0
"""A version that could not be loaded is tried again after this long."""

_NOT_LOADABLE = (
    DamagedFile, BadNetwork, NotFound, NoModel, OSError, RuntimeError, MemoryError
)  # fmt: skip
log = structlog.get_logger()


class Serving:
    """Polls the registry, and answers with what it found last."""

    def __init__(
        self,
        registry: Registry,
        load: Callable[[Version, Doing], Served],
        metrics: ServiceMetrics,
        *,
        most_waiting: int,
        poll_s: float,
    ) -> None:
        self._registry, self._load, self._metrics = registry, load, metrics
        self._poll_s = poll_s
        self._passes = Passes(metrics, most_waiting)
        self.shift = ShiftWatch(metrics)
        self._model: Served | None = None
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._tasks: list[asyncio.Task[None]] = []
        self._not_before = 0.0
        self.trouble: str | None = None

    async def start(self) -> None:
        """Take the present version, if there is one, and go on in the background."""
        await self.look()
        self._tasks = [asyncio.create_task(self._passes.run()), asyncio.create_task(self._poll())]

    async def stop(self) -> None:
        """End the background; whoever still waits is told to come again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._passes.close()
        self._loader.shutdown(cancel_futures=True)

    @property
    def alive(self) -> bool:
        """Whether both background tasks run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    @property
    def current(self) -> Served | None:
        """The version that answers now; None before the first."""
        return self._model

    @property
    def number(self) -> int | None:
        """Number of the version that answers now; None before the first."""
        return None if self._model is None else self._model.number

    def model(self) -> Served:
        """The version that a request beginning now is answered with.

        Raises:
            NoModel: before the first version.
        """
        if self._model is None:
            told = self.trouble or "no model version is published yet: send labelled samples first"
            raise NoModel(told, retry_after_s=max(1.0, self._poll_s))
        return self._model

    def refuse(self, count: int) -> None:
        """Refuse so many pictures, before they are decoded, if too many wait already.

        Raises:
            Busy: telling how many wait.
        """
        self._passes.refuse(count)

    async def predict(self, model: Served, images: Pixels) -> Probabilities:
        """Probabilities [N, classes] of uint8 images [N, size, size, 3], by that version.

        Raises:
            Busy: if too many pictures wait already, or the service stops.
        """
        probabilities = await self._passes.predict(model, images)
        self.shift.look(model, probabilities)
        return probabilities

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self.look()

    async def look(self) -> None:
        """Take the registry's current version, if it is another one."""
        if time.monotonic() < self._not_before:
            return
        began = time.perf_counter()
        try:
            loop = asyncio.get_running_loop()
            model, trouble = await loop.run_in_executor(self._loader, self._newer)
        except _NOT_LOADABLE as exc:
            self._not_before = time.monotonic() + AGAIN_S
            self.trouble = f"a model version cannot be loaded: {exc}"
            self._metrics.swap_failures.inc()
            log.error("version_not_loaded", error=str(exc), kind=type(exc).__name__)
            return
        self.trouble = trouble
        if trouble is not None:
            self._not_before = time.monotonic() + AGAIN_S
        if model is None:
            return
        self._model = model
        self._metrics.version.set(model.number)
        self._metrics.swaps.inc()
        self._metrics.swap_seconds.observe(time.perf_counter() - began)
        log.info("version_taken", version=model.number, seconds=time.perf_counter() - began)

    def _newer(self) -> tuple[Served | None, str | None]:
        """The version to change to, if any, and what is wrong with the current one, if anything."""
        number = self._registry.current()
        if number is None or number == self.number:
            return None, None
        version = self._registry.load(None, self._passes.between)
        if version.number == self.number:
            return None, version.trouble  # the last good one before a damaged one answers already
        return self._load(version, self._passes.between), version.trouble
