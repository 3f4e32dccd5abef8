"""The process that mutants are fed to, so that a crash of a decoder is seen and not shared.

It says through a file which mutant it is at, and prints what it found as one JSON object.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import resource
import struct
import sys
import time
import traceback
from functools import partial
from pathlib import Path

from learndrop.images import pictures
from service.problems import from_error
from tests.fuzz.invented import INVENTED, invent
from tests.fuzz.mutations import mutant
from tests.fuzz.targets import REFUSALS, Door, doors

WARM = 400
"""Mutants before memory is read: what is loaded once is loaded then."""


def resident_bytes() -> int:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def peak_bytes() -> int:
    """Peak of the resident memory since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def forget_peak() -> None:
    """Begin a new peak."""
    Path("/proc/self/clear_refs").write_text("5")


def plant(bug: str, all_doors: list[Door]) -> list[Door]:
    """Put in a bug that mutants must find: an error nobody expects, or a crash of the process."""
    if bug == "error":
        pictures._UNREADABLE = (OSError, SyntaxError)
    if bug != "crash":
        return all_doors
    door = all_doors[0]

    def take(data: bytes) -> object:
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and data[19:20] >= b"\x80":
            ctypes.string_at(0)  # what an overflow in a decoder does
        return door.take(data)

    return [Door(door.name, door.seeds, take), *all_doors[1:]]


class Tally:
    """What was found so far."""

    def __init__(self) -> None:
        self.unhandled: list[str] = []
        self.slowest_s, self.slowest = 0.0, ""
        self.refused = self.taken = self.invented = 0

    def feed(self, door: Door, data: bytes, what: str) -> None:
        """Hand one input in; anything but a result or a refusal is written down."""
        began = time.perf_counter()
        try:
            try:
                door.take(data)
                self.taken += 1
            except REFUSALS as exc:
                from_error(exc, "/")  # whatever it names must go into an answer
                self.refused += 1
        except BaseException:
            self.unhandled.append(f"{what}: {traceback.format_exc(limit=-4)}")
        spent_s = time.perf_counter() - began
        if spent_s > self.slowest_s:
            self.slowest_s, self.slowest = spent_s, what

    def feed_invented(self, all_doors: list[Door], count: int) -> None:
        """What hypothesis invents for entries and JSON bodies."""
        for door in all_doors:
            if (strategy := INVENTED.get(door.name)) is not None:
                invent(strategy(), count, partial(self._feed_named, door))
                self.invented += count

    def _feed_named(self, door: Door, data: bytes) -> None:
        self.feed(door, data, f"{door.name} invented")


def main() -> None:
    """first, last, salt, planted bug, progress file."""
    first, last, salt = (int(text) for text in sys.argv[1:4])
    bug, progress = sys.argv[4], Path(sys.argv[5])
    all_doors, tally = plant(bug, doors()), Tally()
    warm_bytes = 0
    with progress.open("r+b") as file, mmap.mmap(file.fileno(), 8) as at:
        for number in range(first, last):
            if number - first == min(WARM, (last - first) // 2):
                forget_peak()
                warm_bytes = resident_bytes()
            struct.pack_into("<Q", at, 0, number)
            door = all_doors[number % len(all_doors)]
            tally.feed(door, mutant(door.seeds, number, salt), f"{door.name} {salt}/{number}")
            if bug != "none" and tally.unhandled:
                break  # that one was to be found
        struct.pack_into("<Q", at, 0, last)
    tally.feed_invented(all_doors, 20 if bug != "none" else max(20, (last - first) // 20))
    told = {
        "mutants": last - first,
        "invented": tally.invented,
        "taken": tally.taken,
        "refused": tally.refused,
        "unhandled": tally.unhandled[:5],
        "unhandled_count": len(tally.unhandled),
        "slowest_s": tally.slowest_s,
        "slowest": tally.slowest,
        "grown_bytes": max(0, peak_bytes() - warm_bytes),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
