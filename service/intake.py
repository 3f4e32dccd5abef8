"""From a request to the network's input: read, parse and decode, off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from learndrop.errors import BadPicture, UnknownFormat
from learndrop.messages import Sample
from learndrop.pictures import Fit, PictureLimits, array_to_input, to_input
from learndrop.settings import Settings
from service.batches import Batch, BatchLimits, Picture, checked
from service.bodies import Bodies
from service.forms import read_form
from service.json_bodies import read_json
from service.npz import read_npz

T = TypeVar("T")
CONTENT_TYPES = ("multipart/form-data", "application/json", "application/x-npz")


@dataclass(frozen=True, slots=True)
class Shape:
    """What every picture becomes: a square of `size` pixels, fitted in one way."""

    size: int
    fit: Fit


class Intake:
    """The service's one door for pictures, samples and predictions alike."""

    def __init__(self, settings: Settings) -> None:
        self._limits = BatchLimits.of(settings)
        self._pictures = PictureLimits(settings.max_image_bytes, settings.max_image_pixels)
        self._shape = Shape(settings.image_size, settings.fit)
        self._bodies = Bodies(settings)
        self._threads = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")

    async def samples(self, request: Request) -> list[Sample]:
        """Read labelled pictures.

        Raises:
            BadInput: of the kind that fits; nothing of the batch was taken.
            Busy: if too many bodies are held already.
        """
        accepted_s = time.time()

        def make(batch: Batch) -> list[Sample]:
            pixels = inputs(batch, self._shape, self._pictures)
            return [
                Sample(image, label, accepted_s)
                for image, label in zip(pixels, batch.labels or (), strict=True)
            ]

        return await self._received(request, make, labelled=True)

    async def pictures(self, request: Request, shape: Shape) -> NDArray[np.uint8]:
        """Read pictures as the network's input: uint8 [N, size, size, 3].

        Raises:
            BadInput, Busy: as for `samples`.
        """

        def make(batch: Batch) -> NDArray[np.uint8]:
            return np.stack(inputs(batch, shape, self._pictures))

        return await self._received(request, make, labelled=False)

    async def _received(self, request: Request, make: Callable[[Batch], T], *, labelled: bool) -> T:
        kind, options = content_type(request)
        async with self._bodies.read(request) as body:

            def work() -> T:
                batch = parse(kind, options, body, self._limits)
                return make(checked(batch, self._limits, labelled=labelled))

            return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)


def content_type(request: Request) -> tuple[str, dict[bytes, bytes]]:
    """The content type of a request and its parameters.

    Raises:
        UnknownFormat: if it is none that is taken; names those that are.
    """
    told = request.headers.get("content-type", "")
    kind, options = parse_options_header(told)
    name = kind.decode("latin-1").lower()
    if name not in CONTENT_TYPES:
        raise UnknownFormat(
            f"content type {told[:80]!r} is not taken; {', '.join(CONTENT_TYPES)} are",
            item="Content-Type",
            limit=list(CONTENT_TYPES),
            value=told[:80],
        )
    return name, options


def parse(kind: str, options: dict[bytes, bytes], body: bytearray, limits: BatchLimits) -> Batch:
    """Read a body of one of CONTENT_TYPES."""
    match kind:
        case "application/json":
            return read_json(body, limits)
        case "application/x-npz":
            return read_npz(body, limits)
        case _:
            return read_form(body, options, limits)


def inputs(batch: Batch, shape: Shape, limits: PictureLimits) -> list[NDArray[np.uint8]]:
    """Every picture as uint8 [size, size, 3].

    Raises:
        BadPicture: with the index of the first one that cannot be used.
    """
    made = []
    for index, picture in enumerate(batch.images):
        try:
            made.append(_input(picture, shape, limits))
        except BadPicture as exc:
            raise BadPicture(
                f"picture {index}: {exc}", index=index, limit=exc.limit, value=exc.value
            ) from exc
    return made


def _input(picture: Picture, shape: Shape, limits: PictureLimits) -> NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        return array_to_input(picture, size=shape.size, fit=shape.fit)
    return to_input(picture, size=shape.size, fit=shape.fit, limits=limits)
