"""Row 11: bodies that are far more than they look like, against `python -m service`.

Each kind is sent several times; meanwhile another client asks /healthz all the time.
"""

from __future__ import annotations

import argparse
import gzip
import io
import socket
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
from PIL import Image

from deploy.children import Child
from deploy.embedded import EmbeddedRedis
from deploy.ports import free_port
from learndrop.settings import Settings, load_settings
from tests.bombs import jpeg_claiming, npz_bomb, npz_that_lies, png_claiming
from tests.fuzz.probes import asking, p99_s
from tests.rows import Found, arguments, report
from tests.services import JSON, NPZ, as_files, encoded, pixels, service_process

MIB = 1024 * 1024
BODY_LIMIT = 8 * MIB
MOST_S, MOST_GROWN, MOST_HEALTH_S = 1.0, 32 * MIB, 0.1

Send = Callable[[str], int]


def png_with_profile(unpacked_bytes: int) -> bytes:
    """A small PNG whose colour profile unpacks to that much."""
    data = encoded(pixels()[0])
    packed = b"icc\0\0" + zlib.compress(bytes(unpacked_bytes), 1)
    chunk = struct.pack(">I", len(packed)) + b"iCCP" + packed
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    return data[:33] + chunk + data[33:]


def png_of_text(unpacked_bytes: int, times: int) -> bytes:
    """A small PNG with many compressed texts before its pixels."""
    data = encoded(pixels()[0])
    packed = b"t\0\0" + zlib.compress(bytes(unpacked_bytes), 9)
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    return data[:33] + chunk * times + data[33:]


def jpeg_of_passes(passes: int) -> bytes:
    """A progressive JPEG of 16 million pixels with one pass again and again."""
    out = io.BytesIO()
    Image.new("RGB", (4000, 4000)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * passes + b"\xff\xd9"


def _post(content: bytes, headers: Mapping[str, str]) -> Send:
    def send(url: str) -> int:
        answer = httpx2.post(f"{url}/v1/samples", content=content, headers=headers, timeout=60)
        return answer.status_code

    return send


def _picture(data: bytes) -> Send:
    def send(url: str) -> int:
        answer = httpx2.post(
            f"{url}/v1/samples", files=as_files([data]), data={"labels": "a"}, timeout=60
        )
        return answer.status_code

    return send


def _endless(url: str) -> int:
    """A chunked body of 2 GiB; sent as far as it is taken."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as raw:
        raw.sendall(
            b"POST /v1/samples HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-npz\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
        try:
            for _ in range(2048):
                raw.sendall(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass  # answered and closed: the answer is still to be read
        return int(raw.recv(4096).split()[1])


def bombs() -> dict[str, tuple[int, Send]]:
    """Each bomb: the status it must get, and how it is sent."""
    deep = b'{"images": ' + b"[" * (4 * MIB)
    many = b'{"images": [' + b"[]," * (2 * MIB) + b"[]]}"
    zeros = gzip.compress(bytes(64 * MIB))
    return {
        "PNG of 30000 x 30000": (422, _picture(png_claiming(30_000))),
        "JPEG of 30000 x 30000": (422, _picture(jpeg_claiming(30_000))),
        "PNG with a colour profile of 512 MiB": (422, _picture(png_with_profile(512 * MIB))),
        "PNG with texts of 900 MiB": (422, _picture(png_of_text(900 * 1024, 1024))),
        "JPEG of 16 million pixels and 150 passes": (422, _picture(jpeg_of_passes(150))),
        "npz of 900 MiB": (413, _post(npz_bomb(900 * MIB), NPZ)),
        "npz that claims 7 of its 300 MiB": (400, _post(npz_that_lies(300 * MIB, 7 * MIB), NPZ)),
        "JSON of brackets, deep": (413, _post(deep, JSON)),
        "JSON of brackets, many": (413, _post(many, JSON)),
        "gzip": (415, _post(zeros, {**NPZ, "content-encoding": "gzip"})),
        "chunked body of 2 GiB": (413, _endless),
    }


@contextmanager
def served(folder: Path) -> Iterator[tuple[Child, Settings]]:
    """The service as a process, with Redis."""
    with EmbeddedRedis(folder / "redis") as server:
        settings = load_settings(
            redis_url=server.url, data_dir=folder, port=free_port(), log_level="warning",
            max_body_bytes=BODY_LIMIT,
        )  # fmt: skip
        with service_process(folder, settings) as child:
            yield child, settings


def memory_bytes(pid: int, name: str) -> int:
    """VmHWM (peak) or VmRSS of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split(f"{name}:")[1].split()[0])


def find(options: argparse.Namespace) -> Mapping[int, Found]:
    """Send every bomb, and look at the answer, the time, the memory and /healthz."""
    slowest_s, slowest, most_grown, largest = 0.0, "", 0, ""
    wrong: list[str] = []
    health: list[float] = []
    kinds = bombs()
    with tempfile.TemporaryDirectory() as name, served(Path(name)) as (child, _):
        assert child.pid is not None
        good = encoded(pixels()[0])
        assert _picture(good)(child.url) == 202
        for what, (status, send) in kinds.items():
            for _ in range(options.times):
                Path(f"/proc/{child.pid}/clear_refs").write_text("5")
                before = memory_bytes(child.pid, "VmRSS")
                with asking(child.url, "/healthz") as waits:
                    began = time.monotonic()
                    got = send(child.url)
                    spent_s = time.monotonic() - began
                health += waits
                grown = memory_bytes(child.pid, "VmHWM") - before
                if got != status:
                    wrong.append(f"{what}: {got} instead of {status}")
                if spent_s > slowest_s:
                    slowest_s, slowest = spent_s, what
                if grown > most_grown:
                    most_grown, largest = grown, what
        alive = child.healthy() and _picture(good)(child.url) == 202
    health_s = p99_s(health)
    told = [
        f"{len(wrong)} not refused as they must be",
        f"slowest {slowest_s:.2f} s ({slowest})",
        f"peak RSS +{most_grown / MIB:.0f} MB under a body limit of 8 MiB ({largest})",
        f"/healthz p99 {1000 * health_s:.0f} ms",
    ]
    return {
        11: Found(
            figure=", ".join(told),
            count=f"{len(kinds)} kinds, each {options.times} times;"
            f" /healthz asked {len(health)} times",
            passed=alive
            and not wrong
            and slowest_s <= MOST_S
            and most_grown <= MOST_GROWN + BODY_LIMIT
            and health_s <= MOST_HEALTH_S,
            notes="; ".join(wrong[:5]),
        )
    }


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--times", type=int, default=5)
    sys.exit(report(find, parser, rows=[11]))
