"""One process of ours (`python -m worker`, `python -m service`) as a child of this one."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from learndrop.errors import DidNotStart
from learndrop.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
ASK_EVERY_S = 0.1


def to_environment(settings: Settings) -> dict[str, str]:
    """Write the settings that were given (not the defaults) as the variables they are read from."""
    variables = {}
    for field in sorted(settings.model_fields_set):
        value = getattr(settings, field)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        text = json.dumps(value) if isinstance(value, tuple | bool) else str(value)
        variables[f"LEARNDROP_{field.upper()}"] = text
    return variables


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def reachable(host: str) -> str:
    """The address on which a server that binds to `host` is reached from this machine.

    >>> reachable("0.0.0.0")
    '127.0.0.1'
    """
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


class Child:
    """A module run as a process that answers GET /healthz on `host`:`port`."""

    def __init__(
        self,
        module: str,
        host: str,
        port: int,
        *,
        environment: Mapping[str, str],
        log: Path | None = None,
        stop_s: float = 60.0,
    ) -> None:
        self.module, self.host, self.port = module, reachable(host), port
        self.environment, self.log, self.stop_s = dict(environment), log, stop_s
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    @property
    def exit_code(self) -> int | None:
        """Exit code of a process that ended by itself; None while it runs or was not started."""
        return self.process.poll() if self.process is not None else None

    def start(self) -> None:
        """Start the process; returns before it answers."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
        output = self._output()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=ROOT,
                env=inherited | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                start_new_session=True,  # Ctrl-C is for the parent, which stops things in order
            )
        finally:
            if output is not None:
                os.close(output)

    def healthy(self) -> bool:
        """Whether it answers GET /healthz with 200."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def wait_until_healthy(self, within_s: float) -> None:
        """Wait for the first good /healthz.

        Raises:
            DidNotStart: it ended, or did not answer within `within_s` seconds.
        """
        deadline = time.monotonic() + within_s
        while not self.healthy():
            if (code := self.exit_code) is not None:
                raise DidNotStart(f"the {self.module} ended with {code} at start{self._said()}")
            if time.monotonic() > deadline:
                raise DidNotStart(
                    f"the {self.module} did not answer on port {self.port} within {within_s:g} s"
                    f"{self._said()}"
                )
            time.sleep(ASK_EVERY_S)

    def stop(self) -> int:
        """SIGTERM, after `stop_s` seconds SIGKILL; returns the exit code (0 if it did not run)."""
        if self.process is None:
            return 0
        self.process.terminate()
        try:
            code = self.process.wait(self.stop_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process = None
        return code

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _output(self) -> int | None:
        if self.log is None:
            return None
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def _said(self) -> str:
        if self.log is None:
            return ""
        lines = self.log.read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return f": {lines[-1] if lines else 'it said nothing'} (log: {self.log})"
