"""From a request to the network's input: read, parse and decode.

Large bodies are parsed and pixels fitted in a thread, picture files decoded in processes of their
own. Both go piece by piece: requests take turns, so that a small one need not wait for all of a
large one, and the seconds that a request's pictures take are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from learndrop.errors import UnknownFormat
from learndrop.images.pictures import PictureLimits
from learndrop.settings import Settings
from learndrop.stream.messages import Sample
from learndrop.stream.taking import Once
from service.bodies.batches import Batch, BatchLimits, as_label, checked
from service.bodies.forms import is_quick, read_form
from service.bodies.json_bodies import read_json
from service.bodies.label_bodies import Asked, read_labels
from service.bodies.npz import is_stored, read_npz, unpacked_bytes
from service.bodies.reading import Bodies
from service.decoding.allowance import Allowance
from service.decoding.decoders import Decoders
from service.decoding.inputs import Picture, Shape, inputs
from service.decoding.threads import Threads

AT_ONCE_BYTES = {
    "application/x-npz": 2**20,
    "multipart/form-data": 2**18,
    "application/json": 2**18,
}
"""Bodies up to this size are parsed on the event loop: in a thread they would wait longer for
Python's lock than parsing takes."""
NO_FILES = PictureLimits()
"""What limits files need not be told where there are none."""
MOST_TYPE_CHARS = 500
"""Of a Content-Type; a boundary has 70. The parser takes 2 µs for each semicolon."""
CONTENT_TYPES = ("multipart/form-data", "application/json", "application/x-npz")


class Intake:
    """The service's one door for pictures, samples and predictions alike.

    Args:
        settings: every limit.
        decoder_ended: told of each decoder that ended, and why.
    """

    def __init__(
        self, settings: Settings, decoder_ended: Callable[[str], None] = lambda why: None
    ) -> None:
        self._limits = BatchLimits.of(settings)
        self._shape = Shape(settings.image_size, settings.fit)
        self._bodies = Bodies(settings)
        self._threads = Threads()
        self.decoders = Decoders(settings, decoder_ended)
        self._most_s = settings.decode_timeout_s

    async def start(self) -> None:
        """Start the decoders."""
        await self.decoders.start()

    async def stop(self) -> None:
        """End decoders and thread."""
        await self.decoders.stop()
        self._threads.close()

    @property
    def working(self) -> int:
        """Bodies that are being read into pictures, those that wait for a turn aside."""
        return self._threads.running + self.decoders.working

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
        batch, pixels = await self._received(request, self._shape, key, labelled=True, admit=admit)
        labels, names = batch.labels or (), batch.ids or [""] * len(pixels)
        samples = [
            Sample(image, label, accepted_s, key, name)
            for image, label, name in zip(pixels, labels, names, strict=True)
        ]
        if not batch_key:
            return samples, None
        digest = partial(Once.of, batch_key, samples)
        return samples, await self._threads.run(digest, Allowance(self._most_s))

    async def labels(self, request: Request) -> list[Asked] | Asked:
        """Read labels for predictions.

        Raises:
            BadInput: if the body is none of labels.
            Busy: if too many bodies are held already.
        """
        content_type(request, ("application/json",))
        body, _ = await self._bodies.read(request)
        return read_labels(body, self._limits)

    def label(self, raw: Any, index: int) -> str:
        """One label as text; `index` is which of its batch it is.

        Raises:
            BadInput: if it is none.
        """
        return as_label(raw, index, self._limits)

    async def pictures(
        self,
        request: Request,
        shape: Shape,
        key: str = "",
        refuse: Callable[[int], None] = lambda pictures: None,
    ) -> NDArray[np.uint8]:
        """Read pictures that the API key of this name sent as the network's input: uint8
        [N, size, size, 3].

        `refuse` may refuse so many pictures before they are decoded; it may be called in a thread.

        Raises:
            BadInput, Busy: as for `samples`.
            Busy: as `refuse` says.
        """

        def admit(batch: Batch) -> None:
            refuse(len(batch.images))

        _, pixels = await self._received(request, shape, key, labelled=False, admit=admit)
        return np.stack(pixels)

    async def _received(
        self,
        request: Request,
        shape: Shape,
        key: str,
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

        if self._is_quick(kind, body):
            batch = parsed()
        else:
            batch = await self._threads.run(parsed, allowance)
        pixels = ready(batch.images, shape)
        if not labelled or not pixels:
            # Pixels of their own; those of samples that fit as they are stay views of the body.
            held.take(len(batch.images) * 3 * shape.size**2, alone=True)
        while len(pixels) < len(batch.images):
            pixels += await self._some(batch.images, len(pixels), shape, allowance, key)
        return batch, pixels

    def _is_quick(self, kind: str, body: bytearray) -> bool:
        if len(body) > AT_ONCE_BYTES[kind]:
            return False
        match kind:
            case "application/x-npz":
                return is_stored(body, self._limits)
            case "multipart/form-data":
                return is_quick(body)
        return True

    async def _some(
        self,
        pictures: Sequence[Picture],
        first: int,
        shape: Shape,
        allowance: Allowance,
        key: str,
    ) -> list[NDArray[np.uint8]]:
        """Make inputs of pictures from `first` on, as many as a turn is enough for."""
        rest = pictures[first:]
        files = [one for one in rest if not isinstance(one, np.ndarray)]
        if files:
            return await self.decoders.decode(files, first, shape, allowance, key)
        fitted = partial(inputs, rest, shape, NO_FILES, allowance.left_s, first=first)
        return await self._threads.run(fitted, allowance)


def content_type(
    request: Request, taken: Sequence[str] = CONTENT_TYPES
) -> tuple[str, dict[bytes, bytes]]:
    """The content type of a request and its parameters.

    Raises:
        UnknownFormat: if it is none that is taken; names those that are.
    """
    told = request.headers.get("content-type", "")
    kind, options = parse_options_header(told if len(told) <= MOST_TYPE_CHARS else "")
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
