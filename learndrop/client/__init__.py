"""The Python client: `Client(url)`, and `AsyncClient(url)` with the same methods awaited.

    with Client("http://127.0.0.1:8000") as client:
        client.learn(images, labels)
        client.wait_learned(timeout_s=60)
        client.predict(images)

What the service says to try later is tried later, as its Retry-After says, within `patience_s`;
where nobody listens, it is tried for 5 seconds. What was sent and not answered is sent again: each
batch of samples carries an Idempotency-Key, so the service takes it once.
"""

from learndrop.client.awaited import AsyncClient
from learndrop.client.blocking import Client

__all__ = ["AsyncClient", "Client"]
