"""Has picture files decoded, those of senders whose pictures end decoders apart from all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from learndrop.errors import BadPicture, Busy, DecoderEnded
from learndrop.images.pictures import PictureLimits, Pixels
from learndrop.settings import Settings
from service.decoding.allowance import Allowance
from service.decoding.inputs import Shape
from service.decoding.lane import Lane
from service.decoding.wire import Ask

ASK_BYTES = 2**20
"""Files that are sent at once, with what they become; one at least. Those that a turn was too short
for are sent again."""
APART_S = 300.0
"""So long after one of a key's pictures ended a decoder, all of that key's are decoded apart."""
MOST_WAITING = 4
"""Requests that may wait for the decoder apart: what they hold is not there for others."""

log = structlog.get_logger()


class Decoders:
    """Has files decoded in processes, `settings.decoders` of them, in turns.

    A key whose pictures end them has one of its own, started when it is needed first: so it can
    take a decoder from others once in APART_S, and not one after the other. Without keys nobody can
    be told from others.

    Args:
        settings: how many, how large a picture, how much memory.
        ended: told of each one that ended, and why (one of WHY_ENDED).
    """

    def __init__(self, settings: Settings, ended: Callable[[str], None]) -> None:
        self._limits = PictureLimits(
            settings.max_image_bytes, settings.max_image_pixels, settings.decode_timeout_s
        )
        self._common = Lane(settings.decoders, settings, ended)
        self._apart = Lane(1, settings, ended)
        self._waiting_apart = 0
        self._doubted: dict[str, float] = {}  # until when, of a key

    async def start(self) -> None:
        """Start them; nobody waits until they are ready."""
        self._common.start()

    async def stop(self) -> None:
        """End them; whoever still waits is told to come again."""
        await asyncio.gather(self._common.stop(), self._apart.stop())

    @property
    def trouble(self) -> str:
        """That none can be started, while this is so."""
        return self._common.trouble

    @property
    def ready(self) -> int:
        """How many take files, the one apart aside."""
        return self._common.ready

    @property
    def working(self) -> int:
        """How many decode at this moment."""
        return self._common.working + self._apart.working

    @property
    def pids(self) -> list[int]:
        """The processes that are ready, the one apart last."""
        return self._common.pids + self._apart.pids

    async def decode(
        self,
        files: Sequence[bytes | bytearray],
        first: int,
        shape: Shape,
        allowance: Allowance,
        key: str = "",
    ) -> list[Pixels]:
        """Decode the first of these files, as many as a turn is enough for; one at least.

        `first` is which picture of its batch the first one is, `key` the API key's name that sent
        them. Files that were in a decoder's hands when it ended are tried again one by one, so that
        only the one that does it is refused.

        Raises:
            BadPicture: with the index of the first one that cannot be used.
            TooLong: if nothing of the allowance is left, or was at its end.
            Busy: if there is no decoder, or the service stops.
        """
        some = _some(files, shape)
        try:
            return await self._asked(some, first, shape, allowance, key)
        except DecoderEnded:
            doubt = self._doubted.get(key)
        made: list[Pixels] = []
        for index, file in enumerate(some, first):
            try:
                made += await self._asked([file], index, shape, allowance, key)
            except DecoderEnded as exc:
                self._tell(key)
                told = f"picture {index} ends the process that decodes it"
                raise BadPicture(told, index=index) from exc
        if doubt is not None and self._doubted.get(key) == doubt:
            del self._doubted[key]  # it was somebody else who ended that one
        return made

    async def _asked(
        self,
        files: Sequence[bytes | bytearray],
        first: int,
        shape: Shape,
        allowance: Allowance,
        key: str,
    ) -> list[Pixels]:
        """Like `decode`, of all that is given.

        Raises:
            DecoderEnded: one crashed while it worked on these files.
            Busy: as for `decode`.
        """
        ask = Ask(files, shape, self._limits, allowance.left_s, first)
        while not self._is_doubted(key):
            async with self._common.turns:
                if not self._is_doubted(key):  # for what it sent beside, meanwhile
                    return await self._answer(self._common, ask, allowance, key)
        if self._waiting_apart >= MOST_WAITING:
            told = f"pictures of the key {key!r} end the processes that decode them: few may wait"
            raise Busy(told, retry_after_s=5.0, limit=MOST_WAITING)
        self._waiting_apart += 1
        try:
            async with self._apart.turns:
                if not self._apart.started and self._common.started:
                    self._apart.start()
                return await self._answer(self._apart, ask, allowance, key)
        finally:
            self._waiting_apart -= 1

    async def _answer(self, lane: Lane, ask: Ask, allowance: Allowance, key: str) -> list[Pixels]:
        """Ask a decoder of a lane in which there is a turn."""
        allowance.insist()
        decoder = await lane.free()
        try:
            done = await decoder.ask(replace(ask, left_s=allowance.left_s))
        except DecoderEnded as exc:
            allowance.left_s -= exc.spent_s
            if exc.why == "stop":
                raise Busy("the service is stopping") from exc
            if key:  # at once: others of its pictures wait for this turn
                self._doubted[key] = asyncio.get_running_loop().time() + APART_S
            if exc.why == "time":
                self._tell(key)
                raise allowance.too_long() from exc
            raise
        allowance.left_s -= done.spent_s
        return done.pixels

    def _is_doubted(self, key: str) -> bool:
        until_s = self._doubted.get(key)
        if until_s is None:
            return False
        if asyncio.get_running_loop().time() < until_s:
            return True
        del self._doubted[key]
        return False

    def _tell(self, key: str) -> None:
        if key:
            log.warning("sender_apart", key=key, seconds=APART_S)


def _some(files: Sequence[bytes | bytearray], shape: Shape) -> Sequence[bytes | bytearray]:
    """The first ones, of ASK_BYTES together with what they become; one at least."""
    together = 0
    for place, file in enumerate(files):
        together += len(file) + 3 * shape.size**2
        if together > ASK_BYTES:
            return files[: max(1, place)]
    return files
