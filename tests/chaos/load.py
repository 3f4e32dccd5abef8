"""Clients that send numbered pictures without a pause, and write down every answer."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence

import httpx2
import numpy as np

from tests.background import Background
from tests.chaos.ledger import Ledger, label, picture

TIMEOUT_S = 15.0
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
AGAIN_S = 0.1


def body(numbers: Sequence[int]) -> bytes:
    """The pictures as .npz."""
    out = io.BytesIO()
    images = np.stack([picture(n) for n in numbers])
    np.savez(out, images=images, labels=np.array([label(n) for n in numbers]))
    return out.getvalue()


class Load(Background):
    """`senders` threads that post `batch` pictures at a time, together `rate` pictures a second.

    With `rate` 0 each posts as soon as it is answered. The block ends when every request has its
    answer.
    """

    def __init__(
        self, url: str, ledger: Ledger, *, rate: float, batch: int = 8, senders: int = 3
    ) -> None:
        self.url, self.ledger, self.batch = url, ledger, batch
        self.every_s = senders * batch / rate if rate else 0.0
        super().__init__(*[self._run] * senders)

    def _run(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=TIMEOUT_S) as http:
            numbers = self.ledger.take(self.batch)
            while not self.stop.is_set():
                began = time.monotonic()
                if post(http, numbers, self.ledger):
                    numbers = self.ledger.take(self.batch)
                    self.stop.wait(max(0.0, self.every_s - (time.monotonic() - began)))
                else:
                    self.stop.wait(AGAIN_S)


def post(http: httpx2.Client, numbers: Sequence[int], ledger: Ledger) -> bool:
    """Send these once; False if they were surely not taken and may be sent again."""
    headers = {"content-type": "application/x-npz"}
    try:
        answer = http.post("/v1/samples", content=body(numbers), headers=headers)
    except NOT_SENT:
        ledger.told("no connection")
        return False
    except httpx2.TransportError as exc:
        ledger.told(type(exc).__name__)
        ledger.lost_sight(numbers)
        return True
    if answer.status_code == 202:
        ledger.told("202")
        ledger.accepted(numbers, answer.json()["ids"])
        return True
    kind = answer.json()["type"].rpartition("/")[2]
    ledger.told(f"{answer.status_code} {kind}")
    if kind == "stream-away":  # Redis may have taken them before it went
        ledger.lost_sight(numbers)
        return True
    if answer.status_code not in {429, 503}:
        raise AssertionError(f"{answer.status_code}: {answer.text[:500]}")
    return False
