"""Row 20: disks that fill up under Redis, under checkpoints and versions, and under /tmp.

Each is a tmpfs of 64 MiB (mounting needs root) that is filled by a file to the last byte. Redis
ends itself when it cannot write its append-only file; a supervisor that starts it again, as compose
does, is part of the scene. The feature store is in memory and has no disk to fill.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from deploy.embedded import EmbeddedRedis
from learndrop.errors import DidNotStart
from tests.chaos.scene import Scene, scene
from tests.rows import Found, arguments, report
from tests.services import as_files, encoded, pixels

SIZE = "64m"
NOT_READY_WITHIN_S, WELL_WITHIN_S, GIVE_UP_S = 5.0, 10.0, 60.0
FULL_S = 4.0


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs at the folder.

    Raises:
        CalledProcessError: who runs this may not mount.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Fill the disk of the folder to the last byte; there is space again after the block."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def supervised(server: EmbeddedRedis) -> Iterator[None]:
    """Start the server again whenever it has ended by itself."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            if not server.running:  # also after a start that failed
                with suppress(DidNotStart):
                    server.start()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def append_only_file(here: Scene, folder: Path) -> list[str]:
    """Redis cannot write: no 202 that is not on disk, not ready, well again."""
    wrong = []
    with full(folder):
        began = time.monotonic()
        until = began + FULL_S + NOT_READY_WITHIN_S
        unready_s = None
        while time.monotonic() < until:
            here.taken()
            if unready_s is None and not here.ready():
                unready_s = time.monotonic() - began
            time.sleep(0.05)
        if unready_s is None or unready_s > NOT_READY_WITHIN_S:
            wrong.append(f"not ready after {unready_s} s")
    well_s = here.well_again(GIVE_UP_S)
    if well_s is None or well_s > WELL_WITHIN_S:
        wrong.append(f"well after {well_s} s")
    account, acked = here.account(), len(here.ledger.acked)
    if account["learned"] < acked:
        wrong.append(f"{acked} answers of 202, {account} in the account")
    return [
        *wrong,
        f"Redis: not ready after {unready_s or 0:.1f} s, well after {well_s or 0:.1f} s",
    ]


def checkpoints(here: Scene, folder: Path) -> list[str]:
    """The worker cannot write: it goes on learning, and nothing counts as learned."""
    wrong = []
    with full(folder):
        before = here.account()
        taken = sum(here.taken() for _ in range(10))
        time.sleep(FULL_S)
        now = here.account()
        if now["learned"] != before["learned"]:
            wrong.append(f"counted as learned without a checkpoint: {now}")
        if here.http.post("/v1/predictions", files=_picture()).status_code != 200:
            wrong.append("no predictions")
        failures = here.metric("learndrop_write_failures_total")
        if not failures or taken != 10:
            wrong.append(f"{failures} failed writes counted, {taken} of 10 batches taken")
        here.stack.worker.kill()  # the worst moment
        here.stack.worker.start()
        with suppress(DidNotStart):
            here.stack.worker.wait_until_healthy(20.0)
    if here.stack.worker.exit_code is not None:
        here.stack.worker.start()  # what its supervisor does
    well_s = here.well_again(GIVE_UP_S)
    if well_s is None or well_s > WELL_WITHIN_S:
        wrong.append(f"well after {well_s} s")
    account, acked = here.account(), len(here.ledger.acked)
    if account["learned"] != account["accepted"] or account["learned"] < acked:
        wrong.append(f"{acked} answers of 202, {account} in the account")
    return [*wrong, f"checkpoints and versions: well after {well_s or 0:.1f} s"]


def temporary_files(here: Scene, folder: Path) -> list[str]:
    """Neither samples nor predictions need a temporary file, in any form."""
    wrong = []
    with full(folder):
        if not here.taken():
            wrong.append("npz is refused while /tmp is full")
        answer = here.http.post("/v1/predictions", files=_picture())
        if answer.status_code != 200:
            wrong.append(f"multipart is answered with {answer.status_code} while /tmp is full")
    return [*wrong, "temporary files: not needed"]


def _picture() -> list[tuple[str, tuple[str, bytes]]]:
    return as_files([encoded(pixels(1, 1200)[0])])  # 4 MB: larger than a form keeps in memory


def find(options: argparse.Namespace) -> dict[int, Found]:
    """One disk after another."""
    told: list[str] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as disks:
        data, temporary = Path(name) / "data", Path(name) / "tmp"
        for folder in (data, data / "redis", temporary):
            disks.enter_context(small_disk(folder))
        os.environ["TMPDIR"] = str(temporary)
        with scene(Path(name)) as here, supervised(here.stack.redis):
            for _ in range(options.rounds):
                told += append_only_file(here, data / "redis")
                told += checkpoints(here, data)
                told += temporary_files(here, temporary)
    good = [text for text in told if text.startswith(("Redis: ", "checkpoints", "temporary"))]
    wrong = [text for text in told if text not in good]
    return {
        20: Found(
            "; ".join(wrong) if wrong else "; ".join(dict.fromkeys(good)),
            f"3 disks of {SIZE}iB, {options.rounds} rounds, {len(here.ledger.acked)} samples taken",
            not wrong,
            "Not ready is asked of a disk that a 202 rests on: while only the worker's is full,"
            " samples are still taken, none counts as learned, and"
            " learndrop_write_failures_total rises.",
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    sys.exit(report(find, parser, rows=[20]))
