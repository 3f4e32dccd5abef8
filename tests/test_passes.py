"""Passes through the network, and other work between them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from service.answering import passes as passes_module
from service.answering.passes import Passes, Pixels, Probabilities
from service.decoding.inputs import Shape
from service.metrics import ServiceMetrics
from tests.services import pixels


class Slow:
    """A version whose passes take a while; it knows whether one is going on."""

    number, classes, published_s = 1, ("a", "b"), 0.0
    shape = Shape(32, "crop")
    learned = None

    def __init__(self, seconds: float = 0.005) -> None:
        self.seconds, self.passes = seconds, 0
        self.open, self.inside = threading.Event(), threading.Event()
        self.open.set()

    def predict(self, images: Pixels) -> Probabilities:
        self.inside.set()
        time.sleep(self.seconds)
        assert self.open.wait(20)
        self.passes += 1
        self.inside.clear()
        return np.full((len(images), 2), 0.5, np.float32)


@pytest.fixture
async def passes() -> AsyncIterator[Passes]:
    made = Passes(ServiceMetrics(), most_waiting=100)
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    made.close()


async def test_other_work_is_done_between_passes_never_beside_one(
    passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes_module, "BETWEEN_S", 20.0)
    model, ended = Slow(), threading.Event()
    beside = list[bool]()

    def loading() -> None:
        while model.passes < 20:  # so passes go on meanwhile
            passes.between(lambda: beside.append(model.inside.is_set()))
        ended.set()

    async def client() -> None:
        while not ended.is_set():
            await passes.predict(model, pixels(1))

    await asyncio.gather(asyncio.to_thread(loading), *(client() for _ in range(3)))
    assert beside and not any(beside)


async def test_other_work_does_not_wait_for_a_pass_that_takes_long(passes: Passes) -> None:
    model = Slow()
    model.open.clear()
    waiting = asyncio.create_task(passes.predict(model, pixels(1)))
    assert await asyncio.to_thread(model.inside.wait, 20)
    assert await asyncio.to_thread(passes.between, lambda: "done") == "done"
    assert not waiting.done()
    model.open.set()
    assert len(await waiting) == 1


async def test_what_goes_wrong_in_it_is_told_to_whoever_wanted_it(passes: Passes) -> None:
    def damaged() -> None:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        await asyncio.to_thread(passes.between, damaged)
    assert len(await passes.predict(Slow(), pixels(2))) == 2
