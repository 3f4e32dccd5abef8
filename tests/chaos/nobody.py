"""A whole stack run by a user that is not root, with every call of pickle written down."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from deploy.children import ROOT
from deploy.ports import free_port

USER = 10001
READS = "+dac_read_search"
"""The one capability that is kept where this process is root: to read root's own interpreter."""
PATIENCE_S = 400.0
WATCHED = Path(__file__).with_name("watched")


class Place:
    """A folder of one stack: its environment, logs, and where calls of pickle are written."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.data, self.logs, self.calls = folder / "data", folder / "logs", folder / "calls"
        self.port, self.metrics_port = free_port(), free_port()
        for path in (folder, self.data, self.logs):
            path.mkdir(parents=True, exist_ok=True)
        self.calls.touch()
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
        self.environment |= {
            "PICKLE_CALLS": str(self.calls),
            "PYTHONPATH": os.pathsep.join([str(WATCHED), str(ROOT)]),
            "HOME": str(folder),
            "LEARNDROP_DATA_DIR": str(self.data),
            "LEARNDROP_PORT": str(self.port),
            "LEARNDROP_METRICS_PORT": str(self.metrics_port),
            "LEARNDROP_LOG_LEVEL": "debug",
            "LEARNDROP_CHECKPOINT_S": "1",
            "LEARNDROP_PUBLISH_S": "1",
            "LEARNDROP_ARCHIVE_BYTES": "100000000",
            **{f"LEARNDROP_{name.upper()}": str(value) for name, value in settings.items()},
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def give_away(self, folder: Path) -> None:
        """Make the other user the owner of all that lies there."""
        if os.geteuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, USER, USER)

    def run(self, *module: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start `python -m module...` as that user."""
        command = [*unprivileged(), sys.executable, "-m", *module]
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, **options)


def unprivileged() -> list[str]:
    """What runs a command without root; nothing where this process is not root itself."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise RuntimeError("setpriv is not installed (Debian: util-linux)")
    # access(2) asks without capabilities: the other user finds no server in a closed folder
    ways = {*Path(sys.executable).parents, *ROOT.parents}
    if closed := sorted(str(way) for way in ways if not way.stat().st_mode & 0o001):
        raise RuntimeError(f"user {USER} cannot enter {', '.join(closed)}: chmod o+x")
    kept = [f"--{name}=-all,{READS}" for name in ("inh-caps", "ambient-caps", "bounding-set")]
    who = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"]
    return [setpriv, *who, *kept]


@contextmanager
def running(place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """The whole stack, from when it is ready; its logs are closed afterwards."""
    with (place.logs / "stack.log").open("ab") as log:
        stack = place.run("deploy.local", "--logs", str(place.logs), stdout=log, stderr=log)
        try:
            wait(lambda: answers(f"{place.url}/healthz"), stack)
            wait(lambda: answers(f"http://127.0.0.1:{place.metrics_port}/healthz"), stack)
            yield stack
            stack.send_signal(signal.SIGTERM)
            stack.wait(PATIENCE_S)
        finally:
            stack.kill()
            stack.wait()


def answers(url: str, **options: Any) -> bool:
    """Whether GET says 200."""
    try:
        return httpx2.get(url, timeout=5.0, **options).status_code == 200
    except httpx2.TransportError:
        return False


def wait(so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Until it is so.

    Raises:
        RuntimeError: the process ended, or it takes too long.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not so():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"ended with {process.poll()}, or not within {PATIENCE_S:g} s")
        time.sleep(0.1)
