"""Everything on one machine: embedded Redis, worker and service as child processes.

`python -m deploy.local` (or `make up`) starts them, prints where they are and stops them in order
on Ctrl-C. A child that dies is named and ends the rest: nothing is restarted in silence.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self

from deploy.children import ASK_EVERY_S, ROOT, Child, cores, to_environment
from deploy.embedded import EmbeddedRedis
from deploy.ports import free_port, refuse_busy_port
from learndrop.errors import LearndropError
from learndrop.settings import Settings, load_settings

SERVICE_STOP_S = 35.0  # requests in flight may take as long as a body may
WORKER_STOP_S = 60.0  # the batch in hand, then a checkpoint


class LocalStack:
    """The three processes of one data folder; a context manager that waits until they are ready.

    `logs` is a folder for worker.log and service.log; without it both write to this terminal.
    `redis_port` 0 takes a free one. The parts are `redis`, `worker` and `service`; each can be
    stopped, killed and started again on its own.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        redis_port: int = 0,
        logs: Path | None = None,
        start_s: float = 120.0,
    ) -> None:
        self.settings, self.start_s = settings, start_s
        self.data_dir = settings.data_dir.resolve()
        self.redis = EmbeddedRedis(
            self.data_dir / "redis",
            redis_port,
            memory_bytes=settings.redis_memory_bytes,
            fsync=settings.fsync,
        )
        self.worker = Child(
            "worker",
            settings.metrics_host,
            settings.metrics_port,
            environment={},
            log=logs / "worker.log" if logs else None,
            stop_s=WORKER_STOP_S,
        )
        self.service = Child(
            "service",
            settings.host,
            settings.port,
            environment={},
            log=logs / "service.log" if logs else None,
            stop_s=SERVICE_STOP_S,
        )
        self._guard: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    @classmethod
    def on_free_ports(cls, data_dir: Path, *, logs: Path | None = None, **settings: Any) -> Self:
        """A stack beside whatever else runs here; `settings` as in `load_settings`."""
        ports = {"port": free_port(), "metrics_port": free_port()}
        return cls(load_settings(**(ports | settings | {"data_dir": data_dir})), logs=logs)

    def start(self) -> None:
        """Start everything and wait until both processes answer /healthz.

        Raises:
            DidNotStart: a port that is taken, a folder in use, a process that ends or does not
                answer within `start_s`; nothing is left running.
        """
        settings = self.settings
        try:
            self.redis.start()
            refuse_busy_port(settings.port, "the service (LEARNDROP_PORT)", settings.host)
            whose = "the worker (LEARNDROP_METRICS_PORT)"
            refuse_busy_port(settings.metrics_port, whose, settings.metrics_host)
            worker_threads = settings.worker_threads or max(1, cores() - settings.serve_threads)
            self.worker.environment = self._environment(worker_threads)
            self.worker.environment["LEARNDROP_WORKER_THREADS"] = str(worker_threads)
            self.service.environment = self._environment(settings.serve_threads)
            self.service.environment["OMP_WAIT_POLICY"] = "passive"
            self.worker.start()
            self.service.start()
            self._start_guard()
            self.service.wait_until_healthy(self.start_s)
            self.worker.wait_until_healthy(self.start_s)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> dict[str, int]:
        """Stop service, worker (after a checkpoint) and Redis; returns exit codes by name."""
        codes = {"service": self.service.stop(), "worker": self.worker.stop()}
        self.redis.stop()
        self._dismiss_guard()
        return codes

    def kill(self) -> None:
        """End everything at once."""
        self.service.kill()
        self.worker.kill()
        self.redis.kill()
        self._dismiss_guard()

    def dead(self) -> tuple[str, int] | None:
        """Name and exit code of a part that ended by itself; None while all run."""
        codes = {
            "worker": self.worker.exit_code,
            "service": self.service.exit_code,
            "redis": self.redis.exit_code,
        }
        return next(((name, code) for name, code in codes.items() if code is not None), None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _environment(self, threads: int) -> dict[str, str]:
        # Threads that spin while they wait for each other slow other busy processes down, so the
        # service's wait passively and the worker leaves it its share of the cores. The worker's
        # spin: waiting passively cost its steps 35 % (355 against 231 samples/s with 2 threads).
        return {
            "OMP_NUM_THREADS": str(threads),
            **to_environment(self.settings),
            "LEARNDROP_DATA_DIR": str(self.data_dir),
            "LEARNDROP_REDIS_URL": self.redis.url,
        }

    def _start_guard(self) -> None:
        pids = (self.service.pid, self.worker.pid, self.redis.pid)
        reader, self._pipe = os.pipe()
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-m", "deploy.guard", str(reader), *map(str, pids)],
                cwd=ROOT,
                pass_fds=(reader,),
                start_new_session=True,
            )
        finally:
            os.close(reader)

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            os.write(self._pipe, b".")
            self._guard.wait()
            os.close(self._pipe)
            self._guard = None


class Signals:
    """What Ctrl-C, SIGTERM and a closed terminal mean: once a clean stop, twice at once."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack, self.started = stack, False
        self.asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self.started:
            raise KeyboardInterrupt
        if self.asked.is_set():
            for part in (self.stack.service, self.stack.worker):
                if part.process is not None:
                    part.process.kill()
        self.asked.set()


def run(stack: LocalStack) -> int:
    """Run until a signal or the death of a child; returns the exit status."""
    signals = Signals(stack)
    print("starting redis, worker and service ...", flush=True)
    stack.start()
    signals.started = True
    print(
        f"learndrop is up, its data in {stack.data_dir}\n"
        f"  service  {stack.service.url}\n"
        f"  worker   {stack.worker.url}/metrics\n"
        f"  redis    {stack.redis.url}\n"
        "Ctrl-C stops it.",
        flush=True,
    )
    ended = None
    while ended is None and not signals.asked.wait(ASK_EVERY_S):
        ended = stack.dead()
    if ended is not None:
        print(f"error: the {ended[0]} ended with {ended[1]}; stopping the rest", file=sys.stderr)
    else:
        print("stopping: service, worker (checkpoint), redis", flush=True)
    failed = {name: code for name, code in stack.stop().items() if code}
    for name in failed.keys() - {ended and ended[0]}:
        print(f"error: the {name} ended with {failed[name]}", file=sys.stderr)
    return 1 if ended is not None or failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description="Redis, worker and service on this machine. Settings: LEARNDROP_* (README).",
    )
    parser.add_argument(
        "--redis-port", type=int, default=0, help="port of the embedded Redis (default: a free one)"
    )
    parser.add_argument("--logs", type=Path, help="folder for worker.log and service.log")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        if "log_format" not in settings.model_fields_set and sys.stdout.isatty():
            settings = load_settings(log_format="text")  # somebody reads it
        return run(LocalStack(settings, redis_port=options.redis_port, logs=options.logs))
    except LearndropError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
