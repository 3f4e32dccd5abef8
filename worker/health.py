"""GET /metrics and GET /healthz of the worker: a few threads, and no framework."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from typing import Any

from prometheus_client.exposition import choose_encoder

from learndrop.errors import DidNotStart
from learndrop.settings import Settings
from worker.metrics import WorkerMetrics

MOST_THREADS = 8
SLOWEST_CLIENT_S = 5


@contextmanager
def answering(settings: Settings, metrics: WorkerMetrics) -> Iterator[int]:
    """Answer on `metrics_host`:`metrics_port` while the block runs; gives the port.

    Raises:
        DidNotStart: if the port cannot be taken.
    """
    address = (settings.metrics_host, settings.metrics_port)
    try:
        server = _Server(address, metrics, settings.stall_s)
    except OSError as exc:
        raise DidNotStart(f"port {address[1]} for the worker's metrics: {exc.strerror}") from exc
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def health(metrics: WorkerMetrics, stall_s: float) -> tuple[int, dict[str, Any]]:
    """Status and body of /healthz: alive is a loop that comes round, with or without Redis."""
    idle_s = metrics.idle_s()
    if idle_s is None:
        return 503, {"status": "starting"}
    body = {
        "progress_age_s": round(idle_s, 3),
        "redis": "up" if metrics.redis_up else "away",
        "leading": metrics.leading,
    }
    if idle_s > stall_s:
        return 503, {"status": "stalled", **body}
    return 200, {"status": "ok", **body}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], metrics: WorkerMetrics, stall_s: float) -> None:
        self.metrics, self.stall_s = metrics, stall_s
        self._free = threading.BoundedSemaphore(MOST_THREADS)
        self.address_family = AF_INET6 if ":" in address[0] else AF_INET
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's error."""


class _Handler(BaseHTTPRequestHandler):
    timeout = SLOWEST_CLIENT_S
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, content_type, encode(self.server.metrics.registry))
        elif path == "/healthz":
            status, body = health(self.server.metrics, self.server.stall_s)
            self._answer(status, "application/json", json.dumps(body).encode())
        else:
            self._answer(404, "text/plain", b"there is /metrics and /healthz\n")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a line."""
