"""The data folder belongs to one stream, and is written by the worker that leads it.

The lease in Redis says who leads. What it cannot stop is a rename that was on its way when the
worker was paused; so the folder remembers the newest token, and what makes a checkpoint or a
version count happens under a lock in which the token is compared. Who takes over waits for that
lock, but no longer than a lease: a worker that was paused inside it may finish that one rename when
it wakes. Numbers are given once, so that is a whole checkpoint older than the next one, or nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from learndrop.disk.files import write_atomic
from learndrop.errors import DidNotStart, NotLeading
from learndrop.settings import Settings


class Folder:
    """One worker's hold on its data folder.

    Args:
        settings: which folder, and which stream.
        owner: how this worker is called in its lease.

    Attributes:
        id: of the folder, made with it: the stream remembers which one its samples went to.

    Raises:
        DidNotStart: if the folder cannot be written.
    """

    def __init__(self, settings: Settings, owner: str) -> None:
        self._root, self._owner = settings.data_dir, owner
        url = settings.redis_url.get_secret_value().rpartition("@")[2]  # without user and password
        self._stream = hashlib.sha256(f"{settings.name} {url}".encode()).hexdigest()[:16]
        self._token, self._lease_s = 0, settings.lease_s
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._held = self._open("worker.lock")
            self._token_fd = self._open("worker.token")
            self.id = self._known_as()
        except OSError as exc:
            raise DidNotStart(f"data folder {self._root}: {exc.strerror}") from exc

    def newest(self) -> int:
        """The newest token that led here; 0 where none did."""
        return _number(os.pread(self._token_fd, 32, 0))

    def left_by(self, owner: str) -> bool:
        """Whether the owner of a lease led in this folder and has ended: its lock is free."""
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if self._who() == (self._stream, owner):
            return True
        fcntl.flock(self._held, fcntl.LOCK_UN)
        return False

    def enter(self, token: int) -> None:
        """Lead here from now on; whoever led under an older token can finish nothing.

        Raises:
            NotLeading: if a newer token leads already.
            DidNotStart: if a worker of another stream works here.
        """
        try:
            # Held until the process ends, however it ends. A leader that is only paused still has
            # it; that it leads the same stream is enough then.
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._held, 0)
            os.pwrite(self._held, f"{self._stream} {self._owner}\n".encode(), 0)
        except BlockingIOError as exc:
            stream, owner = self._who()
            if stream != self._stream:
                raise DidNotStart(
                    f"data folder {self._root} is in use by a worker of another stream ({owner})"
                ) from exc
        with self._locked(self._lease_s):
            if self.newest() > token:
                raise NotLeading(f"a newer worker than {token} leads in {self._root}")
            os.pwrite(self._token_fd, b"%020d\n" % token, 0)  # one write: read without the lock
            os.fsync(self._token_fd)
        self._token = token

    def leave(self) -> None:
        """Lead here no more."""
        fcntl.flock(self._held, fcntl.LOCK_UN)

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Nobody else takes the folder over while the block runs: for a rename, not for more.

        Raises:
            NotLeading: if another worker has taken it over.
        """
        with self._locked():
            if self.newest() != self._token:
                raise NotLeading(f"another worker leads in {self._root}")
            yield

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._held)
        os.close(self._token_fd)

    def _who(self) -> tuple[str, str]:
        told = os.pread(self._held, 500, 0).decode("utf-8", "replace").strip()
        stream, _, owner = told.partition(" ")
        return stream, owner

    def _known_as(self) -> str:
        """The folder's id: given once, by whoever comes first."""
        path = self._root / "worker.folder"
        with self._locked(self._lease_s):
            if not path.exists() or not path.read_bytes().strip():
                write_atomic(path, f"{uuid.uuid4().hex}\n".encode())
            return path.read_text("ascii", "replace").strip()

    def _open(self, name: str) -> int:
        return os.open(self._root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @contextmanager
    def _locked(self, within_s: float = math.inf) -> Iterator[None]:
        """Hold the token's lock while the block runs; without it once the time is over."""
        until = time.monotonic() + within_s
        while True:
            try:
                fcntl.flock(self._token_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    break
                time.sleep(0.002)
        try:
            yield
        finally:
            fcntl.flock(self._token_fd, fcntl.LOCK_UN)


def _number(text: bytes) -> int:
    return int(text) if text.strip().isdigit() else 0
