"""Many parts of one kind on one server, closed together at the end of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Protocol, TypeVar

import pytest

from deploy.embedded import EmbeddedRedis
from learndrop.settings import Settings
from tests.servers import settings_on


class Closes(Protocol):
    async def close(self) -> None: ...


P = TypeVar("P", bound=Closes)


class Places(Generic[P]):
    """Call it with settings, or with what differs from those of the server, for one more place."""

    def __init__(self, kind: Callable[[Settings, EmbeddedRedis], P], server: EmbeddedRedis) -> None:
        self._kind, self._server = kind, server
        self._made: list[P] = []

    def __call__(self, settings: Settings | None = None, **overrides: Any) -> P:
        known = settings or settings_on(self._server, **overrides)
        self._made.append(self._kind(known, self._server))
        return self._made[-1]

    async def close(self) -> None:
        for place in self._made:
            await place.close()


def places_of(kind: Callable[[Settings, EmbeddedRedis], P]) -> Callable[..., Any]:
    """A fixture `make`: places of this kind, closed after the test."""

    @pytest.fixture(name="make")
    async def made(server: EmbeddedRedis) -> AsyncIterator[Places[P]]:
        places = Places(kind, server)
        yield places
        await places.close()

    return made
