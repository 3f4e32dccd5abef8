"""Puts the pictures of several requests through the network together; how many wait is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from learndrop.drift.unlabelled import Sureness
from learndrop.errors import Busy
from service.decoding.inputs import Shape
from service.metrics import ServiceMetrics

MOST_TOGETHER = 64
"""Pictures in one pass through the network."""
BETWEEN_S = 0.1
"""Other work waits no longer for the pass before it."""

Pixels = NDArray[np.uint8]
Probabilities = NDArray[np.float32]
T = TypeVar("T")
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

    @property
    def learned(self) -> Sureness | None:
        """How unsure answers were on what it has learned; None if it does not tell."""
        ...

    def predict(self, images: Pixels) -> Probabilities:
        """Probabilities [N, classes] of uint8 images [N, size, size, 3]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    model: Served
    images: Pixels
    answer: asyncio.Future[Probabilities]


class Passes:
    """One thread with the network in it, and the queue before it.

    Nobody waits for a pass to fill: while one runs, the next gathers.
    """

    def __init__(self, metrics: ServiceMetrics, most_waiting: int) -> None:
        self._metrics, self._most_waiting = metrics, most_waiting
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._waiting = 0
        self._network = ThreadPoolExecutor(1, thread_name_prefix="network")

    def refuse(self, count: int) -> None:
        """Refuse so many more pictures if too many wait already. May be called in threads.

        Raises:
            Busy: telling how many wait.
        """
        if self._waiting and self._waiting + count > self._most_waiting:
            raise Busy(
                f"{self._waiting} pictures wait for the network, {count} more are too many",
                limit=self._most_waiting,
                value=self._waiting + count,
            )

    async def predict(self, model: Served, images: Pixels) -> Probabilities:
        """Probabilities [N, classes] of uint8 images [N, size, size, 3], by that version.

        Raises:
            Busy: if too many pictures wait already, or the service stops.
        """
        count = len(images)
        self.refuse(count)
        waiting = _Waiting(model, images, asyncio.get_running_loop().create_future())
        self._change_waiting(count)
        try:
            self._queue.append(waiting)
            self._arrived.set()
            return await waiting.answer
        finally:
            self._change_waiting(-count)

    async def run(self) -> None:
        """Answer until cancelled."""
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

    def between(self, work: Callable[[], T], /) -> T:
        """Do a piece of other work between two passes, from another thread, which waits for it.

        Beside a pass it would take the interpreter and the cores from it for as long as it goes on;
        so a pass waits for one piece at most. Where a pass takes longer than BETWEEN_S it is done
        beside it all the same.
        """
        turn = self._network.submit(work)
        try:
            return turn.result(BETWEEN_S)
        except TimeoutError:
            return work() if turn.cancel() else turn.result()

    def close(self) -> None:
        """Tell whoever still waits to come again, and end the thread."""
        _fail(self._queue, Busy("the service is stopping"))
        self._queue.clear()
        self._network.shutdown(cancel_futures=True)

    def _change_waiting(self, count: int) -> None:
        self._waiting += count
        self._metrics.queue.set(self._waiting)

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


def _fail(group: Iterable[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
