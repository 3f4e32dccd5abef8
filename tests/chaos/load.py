"""Clients that send numbered pictures without a pause, and write down every answer."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any, Literal

import httpx2
import numpy as np
from PIL import Image

from tests.background import Background
from tests.chaos.ledger import Ledger, label, picture

TIMEOUT_S = 15.0
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
AGAIN_S = 0.1
LONGEST_S = 60.0
"""After the end, for a batch whose answer was lost until then."""


def body(numbers: Sequence[int]) -> bytes:
    """The pictures as .npz."""
    out = io.BytesIO()
    images = np.stack([picture(n) for n in numbers])
    np.savez(out, images=images, labels=np.array([label(n) for n in numbers]))
    return out.getvalue()


def files_of(numbers: Sequence[int]) -> dict[str, Any]:
    """The pictures as a form of files, which keep every pixel, as httpx2 takes it."""
    named = []
    for n in numbers:
        file = io.BytesIO()
        Image.fromarray(picture(n)).save(file, "PNG")
        named.append(("images", (f"{n}.png", file.getvalue(), "image/png")))
    return {"files": named, "data": {"labels": [label(n) for n in numbers]}}


class Load(Background):
    """`senders` threads that post `batch` pictures at a time, together `rate` pictures a second.

    With `rate` 0 each posts as soon as it is answered. The block ends when every request has its
    answer.

    Args:
        url: of the service.
        ledger: where each answer is written down.
        rate: pictures a second, by all senders.
        batch: pictures in one request.
        senders: threads.
        keyed: whether each batch has an Idempotency-Key, with which it is sent again until it has
            an answer, also after one that was lost.
        files: whether every second batch is a form of picture files.
    """

    def __init__(
        self,
        url: str,
        ledger: Ledger,
        *,
        rate: float,
        batch: int = 8,
        senders: int = 3,
        keyed: bool = False,
        files: bool = False,
    ) -> None:
        self.url, self.ledger, self.batch, self.keyed = url, ledger, batch, keyed
        self.files = files
        self.every_s = senders * batch / rate if rate else 0.0
        super().__init__(*[self._run] * senders)

    def _run(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=TIMEOUT_S) as http:
            while not self.stop.is_set():
                numbers, began = self.ledger.take(self.batch), time.monotonic()
                self._send(http, numbers)
                self.stop.wait(max(0.0, self.every_s - (time.monotonic() - began)))

    def _send(self, http: httpx2.Client, numbers: Sequence[int]) -> None:
        """Until they were taken, or nobody can say so."""
        key = f"batch-{numbers[0]}" if self.keyed else ""
        files = self.files and numbers[0] // len(numbers) % 2 == 1
        answer, doubtful, ends = post(http, numbers, self.ledger, key, files=files), False, 0.0
        while answer == "again" or (answer == "unknown" and key):
            doubtful |= answer == "unknown"
            if self.stop.is_set():
                # What may have been taken is asked for until that is known.
                ends = ends or time.monotonic() + LONGEST_S
                if not doubtful or time.monotonic() > ends:
                    break
            time.sleep(AGAIN_S)
            answer = post(http, numbers, self.ledger, key, files=files)
        if answer != "taken" and (doubtful or answer == "unknown"):
            self.ledger.lost_sight(numbers)
        elif doubtful:
            self.ledger.told("answered when sent again")


def post(
    http: httpx2.Client,
    numbers: Sequence[int],
    ledger: Ledger,
    key: str = "",
    *,
    files: bool = False,
) -> Literal["taken", "again", "unknown"]:
    """Send these once; `again` if they were surely not taken, `unknown` if nobody can say."""
    sent = files_of(numbers) if files else {"content": body(numbers)}
    # a boundary that is told stays: sent again under its key a form must be the same to the byte
    kind = f"multipart/form-data; boundary=batch-{numbers[0]}" if files else "application/x-npz"
    headers = {"content-type": kind} | ({"Idempotency-Key": key} if key else {})
    try:
        answer = http.post("/v1/samples", **sent, headers=headers)
    except NOT_SENT:
        ledger.told("no connection")
        return "again"
    except httpx2.TransportError as exc:
        ledger.told(type(exc).__name__)
        return "unknown"
    if answer.status_code == 202:
        ledger.told("202")
        ledger.accepted(numbers, answer.json()["ids"])
        return "taken"
    kind = answer.json()["type"].rpartition("/")[2]
    ledger.told(f"{answer.status_code} {kind}")
    if kind == "stream-away":  # Redis may have taken them before it went
        return "unknown"
    if answer.status_code not in {429, 503}:
        raise AssertionError(f"{answer.status_code}: {answer.text[:500]}")
    return "again"
