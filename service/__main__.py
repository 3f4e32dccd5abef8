"""`python -m service`: builds the application from the settings and serves it with uvicorn."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys

import structlog
import uvicorn

from learndrop import logs
from learndrop.collector import spare_what_is_there
from learndrop.errors import BadSettings, DidNotStart, LearndropError
from learndrop.settings import Settings, load_settings
from service.app import create_app
from service.protocol import Protocol

STOP_S = 30
"""Requests in flight may take this long after SIGTERM."""
BACKLOG = 1024

log = structlog.get_logger()


def main() -> int:
    """Run the service; 0 after a clean end, 1 after an error, 2 for bad settings."""
    try:
        settings = load_settings()
    except BadSettings as exc:
        print(exc, file=sys.stderr)
        return 2
    logs.set_up(settings, "service")
    logs.tell_unknown_variables()
    logging.captureWarnings(True)
    try:
        serve(settings)
    except LearndropError as exc:
        log.error("service_ended", error=str(exc), kind=type(exc).__name__)
        return 2 if isinstance(exc, BadSettings) else 1
    except Exception:
        log.exception("service_ended")
        return 1
    log.info("service_stopped")
    return 0


def serve(settings: Settings) -> None:
    """Answer requests until SIGTERM or SIGINT.

    Raises:
        BadSettings: if others than this machine could reach it and there are no keys.
        DidNotStart: if the address cannot be taken.
    """
    app = create_app(settings)
    with listening(settings.host, settings.port) as bound:
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=Protocol.within(
                app.state.parts.metrics.closed_because,
                head_s=settings.head_timeout_s,
                head_bytes=settings.max_head_bytes,
                send_s=settings.send_timeout_s,
                send_bytes_s=settings.send_bytes_s,
                most=settings.max_connections,
            ),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=STOP_S,
        )
        # uvicorn raises the signal again when it has stopped: then the end is clean, not killed.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        server = uvicorn.Server(config)
        keys = app.state.parts.gate.told
        spare_what_is_there()
        log.info("service_starting", host=settings.host, port=settings.port, keys=keys)
        server.run(sockets=[bound])
        if not server.started:
            raise DidNotStart("the service could not start: see the lines above")


def listening(host: str, port: int) -> socket.socket:
    """Take the address.

    Raises:
        DidNotStart: naming the setting, if it is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as exc:
        bound.close()
        raise DidNotStart(
            f"address {host} port {port} (LEARNDROP_HOST, LEARNDROP_PORT) cannot be taken:"
            f" {exc.strerror}"
        ) from exc
    bound.listen(BACKLOG)
    return bound


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m service",
        description="Answers over HTTP: takes samples in, predicts, tells the state.",
        epilog="Settings: LEARNDROP_* in the environment; `learndrop settings` lists them.",
    ).parse_args()
    sys.exit(main())
