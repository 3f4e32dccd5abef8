"""What a client may ask about dead letters, as `client.dead_letters`; no input or output here."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Generic, TypeVar

from learndrop.client.asking import Ask, place

Told = TypeVar("Told")
Raw = TypeVar("Raw")
PATH = "/v1/dead-letters"


class DeadLetterCalls(Generic[Told, Raw]):
    """The same calls for both clients: each gives the answer's body, or an awaitable of it.

    Args:
        ask: sends a request and reads the JSON of its answer.
        fetch: sends a request and gives the bytes of its answer.
    """

    def __init__(self, ask: Callable[[Ask], Told], fetch: Callable[[Ask], Raw]) -> None:
        self._ask, self._fetch = ask, fetch

    def page(self, reason: str | None = None, limit: int = 50, cursor: str | None = None) -> Told:
        """Newest first: `dead_letters`, `next_cursor`, and `kept` by reason."""
        query = {"limit": str(limit)} | _of(reason) | ({"cursor": cursor} if cursor else {})
        return self._ask(Ask("GET", PATH, query=query))

    def show(self, letter_id: str) -> Told:
        """One with the fields of its entry."""
        return self._ask(Ask("GET", place(PATH, letter_id)))

    def picture(self, letter_id: str) -> Raw:
        """Its picture as the bytes of a PNG."""
        return self._fetch(Ask("GET", place(PATH, letter_id, "/picture")))

    def replay(self, letter_id: str) -> Told:
        """Put one back on the stream; asked for again after a lost answer, it is done once."""
        return self._ask(Ask("POST", place(PATH, letter_id, "/replay"), once=uuid.uuid4().hex))

    def replay_all(self, reason: str | None = None) -> Told:
        """Put all back, or those of one reason: `replayed`, `ids`, `left` and why some are left."""
        return self._ask(Ask("POST", f"{PATH}/replay", query=_of(reason), once=uuid.uuid4().hex))

    def delete(self, letter_id: str) -> Told:
        """Throw one away; asked for again after a lost answer, it is done once."""
        return self._ask(Ask("DELETE", place(PATH, letter_id), once=uuid.uuid4().hex))

    def purge(self, reason: str | None = None) -> Told:
        """Throw all away, or those of one reason: `purged` and `left`."""
        return self._ask(Ask("DELETE", PATH, query=_of(reason), once=uuid.uuid4().hex))


def _of(reason: str | None) -> dict[str, str]:
    return {"reason": reason} if reason else {}
