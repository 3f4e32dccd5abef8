"""`python -m deploy.demo`: set up the service, play the stream, show it, judge it.

Exit status: 0 it showed what it promises; 1 it did not, or something failed; 2 the data or the
settings cannot be used; 130 interrupted (table and plot are written all the same).
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from learndrop.errors import BadInput, BadSettings, DidNotStart, LearndropError

if TYPE_CHECKING:
    from deploy.demo.data import Stream
    from deploy.demo.phases import Record
    from deploy.local import LocalStack
    from learndrop.settings import Settings

# What differs from the defaults of the service, unless the environment says otherwise: a network
# for small pictures that starts from nothing, so at a higher rate; and news more often.
SETTINGS: dict[str, Any] = {
    "network": "small-resnet18",
    "image_size": 32,
    "rate": 0.03,
    "accuracy_window": 256,
    "checkpoint_s": 5.0,
    "publish_s": 1.0,
    "log_format": "text",
}
PIPED_WIDTH = 110
AS_IT_IS: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
PATIENCE_S = 2.0
"""An answer that is not there by then counts as not given."""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.demo",
        description="Learn from a stream of labelled images, drop what is learned, meet a changed "
        "input and new meanings of the labels, recover; 1 to 3 minutes on 2 cores. Settings of "
        "the service: LEARNDROP_* (README).",
    )
    parser.add_argument(
        "--data",
        default="digits",
        help="digits (default), a .npz, a folder of class folders, or torchvision:NAME:ROOT",
    )
    parser.add_argument("--out", type=Path, help="folder for all results (default: out/demo-TIME)")
    parser.add_argument("--port", type=int, default=0, help="port of the service (default: 8000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of stream and network")
    parser.add_argument("--limit", type=int, default=20_000, help="most images read from the data")
    parser.add_argument("--scale", type=float, default=1.0, help="length of all phases")
    parser.add_argument(
        "--input",
        default="noise90",
        help="how the input changes: noise90 (default), rotated90, contrast0.3, inverted, ...",
    )
    parser.add_argument("--stay", action="store_true", help="keep the service up until Ctrl-C")
    return parser.parse_args(given)


def demo(options: argparse.Namespace, console: Console) -> int:
    """The whole demo; returns the exit status.

    Raises:
        LearndropError: when it cannot start or go on.
    """
    from deploy.demo.data import Stream
    from deploy.demo.phases import Record, plan
    from deploy.local import LocalStack
    from learndrop.images.datasets import load
    from learndrop.images.worlds import world

    world(options.input)
    out = make_folder(options.out)
    settings = settings_for(out, options.port, options.seed)
    console.print(f"learndrop demo: reading {options.data} ...", highlight=False)
    data = load(options.data, settings.image_size, options.limit, seed=options.seed)
    console.print(
        f"{len(data):,} images of {len(data.classes)} classes"
        + (f", {len(data.skipped)} files skipped ({data.skipped[0]})" if data.skipped else "")
        + f"; starting Redis, worker and service (logs in {out / 'logs'}) ...",
        highlight=False,
        soft_wrap=True,
    )
    record = Record(
        plan(options.scale, options.input), data_name=data.name, network=settings.network
    )
    stream = Stream(data, options.seed)
    with LocalStack(settings, logs=out / "logs") as stack:
        interrupted = play(stack, stream, record, console)
        leave(record, stream, stack, out, console)
        if options.stay and not interrupted:
            stay(stack, console)
    if interrupted:
        console.print("interrupted: the table and the plot show what was seen until then")
        return 130
    return verdict(record, console)


def make_folder(asked: Path | None) -> Path:
    """The folder for results; a new one for each run."""
    out = (asked or Path("out") / time.strftime("demo-%Y%m%d-%H%M%S")).resolve()
    if (out / "service").exists():
        raise BadInput(f"{out} holds a demo already: give another --out", item="out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise BadInput(f"{out} cannot be made: {exc.strerror}", item="out") from exc
    return out


def settings_for(out: Path, port: int, seed: int) -> Settings:
    """The demo's settings; whatever the environment sets wins."""
    from deploy.embedded import free_port, refuse_busy_port
    from learndrop.settings import load_settings

    given = load_settings().model_fields_set
    own = {name: value for name, value in (SETTINGS | {"seed": seed}).items() if name not in given}
    if "weights" in given:
        own.pop("rate", None)  # the service's own default is for weights that know something
    known = load_settings()
    ports = {"port": port or known.port, "metrics_port": known.metrics_port}
    for name, number in ports.items():
        try:
            refuse_busy_port(number, "the demo")
        except DidNotStart:
            if port and name == "port":
                raise
            ports[name] = free_port()
    return load_settings(**(own | ports | {"data_dir": out / "service"}))


def play(stack: LocalStack, stream: Stream, record: Record, console: Console) -> bool:
    """Play all phases under the live view; True when Ctrl-C ended it."""
    from deploy.demo.live import view_for
    from deploy.demo.run import Player
    from learndrop.client import Client

    def alive() -> None:
        if ended := stack.dead():
            logs = stack.data_dir.parent / "logs"
            raise DidNotStart(f"the {ended[0]} ended with {ended[1]}; its log is in {logs}")

    title = f"learndrop demo: {record.data_name}, {record.network}, {stack.service.url}"
    with (
        Client(stack.service.url) as sending,
        Client(stack.service.url, patience_s=PATIENCE_S) as asking,
        view_for(console, title) as view,
    ):
        try:
            Player(sending, asking, stream, record, view, alive=alive).play()
        except KeyboardInterrupt:
            return True
    return False


def leave(record: Record, stream: Stream, stack: LocalStack, out: Path, console: Console) -> None:
    """Table, plot, record and curl lines, printed and written."""
    from PIL import Image

    from deploy.demo import report

    console.print(report.table(record))
    with (out / "table.txt").open("w") as file:
        Console(file=file, width=PIPED_WIDTH).print(report.table(record))
    report.plot(record, out / "demo.png")
    (out / "record.json").write_text(json.dumps(asdict(record), default=str))
    phase = record.phases[max(0, len(record.starts) - 1)]
    picture, first, label = stream.example(phase)
    Image.fromarray(picture).save(out / "example.png")
    console.print(f"plot: {out / 'demo.png'}", highlight=False, soft_wrap=True)
    write_up(stack, out / "up.sh")
    console.print(
        f"\nTo start the service again with what it has learned: {out / 'up.sh'}", **AS_IT_IS
    )
    if first != label:
        console.print(f"  (example.png was a {first} and is called {label} by now)", **AS_IT_IS)
    for line in report.curl_lines(stack.service.url, out / "example.png", label):
        console.print(f"  {line}", **AS_IT_IS)


def write_up(stack: LocalStack, path: Path) -> None:
    """A script that starts the service again on what the demo left."""
    from deploy.children import ROOT, to_environment

    lines = [f"export {k}={shlex.quote(v)}" for k, v in to_environment(stack.settings).items()]
    start = [sys.executable, "-m", "deploy.local", "--logs", str(path.parent / "logs")]
    command = f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(start)}"
    path.write_text("\n".join(["#!/bin/sh", *lines, command, ""]))
    path.chmod(0o755)


def stay(stack: LocalStack, console: Console) -> None:
    """Keep the service up until Ctrl-C."""
    console.print("\nthe service stays up; Ctrl-C stops it", highlight=False)
    try:
        while not stack.dead():
            time.sleep(0.2)
    except KeyboardInterrupt:
        pass


def verdict(record: Record, console: Console) -> int:
    """Say whether the demo showed what it promises; the exit status."""
    from deploy.demo.phases import failures

    told = failures(record)
    for line in told:
        console.print(f"not shown: {line}", style="bold", **AS_IT_IS)
    if not told:
        back = any("returned" in reading.states for reading in record.readings)
        console.print(
            f"shown: layers dropped{', came back and dropped again' if back else ''}, both changes "
            "were noticed, accuracy came back after each, predictions were answered all along",
            **AS_IT_IS,
        )
    return 1 if told else 0


def main(given: Sequence[str] | None = None) -> int:
    """Run the demo; an error is one line."""
    options = arguments(given)
    console = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
    try:
        return demo(options, console)
    except (BadInput, BadSettings) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 2
    except LearndropError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted before it began", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
