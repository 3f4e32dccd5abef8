"""Decoders of picture files for tests, and what was told of those that ended."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from learndrop.errors import BadInput
from learndrop.images.pictures import PictureLimits, Pixels
from learndrop.settings import load_settings
from service.decoding.allowance import Allowance
from service.decoding.decoders import Decoders
from service.decoding.inputs import Shape, inputs
from tests.processes import wait_until
from tests.services import encoded, pixels

SHAPE = Shape(32, "crop")
LIMITS = PictureLimits(max_s=10.0)
GOOD = encoded(pixels()[0])
IN_PROC = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads Linux's /proc")


class Scene:
    """Decoders, and what was told of those that ended."""

    def __init__(self, **settings: Any) -> None:
        self.ended: list[str] = []
        own: dict[str, Any] = {"decoders": 1, "max_image_pixels": 16_000_000}
        self.decoders = Decoders(load_settings(**(own | settings)), self.ended.append)

    async def decode(
        self,
        files: Sequence[bytes],
        *,
        most_s: float = 10.0,
        shape: Shape = SHAPE,
        key: str = "",
    ) -> list[Pixels]:
        """All of them, in turns."""
        made: list[Pixels] = []
        allowance = Allowance(most_s)
        while len(made) < len(files):
            made += await self.decoders.decode(files[len(made) :], len(made), shape, allowance, key)
        return made

    async def pid(self) -> int:
        """The process of the first one, as soon as it is there."""
        await wait_until(lambda: self.decoders.ready > 0)
        return self.decoders.pids[0]


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Scene]:
    scene = Scene(**settings)
    await scene.decoders.start()
    try:
        yield scene
    finally:
        await scene.decoders.stop()


def told(error: BadInput) -> dict[str, object]:
    """Everything that an answer is made of."""
    return vars(error) | {"kind": type(error), "text": str(error)}


def in_process(data: bytes) -> Pixels | dict[str, object]:
    """What this process makes of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return inputs([data], SHAPE, LIMITS, 10.0, first=7)[0]
        except BadInput as exc:
            return told(exc)
