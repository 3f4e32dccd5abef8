"""One request of the client: what it is, how often and when it is tried. No input or output."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2
import orjson
from pydantic import SecretStr

from learndrop.client.parcels import Labels, Load, Pictures, parcels
from learndrop.errors import BadInput, ServerAway, ServerRefused, Unavailable

PATIENCE_S = 60.0
ABSENT_S = 5.0
MOST_TRIES = 50
LOOK_EVERY_S = 0.2
TIMEOUT = httpx2.Timeout(60.0, connect=5.0)

_LATER = frozenset({408, 429, 503})
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, which does no harm if it is sent again after a lost answer.

    `once` is the Idempotency-Key that sees to that where the request changes something.
    """

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""
    query: Mapping[str, str] | None = None
    once: str = ""

    def options(self) -> dict[str, Any]:
        """As keyword arguments of an httpx2 client's `request`."""
        headers = {"content-type": self.content_type, "idempotency-key": self.once}
        headers = {name: value for name, value in headers.items() if value}
        told: dict[str, Any] = {"method": self.method, "url": self.path, "headers": headers}
        if self.query:
            told["params"] = dict(self.query)
        return told | ({"content": self.body} if self.body else {})


def place(path: str, one: str, rest: str = "") -> str:
    """The path of one thing by its id, whatever signs that has.

    Raises:
        BadInput: without an id: that would be the path of all of them.

    >>> place("/v1/samples", "1-0"), place("/v1/samples", "a/b?c", "/picture")
    ('/v1/samples/1-0', '/v1/samples/a%2Fb%3Fc/picture')
    """
    if not one:
        raise BadInput("an id is empty", item="id", value=one)
    return f"{path}/{quote(one, safe='')}{rest}"


def checked(url: str) -> str:
    """The address of a service, if it is one: asking another way would be tried for a minute.

    Raises:
        BadInput: telling how to write it.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise BadInput(
            f"the address {url!r} does not begin with http:// or https://:"
            f" write http://{url.split('://')[-1]}",
            item="url",
            value=url,
        )
    return url


class Trying:
    """How often and when one request is tried: pure bookkeeping, shared by both clients."""

    def __init__(self, patience_s: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until = clock() + patience_s
        self._absent_s: float | None = None  # since when nobody listens
        self._tries = 0

    def after_answer(self, answer: httpx2.Response) -> float | None:
        """Seconds to wait before the next try; None if the answer is good.

        Raises:
            ServerRefused: if it is an error that waiting will not mend, or patience has ended.
        """
        if answer.is_success:
            return None
        self._absent_s = None
        problem = _problem(answer)
        refused = ServerRefused(
            f"{answer.status_code} {problem.get('title', answer.reason_phrase)}:"
            f" {problem.get('detail', '')}",
            status=answer.status_code,
            problem=problem,
        )
        under_way = answer.status_code == 409 and "retry-after" in answer.headers
        if answer.status_code not in _LATER and not under_way:
            raise refused
        wait_s = self._next(_retry_after(answer), self._until)
        if wait_s is None:
            raise refused
        return wait_s

    def after_failure(self, failure: httpx2.TransportError) -> float:
        """Seconds to wait before the next try, when no answer came.

        Raises:
            ServerAway: if patience has ended.
        """
        until = self._until
        if isinstance(failure, _NOT_SENT):
            # Long enough for a service that is started again; a wrong address is told soon.
            self._absent_s = self._clock() if self._absent_s is None else self._absent_s
            until = min(until, self._absent_s + ABSENT_S)
        else:
            self._absent_s = None
        wait_s = self._next(None, until)
        if wait_s is None:
            raise ServerAway(_told(failure)) from failure
        return wait_s

    def _next(self, wanted_s: float | None, until: float) -> float | None:
        self._tries += 1
        wait_s = min(2.0, 0.1 * 2**self._tries) if wanted_s is None else wanted_s
        if self._tries >= MOST_TRIES or self._clock() + wait_s > until:
            return None
        return wait_s


def _told(failure: httpx2.TransportError) -> str:
    what = str(failure) or type(failure).__name__
    if isinstance(failure, _NOT_SENT):
        return f"nobody answers at {failure.request.url}: {what}"
    return f"the answer of {failure.request.url} was lost: {what}"


def _problem(answer: httpx2.Response) -> dict[str, object]:
    try:
        told = orjson.loads(answer.content)
    except orjson.JSONDecodeError:
        told = None
    return told if isinstance(told, dict) else {"detail": answer.text[:200]}


def _retry_after(answer: httpx2.Response) -> float | None:
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isdecimal() else None


def with_pictures(
    path: str, images: Pictures, labels: Labels | None, load: Load, ids: Sequence[str] | None = None
) -> Iterator[Ask]:
    """The requests that carry all the pictures, in order. Samples would count twice: once each."""
    for content_type, body in parcels(images, labels, load, ids):
        once = "" if labels is None else uuid.uuid4().hex
        yield Ask("POST", path, body, content_type, once=once)


def key_headers(key: SecretStr | str) -> dict[str, str]:
    """The header that shows an API key; none for an empty one."""
    secret = key.get_secret_value() if isinstance(key, SecretStr) else key
    return {"authorization": f"Bearer {secret}"} if secret else {}


def page(limit: int, cursor: str | None) -> Ask:
    """The request for one page of predictions."""
    query = {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
    return Ask("GET", "/v1/predictions", query=query)


def labelled(prediction_id: str, label: str | int, correct: bool) -> Ask:
    """The request that gives one label; sent twice it changes nothing, and is answered alike."""
    told = {"prediction": prediction_id, "label": label, "correct": correct}
    body = orjson.dumps(told)
    return Ask("POST", "/v1/labels", body, "application/json", once=uuid.uuid4().hex)


def labelled_many(labels: Mapping[str, str | int], correct: bool, load: Load) -> Iterator[Ask]:
    """The requests that give many labels, in order."""
    rows = [{"prediction": i, "label": label, "correct": correct} for i, label in labels.items()]
    for start in range(0, len(rows), load.images):
        some = {"labels": rows[start : start + load.images]}
        body = orjson.dumps(some)
        yield Ask("POST", "/v1/labels", body, "application/json", once=uuid.uuid4().hex)


def without(prediction_id: str) -> Ask:
    """The request that takes an answer away; sent again it is answered alike."""
    return Ask("DELETE", place("/v1/predictions", prediction_id), once=uuid.uuid4().hex)


def label_requests(limit: int) -> Ask:
    """The request for the predictions most worth a label."""
    return Ask("GET", "/v1/label-requests", query={"limit": str(limit)})


class Goal:
    """Everything accepted by now learned or buried, within a time.

    Counted by what the learner has learned, which its next checkpoint makes final.
    """

    def __init__(self, state: Mapping[str, Any], timeout_s: float) -> None:
        self._accepted = int(state["samples"]["accepted"])
        self._timeout_s = timeout_s
        self._until = time.monotonic() + timeout_s

    def reached(self, state: Mapping[str, Any]) -> bool:
        """Whether it is.

        Raises:
            Unavailable: if it is not, and the time is over.
        """
        samples = state["samples"]
        learned, ahead = int(samples["learned"]), int(state.get("samples_learned") or 0)
        gap = (state.get("stream") or {}).get("gap") or {}
        # A learner that waits, or knows of more than this stream ever took, has learned others.
        if ahead <= int(samples["accepted"]) and not gap.get("waiting"):
            learned = max(learned, ahead)
        if samples["pending"] == 0 or learned + samples["buried"] >= self._accepted:
            return True
        if time.monotonic() > self._until:
            raise Unavailable(
                f"{self._accepted} samples were not learned within {self._timeout_s:g} s:"
                f" {learned} learned, {samples}",
                limit=self._timeout_s,
            )
        return False
