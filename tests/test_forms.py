"""Forms that could hold the event loop up: told from others, or refused."""

from __future__ import annotations

import itertools

import httpx2
import pytest

from learndrop.errors import BadBody
from learndrop.settings import load_settings
from service.batches import BatchLimits
from service.forms import MOST_PARAMETERS, is_quick, read_form
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
