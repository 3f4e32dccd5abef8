"""Row 25: a data folder goes from one learndrop to the next and back, with samples in every state.

The version before is a commit of this repository, run as it was: its service, worker and Redis
learn, and leave samples that wait. This one takes the folder over, learns, and hands it back. The
account of the stream is compared at every change of hands. (A newer format: tests/test_golden.py,
asked here too.)
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from deploy.children import ROOT, to_environment
from deploy.local import LocalStack
from deploy.ports import free_port
from learndrop.client import Client
from learndrop.images import datasets
from learndrop.settings import Settings, load_settings
from tests.rows import Found, arguments, report
from tests.soak.wrong_labels import SETTINGS, SIZE

BEFORE = "550d7f7"  # the first format of every file
PART = 640
STARTS_WITHIN_S = 240.0
KNOWN = ("network", "image_size", "rate", "rate_halving", "precision", "memory_format")


@contextmanager
def running(tree: Path, settings: Settings, names: set[str]) -> Iterator[str]:
    """The stack of an older tree on the data folder; the service's address.

    Args:
        tree: where that learndrop lies.
        settings: with ports and data folder.
        names: settings that it knows.
    """
    given = to_environment(settings)
    known = {k: v for k, v in given.items() if k.removeprefix("LEARNDROP_").lower() in names}
    bare = {k: v for k, v in os.environ.items() if not k.startswith("LEARNDROP_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.local"],
        cwd=tree,
        env={**bare, **known, "PYTHONPATH": str(tree)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{settings.port}"
    try:
        _wait_for(url, process)
        yield url
        process.send_signal(signal.SIGTERM)
        if process.wait(120):
            raise RuntimeError(f"the version before ended with {process.returncode}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until it answers: a client gives up sooner on an address where nobody listens."""
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(httpx2.TransportError):
            httpx2.get(f"{url}/healthz", timeout=5)
            return
        time.sleep(0.2)
    raise RuntimeError(f"the version before does not answer (exit status {process.returncode})")


def taken_apart(commit: str, folder: Path) -> Path:
    """The tree of a commit."""
    packed = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True)
    if packed.returncode:
        raise RuntimeError(f"no commit {commit}: {packed.stderr.decode().strip()}")
    (folder / "tree.tar").write_bytes(packed.stdout)
    with tarfile.open(folder / "tree.tar") as tar:
        tar.extractall(folder / "tree", filter="data")
    return folder / "tree"


def send(url: str, start: int, count: int, *, wait: bool) -> None:
    """Send digits, and wait until they are learned."""
    data = datasets.load("digits", SIZE, seed=0)
    places = [(start + n) % len(data.labels) for n in range(count)]
    with Client(url, patience_s=120.0) as client:
        client.learn(data.images[places], [data.labels[p] for p in places])
        until = time.monotonic() + 180
        while wait and client.state()["samples"]["pending"] and time.monotonic() < until:
            time.sleep(0.5)


def account(url: str) -> dict[str, Any]:
    """What the service says now: the stream's account, and how many samples the learner knows."""
    with Client(url, patience_s=120.0) as client:
        state = client.state()
    return {**state["samples"], "samples_learned": state["samples_learned"]}


def wrong(told: dict[str, Any], accepted: int, hand: str) -> list[str]:
    """What does not add up once everything is learned."""
    expected = {"accepted": accepted, "learned": accepted, "buried": 0, "pending": 0}
    found = {name: told[name] for name in expected}
    trouble = [] if found == expected else [f"{hand}: {found}, expected {expected}"]
    if told["samples_learned"] != accepted:
        trouble.append(f"{hand}: the learner has {told['samples_learned']} of {accepted}")
    return trouble


def find(options: argparse.Namespace) -> dict[int, Found]:
    """Before, now, before, now; each learns a part, and leaves a part to the next."""
    trouble: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree = taken_apart(options.before, folder)
        ports = {"port": free_port(), "metrics_port": free_port()}
        own = {k: v for k, v in SETTINGS.items() if k in KNOWN}
        settings = load_settings(**{**own, **ports, "data_dir": folder / "data"})
        names = {*own, *ports, "data_dir"}
        sent = 0
        for hand in ("before", "now", "before again", "now again"):
            if hand.startswith("before"):
                with running(tree, settings, names) as url:
                    trouble += _turn(url, sent, hand)
            else:
                stack = LocalStack(settings, logs=folder / "logs")
                with stack:
                    trouble += _turn(stack.service.url, sent, hand)
            sent += 2 * PART
        with LocalStack(settings, logs=folder / "logs") as stack:
            send(stack.service.url, sent, 1, wait=True)
            told = account(stack.service.url)
            trouble += wrong(told, sent + 1, "at the end")
    refused = _newer_refused()
    lost = max(0, told["accepted"] - told["learned"] - told["buried"] - told["pending"])
    again = max(0, told["samples_learned"] - told["accepted"])
    return {
        25: Found(
            f"{lost} lost, {again} learned again over 4 changes of hands;"
            f" newer formats {'refused by name' if refused else 'NOT refused'}",
            f"{sent + 1:,} samples, half of them waiting at a change of hands",
            not trouble and refused and not lost and not again,
            f"the version before is {options.before}; {'; '.join(trouble)}".removesuffix("; "),
        )
    }


def _turn(url: str, sent: int, hand: str) -> list[str]:
    """Take over, learn a part, and leave another to the next."""
    send(url, sent, PART, wait=True)
    trouble = wrong(account(url), sent + PART, hand)
    send(url, sent + PART, PART, wait=False)
    return trouble


def _newer_refused() -> bool:
    asked = [sys.executable, "-m", "pytest", "-q", "tests/test_golden.py", "-k", "newer"]
    return subprocess.run(asked, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--before", default=BEFORE, help="commit of the version before")
    sys.exit(report(find, parser, rows=[25]))
