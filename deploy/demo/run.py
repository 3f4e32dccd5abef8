"""Plays the phases against a running service, over HTTP like any client, and keeps the record."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from deploy.demo.data import Stream
from deploy.demo.live import View
from deploy.demo.phases import Answer, Phase, Reading, Record, settled
from learndrop.errors import DidNotStart, ServerRefused, Unavailable
from learndrop.images.datasets import Images

BATCH = 64
AHEAD = 256
"""Samples sent ahead of the worker, besides those it learns in a second (the state is as old)."""
ASK = 32
ASK_EVERY_S = 0.4
LOOK_EVERY_S = 0.1
SHOW_EVERY_S = 0.25
STALLED_S = 60.0


class Service(Protocol):
    """What the demo uses of learndrop.client.Client."""

    def learn(self, images: Images, labels: list[str]) -> list[str]:
        """Send labelled images; their ids."""
        ...

    def predict(self, images: Images) -> list[dict[str, Any]]:
        """Ask for answers; each has a `label`."""
        ...

    def state(self) -> dict[str, Any]:
        """The body of GET /v1/state."""
        ...


class Player:
    """Sends, asks and looks in turn, in one thread; the service works in processes of its own."""

    def __init__(
        self,
        sending: Service,
        asking: Service,
        stream: Stream,
        record: Record,
        view: View,
        *,
        alive: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sending, self._asking = sending, asking
        self._stream, self._record, self._view = stream, record, view
        self._alive, self._clock = alive, clock
        self._began = clock()
        self._sent = 0
        self._progress = (0, clock())
        self._due = {"ask": 0.0, "look": 0.0, "show": 0.0}
        self._seen: set[tuple[float, str, int]] = set()

    def play(self) -> None:
        """Play every phase; returns when all that was sent is learned.

        Raises:
            LearndropError: when the service went away or the worker learns nothing any more.
        """
        for index, phase in enumerate(self._record.phases):
            self._record.starts.append(self._sent)
            while not self._over(index, phase):
                self._send(index, phase)
                self._turn()
        while self._learned < self._sent:
            self._turn()
        self._look()
        self._view.update(self._record)

    @property
    def _learned(self) -> int:
        return self._record.readings[-1].samples if self._record.readings else 0

    def _over(self, index: int, phase: Phase) -> bool:
        start = self._record.starts[index]
        if not phase.waits:
            return self._sent - start >= phase.least
        if not self._record.readings or self._record.readings[-1].phase != index:
            return False
        reading = self._record.readings[-1]
        return settled(phase, reading, self._before(index), reading.samples - start)

    def _before(self, index: int) -> float | None:
        """The accuracy before the last change that came before phase `index`."""
        changes = [i for i in range(index + 1) if self._record.phases[i].change]
        readings = self._record.of_phase(changes[-1] - 1) if changes else []
        return readings[-1].accuracy if readings else None

    def _send(self, index: int, phase: Phase) -> None:
        room = AHEAD + round(self._record.rate) - (self._sent - self._learned)
        most = max(phase.most, phase.least) - (self._sent - self._record.starts[index])
        count = min(BATCH, most)
        if count <= 0 or room < count:
            return
        images, labels = self._stream.samples(phase, count)
        self._sending.learn(images, labels)
        self._sent += count

    def _turn(self) -> None:
        """Whatever is due; waits a moment when nothing is."""
        now = self._clock()
        if now >= self._due["look"]:
            self._due["look"] = now + LOOK_EVERY_S
            self._look()
        elif self._sent - self._learned >= AHEAD:
            time.sleep(0.01)
        if now >= self._due["ask"] and self._learned:
            self._due["ask"] = now + ASK_EVERY_S
            self._ask()
        if now >= self._due["show"]:
            self._due["show"] = now + SHOW_EVERY_S
            self._view.update(self._record)

    def _look(self) -> None:
        state = self._asking.state()
        self._take_events(state)
        units = (state.get("drop") or {}).get("units") or ()
        self._record.unit_names = [str(unit["name"]) for unit in units] or self._record.unit_names
        now = self._clock()
        samples = int(state.get("samples_learned") or 0)
        if samples > self._progress[0]:
            self._progress = samples, now
            reading = Reading.from_state(
                state, second=now - self._began, phase=self._record.phase_of(samples)
            )
            self._record.readings.append(reading)
        elif now - self._progress[1] > STALLED_S:
            raise DidNotStart(
                f"the worker has learned nothing for {STALLED_S:.0f} s "
                f"({samples:,} of {self._sent:,} samples sent)"
            )
        self._alive()

    def _take_events(self, state: dict[str, Any]) -> None:
        fresh = []
        for event in state.get("events") or ():
            key = float(event["time"]), str(event["type"]), int(event["samples"])
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(event)
        self._record.events += sorted(fresh, key=lambda event: float(event["time"]))

    def _ask(self) -> None:
        samples = self._learned
        if self._record.readings[-1].version is None:
            return  # nothing is published yet, so there is nothing to answer with
        index = self._record.phase_of(samples)
        images, labels = self._stream.questions(self._record.phases[index], ASK)
        try:
            answers = self._asking.predict(images)
        except (ServerRefused, Unavailable) as exc:
            self._record.failed_answers += 1
            self._record.last_failure = str(exc)
            return
        right = sum(a["label"] == label for a, label in zip(answers, labels, strict=True))
        self._record.answers.append(Answer(index, samples, len(labels), right))
