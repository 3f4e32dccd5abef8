"""The client that waits for each answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import httpx2
import orjson
from pydantic import SecretStr

from learndrop.client.asking import (
    LOOK_EVERY_S,
    PATIENCE_S,
    TIMEOUT,
    Ask,
    Goal,
    Trying,
    checked,
    key_headers,
    label_requests,
    labelled,
    labelled_many,
    page,
    place,
    with_pictures,
    without,
)
from learndrop.client.letter_calls import DeadLetterCalls
from learndrop.client.parcels import Labels, Load, Pictures


class Client:
    """A client that waits for each answer; keeps its connection; use it in a `with` block.

    `key` is an API key, where the service asks for one.
    `dead_letters` has the calls about samples that could not be learned.

    Every method may raise ServerRefused (with `status` and `problem`) and ServerAway.
    """

    def __init__(
        self,
        url: str,
        *,
        key: SecretStr | str = "",
        patience_s: float = PATIENCE_S,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.patience_s = patience_s
        self._http = httpx2.Client(
            base_url=checked(url),
            headers=key_headers(key),
            timeout=TIMEOUT,
            transport=transport,
        )
        self._sleep = sleep
        self._known: Load | None = None
        self.dead_letters = DeadLetterCalls(self._ask, self._fetch)

    def learn(
        self, images: Pictures, labels: Labels, ids: Sequence[str] | None = None
    ) -> list[str]:
        """Send labelled pictures; their ids. Returns when all are on the service's disk.

        `ids` are your own names of them: one that was taken before is not taken again. So with them
        all may be sent again after an error, which leaves the requests before it taken.
        """
        asks = with_pictures("/v1/samples", images, labels, self._load(), ids)
        answers = [self._ask(ask) for ask in asks]
        return [one for answer in answers for one in answer["ids"]]

    def predict(self, images: Pictures) -> list[dict[str, Any]]:
        """Ask for pictures' labels: a dict each of id, label, probabilities, model_version."""
        asks = with_pictures("/v1/predictions", images, None, self._load())
        answers = [self._ask(ask) for ask in asks]
        return [one for answer in answers for one in answer["predictions"]]

    def state(self) -> dict[str, Any]:
        """The body of GET /v1/state."""
        return self._ask(Ask("GET", "/v1/state"))

    def wait_learned(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait until everything accepted by now is learned or buried; the state then.

        Raises:
            Unavailable: if it takes longer.
        """
        state = self.state()
        goal = Goal(state, timeout_s)
        while not goal.reached(state):
            self._sleep(LOOK_EVERY_S)
            state = self.state()
        return state

    def sample(self, sample_id: str) -> dict[str, Any]:
        """What became of a sample: id, status, model_version, reason, why."""
        return self._ask(Ask("GET", place("/v1/samples", sample_id)))

    def prediction(self, prediction_id: str) -> dict[str, Any]:
        """An answer that was given earlier."""
        return self._ask(Ask("GET", place("/v1/predictions", prediction_id)))

    def predictions(self, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        """A page of answers, newest first: `predictions` and `next_cursor`."""
        return self._ask(page(limit, cursor))

    def label(self, prediction_id: str, label: str | int, *, correct: bool = False) -> Any:
        """Say what was on a picture that was predicted: `outcome` and `sample_id`.

        Refused with 404, 409 (another label; `correct` replaces it) or 410; may be sent again.
        """
        return self._ask(labelled(prediction_id, label, correct))["results"][0]

    def label_many(self, labels: Mapping[str, str | int], *, correct: bool = False) -> Any:
        """The same for many, by prediction's id: a result each, those that were refused too."""
        asks = labelled_many(labels, correct, self._load())
        return [one for ask in asks for one in self._ask(ask)["results"]]

    def label_requests(self, limit: int = 20) -> Any:
        """The recent predictions most worth a label, each with one line of why."""
        return self._ask(label_requests(limit))["requests"]

    def prediction_picture(self, prediction_id: str) -> bytes:
        """What an answer was about, as the bytes of a PNG."""
        return self._fetch(Ask("GET", place("/v1/predictions", prediction_id, "/picture")))

    def delete_prediction(self, prediction_id: str) -> dict[str, Any]:
        """Take an answer and its picture away: `deleted`, and the `sample_id` made of it if any."""
        return self._ask(without(prediction_id))

    def delete_sample(self, sample_id: str) -> dict[str, Any]:
        """Delete a sample wherever it is: the receipt, which says what that does not reach."""
        return self._ask(Ask("DELETE", place("/v1/samples", sample_id)))

    def deletion(self, sample_id: str) -> dict[str, Any]:
        """The receipt of a deletion, with what the worker has done since."""
        return self._ask(Ask("GET", place("/v1/deletions", sample_id)))

    def models(self) -> dict[str, Any]:
        """The model versions that are kept, the current one and the one that answers."""
        return self._ask(Ask("GET", "/v1/models"))

    def limits(self) -> dict[str, Any]:
        """What a request may hold."""
        return self._ask(Ask("GET", "/v1/limits"))

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    def _load(self) -> Load:
        """What the service takes in one request: asked once."""
        if self._known is None:
            self._known = Load.of_limits(self.limits())
        return self._known

    def _ask(self, ask: Ask) -> dict[str, Any]:
        told: dict[str, Any] = orjson.loads(self._fetch(ask))
        return told

    def _fetch(self, ask: Ask) -> bytes:
        trying = Trying(self.patience_s, time.monotonic)
        while True:
            try:
                answer = self._http.request(**ask.options())
            except httpx2.TransportError as exc:
                self._sleep(trying.after_failure(exc))
                continue
            wait_s = trying.after_answer(answer)
            if wait_s is None:
                return answer.content
            self._sleep(wait_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
