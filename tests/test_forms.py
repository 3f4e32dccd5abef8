"""Forms that could hold the event loop up: told from others, or refused."""

from __future__ import annotations

import itertools
import time

import httpx2
import pytest

from learndrop.errors import BadBody, TooLarge
from learndrop.settings import load_settings
from service.bodies.batches import BatchLimits
from service.bodies.boundaries import HEAD_BYTES, MOST_BLANKS, MOST_FALSE
from service.bodies.forms import MOST_PARAMETERS, is_quick, read_form
from tests.fuzz.targets import doors
from tests.services import as_files, encoded, pixels


def form(count: int) -> bytes:
    """As a client library makes it, with a label for each."""
    files = as_files([encoded(one, "JPEG") for one in pixels(count)])
    labels = {"labels": [str(n) for n in range(count)]}
    return httpx2.Request("POST", "http://x", files=files, data=labels).read()


def test_ordinary_forms_are_quick() -> None:
    (seeds,) = (door.seeds for door in doors() if door.name == "form")
    assert all(map(is_quick, [*seeds, form(64)]))


def test_a_crowd_of_headers_is_not() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="ids"\r\n' + b"a: b\r\n" * 7 + b"\r\nx\r\n"
    assert not is_quick(part * 200)


@pytest.mark.parametrize("row", sorted(itertools.product(b" \t", repeat=4)))
def test_blanks_are_counted_however_they_are_mixed(row: tuple[int, ...]) -> None:
    assert not is_quick(b"--b" + bytes(row) * 1000)


@pytest.mark.parametrize("extra", [b";", b"; ", b"; a=b", b';a=";"'])
def test_a_crowd_of_parameters_is_refused(extra: bytes) -> None:
    def read(count: int) -> int:
        head = b'--b\r\nContent-Disposition: form-data; name="images"' + extra * count
        body = head + b"\r\n\r\nx\r\n--b--\r\n"
        return len(read_form(body, {b"boundary": b"b"}, BatchLimits.of(load_settings())).images)

    assert read(3) == 1
    with pytest.raises(BadBody, match="too many parameters"):
        read(MOST_PARAMETERS)


def crowd(of: bytes, *, size: int = 32 * 2**20) -> bytes:
    """A form of one picture that is this over and over again."""
    head = b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\nx'
    return head + of * (size // len(of)) + b"\r\n--b--\r\n"


PADDED = b'\r\n--b\r\nContent-Disposition: form-data; name="ids"\r\n' + (
    b"a:" + b" " * 4000 + b"\r\n"
) * 7 + b"\r\nx"  # fmt: skip


@pytest.mark.parametrize(
    "of,what,limit",
    [(b"\r\n--bb", "begin like its boundary", MOST_FALSE),
     (b"\r\n--b\rx", "begin like its boundary", MOST_FALSE),
     (b"\r\n--b-x", "begin like its boundary", MOST_FALSE),
     (b"\r\n--b" + b"\t " * 600, "blanks", MOST_BLANKS),
     (PADDED, "headers", HEAD_BYTES * 3 * 256)],
)  # fmt: skip
def test_a_crowd_of_what_holds_the_parser_up_is_refused_at_once(
    of: bytes, what: str, limit: int
) -> None:
    """Each took the parser seconds, on every machine at least a hundred times as long as now."""
    body, limits = crowd(of), BatchLimits.of(load_settings(max_image_bytes=64 * 2**20))
    began = time.process_time()
    with pytest.raises(BadBody, match=what) as refused:
        read_form(body, {b"boundary": b"b"}, limits)
    assert time.process_time() - began < 0.5
    assert (refused.value.item, refused.value.limit) == ("body", limit)


def test_what_no_client_need_avoid_is_taken() -> None:
    """A long row of blanks, a few lines like a boundary in a picture, blanks after boundaries."""
    inside = b"\r\n--bb" * MOST_FALSE + b" " * 5000
    body = crowd(inside, size=len(inside)).replace(b"\r\n--b--", b"\r\n--b-- ")
    batch = read_form(body, {b"boundary": b"b"}, BatchLimits.of(load_settings()))
    assert batch.images == [b"x" + inside]
    padded = b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\nx\r\n--b \t\r\n'
    padded += b'Content-Disposition: form-data; name="labels"\r\n\r\ny\r\n--b--\r\n'
    batch = read_form(padded, {b"boundary": b"b"}, BatchLimits.of(load_settings()))
    assert (batch.images, batch.labels) == ([b"x"], ["y"])


def test_too_many_pictures_are_told_as_that() -> None:
    with pytest.raises(TooLarge, match="257 or more images"):
        request = httpx2.Request("POST", "http://x", files=as_files([b"x"] * 2000))
        kind = request.headers["content-type"].partition("boundary=")[2].encode()
        read_form(request.read(), {b"boundary": kind}, BatchLimits.of(load_settings()))
