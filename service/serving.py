"""Answers pictures with the newest model version, which is swapped by one reference.

A version is loaded and warmed aside, in a thread of its own, while the one before answers on. A
request keeps the version that it began with. Pictures of several requests go through the network
together; how many may wait is bounded. Torch is not imported here: `service/model.py` has it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from learndrop.errors import BadNetwork, Busy, DamagedFile, NoModel, NotFound
from learndrop.registry import Registry, Version
from service.intake import Shape
from service.metrics import ServiceMetrics

MOST_TOGETHER = 64
"""Pictures in one pass through the network."""
AGAIN_S = 5.0
"""A version that could not be loaded is tried again after this long."""

_NOT_LOADABLE = (
    DamagedFile, BadNetwork, NotFound, NoModel, OSError, RuntimeError, MemoryError
)  # fmt: skip

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
log = structlog.get_logger()


class Served(Protocol):
    """A model version, ready to answer."""

    @property
    def number(self) -> int:
        """The version's number."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in the order of the probabilities."""
        ...

    @property
    def shape(self) -> Shape:
        """What a picture must become for it."""
        ...

    @property
    def published_s(self) -> float:
        """When it was published, unix time."""
        ...

    def predict(self, images: Pixels) -> Probabilities:
        """Probabilities [N, classes] of uint8 images [N, size, size, 3]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    model: Served
    images: Pixels
    answer: asyncio.Future[Probabilities]


def _fail(group: Iterable[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


class Serving:
    """Polls the registry, and puts pictures through the network in micro-batches."""

    def __init__(
        self,
        registry: Registry,
        load: Callable[[Version], Served],
        metrics: ServiceMetrics,
        *,
        most_waiting: int,
        poll_s: float,
    ) -> None:
        self._registry, self._load, self._metrics = registry, load, metrics
        self._most_waiting, self._poll_s = most_waiting, poll_s
        self._model: Served | None = None
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._waiting = 0
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._tasks: list[asyncio.Task[None]] = []
        self._not_before = 0.0
        self.trouble: str | None = None

    async def start(self) -> None:
        """Take the present version, if there is one, and go on in the background."""
        await self.look()
        self._tasks = [asyncio.create_task(self._answer()), asyncio.create_task(self._poll())]

    async def stop(self) -> None:
        """End the background; whoever still waits is told to come again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _fail(self._queue, Busy("the service is stopping"))
        self._queue.clear()
        for threads in (self._network, self._loader):
            threads.shutdown(cancel_futures=True)

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

    async def predict(self, model: Served, images: Pixels) -> Probabilities:
        """Probabilities [N, classes] of uint8 images [N, size, size, 3], by that version.

        Raises:
            Busy: if too many pictures wait already.
        """
        count = len(images)
        if self._waiting and self._waiting + count > self._most_waiting:
            raise Busy(
                f"{self._waiting} pictures wait for the network, {count} more are too many",
                limit=self._most_waiting,
                value=self._waiting + count,
            )
        waiting = _Waiting(model, images, asyncio.get_running_loop().create_future())
        self._change_waiting(count)
        try:
            self._queue.append(waiting)
            self._arrived.set()
            return await waiting.answer
        finally:
            self._change_waiting(-count)

    def _change_waiting(self, count: int) -> None:
        self._waiting += count
        self._metrics.queue.set(self._waiting)

    async def _answer(self) -> None:
        while True:
            await self._arrived.wait()
            if not (group := self._take()):
                self._arrived.clear()
                continue
            try:
                answers = await self._pass(group)
            except asyncio.CancelledError:
                _fail(group, Busy("the service is stopping"))
                raise
            except (RuntimeError, ValueError, MemoryError) as exc:
                log.exception("prediction_failed", version=group[0].model.number)
                _fail(group, exc)
                continue
            start = 0
            for waiting in group:
                end = start + len(waiting.images)
                if not waiting.answer.done():
                    waiting.answer.set_result(answers[start:end])
                start = end

    async def _pass(self, group: list[_Waiting]) -> Probabilities:
        images = np.concatenate([waiting.images for waiting in group])
        predict = group[0].model.predict
        return await asyncio.get_running_loop().run_in_executor(self._network, predict, images)

    def _take(self) -> list[_Waiting]:
        """The next requests of one version that fit together; those that gave up are left out."""
        group: list[_Waiting] = []
        count = 0
        while self._queue:
            waiting = self._queue[0]
            if waiting.answer.done():
                self._queue.popleft()
                continue
            if group and (
                waiting.model is not group[0].model or count + len(waiting.images) > MOST_TOGETHER
            ):
                break
            group.append(self._queue.popleft())
            count += len(waiting.images)
        return group

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
        except (
            DamagedFile,
            BadNetwork,
            NotFound,
            NoModel,
            OSError,
            RuntimeError,
            MemoryError,
        ) as exc:
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
        version = self._registry.load(None)
        if version.number == self.number:
            return None, version.trouble  # the last good one before a damaged one answers already
        return self._load(version), version.trouble
