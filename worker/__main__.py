"""`python -m worker`: reads the settings, then builds the rest and runs the loop."""

from __future__ import annotations

import argparse
import sys

import structlog

from learndrop import logs
from learndrop.errors import BadNetwork, BadSettings, LearndropError
from learndrop.settings import load_settings
from worker.stop import Stop

log = structlog.get_logger()


def main() -> int:
    """Run the worker; 0 after a clean end, 1 after an error, 2 for what cannot be used as set."""
    stop = Stop()
    try:
        settings = load_settings()
    except BadSettings as exc:
        print(exc, file=sys.stderr)
        return 2
    logs.set_up(settings, "worker")
    logs.tell_unknown_variables()
    try:
        from worker.work import work  # torch takes seconds: who mistyped a setting need not wait

        work(settings, stop)
    except LearndropError as exc:
        log.error("worker_ended", error=str(exc), kind=type(exc).__name__)
        return 2 if isinstance(exc, BadSettings | BadNetwork) else 1
    except Exception:
        log.exception("worker_ended")
        return 1
    log.info("worker_stopped")
    return 0


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m worker",
        description="Learns what is on the stream; publishes versions and checkpoints.",
        epilog="Settings: LEARNDROP_* in the environment; `learndrop settings` lists them.",
    ).parse_args()
    sys.exit(main())
