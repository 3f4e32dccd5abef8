"""From a request to the network's input: read, parse and decode, off the event loop.

Pictures are decoded piece by piece: requests take turns, so that a small one need not wait for all
of a large one, and the seconds of decoding that a request takes are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from learndrop.errors import BadPicture, TooLong, UnknownFormat
from learndrop.messages import Sample
from learndrop.pictures import Fit, PictureLimits, array_to_input, to_input
from learndrop.settings import Settings
from learndrop.taking import Once
from service.batches import Batch, BatchLimits, Picture, as_label, checked
from service.bodies import Bodies
from service.decoding import Allowance, Threads
from service.forms import read_form
from service.json_bodies import read_json
from service.label_bodies import Asked, read_labels
from service.npz import is_stored, read_npz, unpacked_bytes

TURN_S = 0.05
"""A request's pictures are decoded this long, one at least, before others have their turn."""
AT_ONCE_BYTES = 2**20
"""Pixels that need no decoding are read on the event loop up to this size: in a thread they would
wait longer for Python's lock than reading takes."""
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
        self._pictures = PictureLimits(
            settings.max_image_bytes, settings.max_image_pixels, settings.decode_timeout_s
        )
        self._shape = Shape(settings.image_size, settings.fit)
        self._bodies = Bodies(settings)
        self.threads = Threads(settings.decode_threads)
        self._most_s = settings.decode_timeout_s

    async def samples(
        self,
        request: Request,
        key: str = "",
        batch_key: str = "",
        refuse: Callable[[int, int], None] = lambda samples, pixel_bytes: None,
    ) -> tuple[list[Sample], Once | None]:
        """Read labelled pictures that the API key of this name sent.

        With a key of the batch's own, also what makes it the same when it comes again. `refuse`
        may refuse a batch of so many samples and bytes of pixels before they are decoded, unless
        it may have been taken before.

        Raises:
            BadInput: of the kind that fits; nothing of the batch was taken.
            Busy: if too many bodies are held already.
            StreamFull: as `refuse` says.
        """

        def admit(batch: Batch) -> None:
            if not batch_key and batch.ids is None:
                count = len(batch.images)
                refuse(count, count * 3 * self._shape.size**2)

        accepted_s = time.time()
        batch, pixels = await self._received(request, self._shape, labelled=True, admit=admit)
        labels, names = batch.labels or (), batch.ids or [""] * len(pixels)
        samples = [
            Sample(image, label, accepted_s, key, name)
            for image, label, name in zip(pixels, labels, names, strict=True)
        ]
        if not batch_key:
            return samples, None
        digest = partial(Once.of, batch_key, samples)
        return samples, await self.threads.run(digest, Allowance(self._most_s))

    async def labels(self, request: Request) -> list[Asked] | Asked:
        """Read labels for predictions.

        Raises:
            BadInput: if the body is none of labels.
            Busy: if too many bodies are held already.
        """
        content_type(request, ("application/json",))
        body, _ = await self._bodies.read(request)
        return read_labels(body, self._limits)

    def label(self, raw: Any) -> str:
        """One label as text.

        Raises:
            BadInput: if it is none.
        """
        return as_label(raw, 0, self._limits)

    async def pictures(
        self,
        request: Request,
        shape: Shape,
        refuse: Callable[[int], None] = lambda pictures: None,
    ) -> NDArray[np.uint8]:
        """Read pictures as the network's input: uint8 [N, size, size, 3].

        `refuse` may refuse so many pictures before they are decoded; it may be called in a thread.

        Raises:
            BadInput, Busy: as for `samples`.
            Busy: as `refuse` says.
        """

        def admit(batch: Batch) -> None:
            refuse(len(batch.images))

        _, pixels = await self._received(request, shape, labelled=False, admit=admit)
        return np.stack(pixels)

    async def _received(
        self,
        request: Request,
        shape: Shape,
        *,
        labelled: bool,
        admit: Callable[[Batch], None] = lambda batch: None,
    ) -> tuple[Batch, list[NDArray[np.uint8]]]:
        kind, options = content_type(request)
        allowance = Allowance(self._most_s)
        body, held = await self._bodies.read(request)
        if kind == "application/x-npz":
            held.take(unpacked_bytes(body, self._limits), alone=True)

        def parsed() -> Batch:
            batch = parse(kind, options, body, self._limits)
            batch = checked(batch, self._limits, labelled=labelled)
            admit(batch)
            return batch

        def read() -> tuple[Batch, list[NDArray[np.uint8]]]:
            batch = parsed()
            return batch, inputs(batch.images, shape, self._pictures, 0, allowance.left_s)

        if self._is_quick(kind, body):
            batch = parsed()
            pixels = ready(batch.images, shape)
        else:
            batch, pixels = await self.threads.run(read, allowance)
        if not labelled or not ready(batch.images, shape):
            # Pixels of their own; those of samples that fit as they are stay views of the body.
            held.take(len(batch.images) * 3 * shape.size**2, alone=True)
        while len(pixels) < len(batch.images):
            piece = partial(
                inputs, batch.images, shape, self._pictures, len(pixels), allowance.left_s
            )
            pixels += await self.threads.run(piece, allowance)
        return batch, pixels

    def _is_quick(self, kind: str, body: bytearray) -> bool:
        few = len(body) <= AT_ONCE_BYTES
        return few and kind == "application/x-npz" and is_stored(body, self._limits)

    def close(self) -> None:
        """End the threads."""
        self.threads.close()


def content_type(
    request: Request, taken: Sequence[str] = CONTENT_TYPES
) -> tuple[str, dict[bytes, bytes]]:
    """The content type of a request and its parameters.

    Raises:
        UnknownFormat: if it is none that is taken; names those that are.
    """
    told = request.headers.get("content-type", "")
    kind, options = parse_options_header(told)
    name = kind.decode("latin-1").lower()
    if name not in taken:
        raise UnknownFormat(
            f"content type {told[:80]!r} is not taken; {', '.join(taken)} may be",
            item="Content-Type",
            limit=list(taken),
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


def ready(pictures: Sequence[Picture], shape: Shape) -> list[NDArray[np.uint8]]:
    """The pictures, if all of them are the network's input already; else none of them."""
    wanted = (shape.size, shape.size, 3)
    arrays = [picture for picture in pictures if isinstance(picture, np.ndarray)]
    return arrays if all(array.shape == wanted for array in arrays) else []


def inputs(
    pictures: Sequence[Picture], shape: Shape, limits: PictureLimits, first: int, left_s: float
) -> list[NDArray[np.uint8]]:
    """Pictures from `first` on as uint8 [size, size, 3], as many as TURN_S is enough for.

    Raises:
        BadPicture: with the index of the first one that cannot be used.
        TooLong: if one is not decoded within `left_s`; names it.
    """
    made: list[NDArray[np.uint8]] = []
    began = time.perf_counter()
    for index in range(first, len(pictures)):
        spent_s = time.perf_counter() - began
        if made and spent_s > TURN_S:
            break
        try:
            made.append(_input(pictures[index], shape, limits, left_s - spent_s))
        except TooLong as exc:
            raise TooLong(
                f"picture {index} was still being decoded after {limits.max_s:g} s for all",
                item=f"images[{index}]",
                limit=limits.max_s,
            ) from exc
        except BadPicture as exc:
            raise BadPicture(
                f"picture {index}: {exc}", index=index, limit=exc.limit, value=exc.value
            ) from exc
    return made


def _input(
    picture: Picture, shape: Shape, limits: PictureLimits, left_s: float
) -> NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        return array_to_input(picture, size=shape.size, fit=shape.fit)
    return to_input(picture, size=shape.size, fit=shape.fit, limits=limits, most_s=left_s)
