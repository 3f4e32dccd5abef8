"""The client for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
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


class AsyncClient:
    """`Client` for asyncio: the same methods, awaited; use it in an `async with` block."""

    def __init__(
        self,
        url: str,
        *,
        key: SecretStr | str = "",
        patience_s: float = PATIENCE_S,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.patience_s = patience_s
        self._http = httpx2.AsyncClient(
            base_url=checked(url),
            headers=key_headers(key),
            timeout=TIMEOUT,
            transport=transport,
        )
        self._sleep = sleep
        self._known: Load | None = None
        self.dead_letters = DeadLetterCalls(self._ask, self._fetch)

    async def learn(
        self, images: Pictures, labels: Labels, ids: Sequence[str] | None = None
    ) -> list[str]:
        """See Client."""
        asks = with_pictures("/v1/samples", images, labels, await self._load(), ids)
        answers = [await self._ask(ask) for ask in asks]
        return [one for answer in answers for one in answer["ids"]]

    async def predict(self, images: Pictures) -> list[dict[str, Any]]:
        """See Client."""
        asks = with_pictures("/v1/predictions", images, None, await self._load())
        answers = [await self._ask(ask) for ask in asks]
        return [one for answer in answers for one in answer["predictions"]]

    async def state(self) -> dict[str, Any]:
        """See Client."""
        return await self._ask(Ask("GET", "/v1/state"))

    async def wait_learned(self, timeout_s: float = 60.0) -> dict[str, Any]:
        """See Client."""
        state = await self.state()
        goal = Goal(state, timeout_s)
        while not goal.reached(state):
            await self._sleep(LOOK_EVERY_S)
            state = await self.state()
        return state

    async def sample(self, sample_id: str) -> dict[str, Any]:
        """See Client."""
        return await self._ask(Ask("GET", place("/v1/samples", sample_id)))

    async def prediction(self, prediction_id: str) -> dict[str, Any]:
        """See Client."""
        return await self._ask(Ask("GET", place("/v1/predictions", prediction_id)))

    async def predictions(self, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        """See Client."""
        return await self._ask(page(limit, cursor))

    async def label(self, prediction_id: str, label: str | int, *, correct: bool = False) -> Any:
        """See Client."""
        return (await self._ask(labelled(prediction_id, label, correct)))["results"][0]

    async def label_many(self, labels: Mapping[str, str | int], *, correct: bool = False) -> Any:
        """See Client."""
        asks = labelled_many(labels, correct, await self._load())
        return [one for ask in asks for one in (await self._ask(ask))["results"]]

    async def label_requests(self, limit: int = 20) -> Any:
        """See Client."""
        return (await self._ask(label_requests(limit)))["requests"]

    async def prediction_picture(self, prediction_id: str) -> bytes:
        """See Client."""
        return await self._fetch(Ask("GET", place("/v1/predictions", prediction_id, "/picture")))

    async def delete_prediction(self, prediction_id: str) -> dict[str, Any]:
        """See Client."""
        return await self._ask(without(prediction_id))

    async def delete_sample(self, sample_id: str) -> dict[str, Any]:
        """See Client."""
        return await self._ask(Ask("DELETE", place("/v1/samples", sample_id)))

    async def deletion(self, sample_id: str) -> dict[str, Any]:
        """See Client."""
        return await self._ask(Ask("GET", place("/v1/deletions", sample_id)))

    async def models(self) -> dict[str, Any]:
        """See Client."""
        return await self._ask(Ask("GET", "/v1/models"))

    async def limits(self) -> dict[str, Any]:
        """See Client."""
        return await self._ask(Ask("GET", "/v1/limits"))

    async def close(self) -> None:
        """See Client."""
        await self._http.aclose()

    async def _load(self) -> Load:
        if self._known is None:
            self._known = Load.of_limits(await self.limits())
        return self._known

    async def _ask(self, ask: Ask) -> dict[str, Any]:
        told: dict[str, Any] = orjson.loads(await self._fetch(ask))
        return told

    async def _fetch(self, ask: Ask) -> bytes:
        trying = Trying(self.patience_s, time.monotonic)
        while True:
            try:
                answer = await self._http.request(**ask.options())
            except httpx2.TransportError as exc:
                await self._sleep(trying.after_failure(exc))
                continue
            wait_s = trying.after_answer(answer)
            if wait_s is None:
                return answer.content
            await self._sleep(wait_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
