"""Some processes that decode picture files: whose turn it is, and another one after one ended."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from learndrop.errors import Busy
from learndrop.settings import Settings
from service.decoding.decoder_process import WHY_ENDED, Decoder, Why

AT_ONCE, WITHIN_S, PAUSE_S = 5, 60.0, 5.0
"""So many starts of one decoder within so many seconds come at once; then each waits for a while
after the one before, so that neither a decoder that cannot start nor a sender of pictures that end
it costs more than that."""

log = structlog.get_logger()


def pause_s(starts: Sequence[float], now_s: float) -> float:
    """How long the next start must wait; `starts` are when the newest AT_ONCE were.

    >>> pause_s([0.0, 1.0, 2.0, 3.0], now_s=4.0), pause_s([0.0, 1.0, 2.0, 3.0, 4.0], now_s=4.5)
    (0.0, 4.5)
    >>> pause_s([0.0, 1.0, 2.0, 3.0, 4.0], now_s=60.0)
    0.0
    """
    if len(starts) < AT_ONCE or now_s - starts[0] >= WITHIN_S:
        return 0.0
    return max(0.0, starts[-1] + PAUSE_S - now_s)


class Lane:
    """Decoders that take files in turns.

    Args:
        count: how many.
        settings: what each may take, and do.
        ended: told of each one that ended, and why (one of WHY_ENDED).

    Attributes:
        turns: one for each decoder; who has one may ask `free`.
        trouble: that none can be started, while this is so.
    """

    def __init__(self, count: int, settings: Settings, ended: Callable[[str], None]) -> None:
        self._settings, self._told_ended = settings, ended
        self.turns = asyncio.Semaphore(count)
        self._places: list[Decoder | None] = [None] * count
        self._keepers: list[asyncio.Task[None]] = []
        self._change = asyncio.Event()
        self._next_start_s, self._paused = 0.0, ""
        self.trouble = ""

    @property
    def started(self) -> bool:
        """Whether it is kept up."""
        return bool(self._keepers)

    def start(self) -> None:
        """Start the decoders; nobody waits until they are ready."""
        self._keepers = [asyncio.create_task(self._keep(n)) for n in range(len(self._places))]

    async def stop(self) -> None:
        """End them; whoever still waits is told to come again."""
        keepers, self._keepers = self._keepers, []
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        self._changed()

    @property
    def ready(self) -> int:
        """How many take files."""
        return sum(one is not None and one.ready for one in self._places)

    @property
    def working(self) -> int:
        """How many decode at this moment."""
        return sum(one is not None and one.working for one in self._places)

    @property
    def pids(self) -> list[int]:
        """The processes that are ready."""
        return [one.pid for one in self._places if one and one.ready and one.pid]

    async def free(self) -> Decoder:
        """One that has nothing to do, as soon as there is one.

        Raises:
            Busy: if there is none, or the service stops.
        """
        while True:
            for one in self._places:
                if one is not None and one.ready and not one.working:
                    return one
            if not self._keepers:
                raise Busy("the service is stopping")
            if (told := self.trouble or self._paused) and not self.ready:
                wait_s = self._next_start_s - asyncio.get_running_loop().time()
                raise Busy(told, retry_after_s=max(1.0, wait_s))
            await self._change.wait()

    def _changed(self) -> None:
        if self.ready:
            self.trouble = self._paused = ""
        self._change.set()
        self._change = asyncio.Event()

    async def _keep(self, place: int) -> None:
        """Start a decoder, and the next one when it has ended."""
        loop = asyncio.get_running_loop()
        starts: deque[float] = deque(maxlen=AT_ONCE)
        while True:
            if wait_s := pause_s(starts, loop.time()):
                self._next_start_s = loop.time() + wait_s
                self._paused = "the processes that decode picture files end too often"
                self._changed()
                await asyncio.sleep(wait_s)
            starts.append(loop.time())
            known = self._settings
            decoder = self._places[place] = Decoder(
                known.decoder_memory_bytes, known.decoder_filter, self._changed
            )
            try:
                await decoder.start()
                await decoder.gone.wait()
            except OSError as exc:
                self._note("start", None, str(exc))
            finally:
                self._places[place] = None
                decoder.end("stop")
                code, said = await decoder.bury()
            if decoder.why in WHY_ENDED:
                self._note(decoder.why, code, said)

    def _note(self, why: Why, code: int | None, said: str) -> None:
        log.warning("decoder_ended", why=why, code=code, said=said)
        self._told_ended(why)
        if why == "start":
            self.trouble = "no process that decodes picture files can be started: see the log"
            self._changed()
