"""A multipart/form-data body: files in `images`; `labels` and `ids` as fields, or a JSON list."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from learndrop.errors import BadBody, BadInput
from service.bodies.batches import (
    Batch,
    BatchLimits,
    as_labels,
    check_count,
    check_image_bytes,
    check_text_count,
)
from service.bodies.boundaries import check_boundaries
from service.bodies.sample_ids import MOST_CHARS, as_ids

TEXTS = ("labels", "ids")
FIELDS = ("images", *TEXTS)
MOST_HEADERS, MOST_HEADER_BYTES = 8, 4096
MOST_QUICK = 1000
"""Lines, and blanks that follow a blank, of a form that takes 7 ms to parse at most. Its time grows
with these: the parser takes a line at a time, and such blanks one by one."""
MOST_PARAMETERS = 16
"""Parameters of a disposition; clients send two. The parser takes 2 µs for each, also for an empty
one."""
_USUAL = re.compile(rb'form-data; name="([a-z]+)"(?:; filename="[^"\\]*")?')
"""A disposition without anything that must be unescaped: there is one for each picture, and the
parser for all of them takes longer."""


def read_form(
    body: bytes | bytearray, options: Mapping[bytes, bytes], limits: BatchLimits
) -> Batch:
    """Read the batch; `options` are the parameters of the Content-Type.

    Raises:
        BadBody: no boundary, broken parts, more around parts than clients send, or a body that ends
            before its closing boundary.
        BadInput, BadPicture, TooLarge: parts that are no batch.
    """
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadBody("the Content-Type names no boundary", item="Content-Type")
    check_boundaries(body, boundary, len(FIELDS) * limits.images)
    parts = _Parts(limits)
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
                "on_header_field": parts.header_name,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_finished,
                "on_end": parts.closed,
            },
            max_header_count=MOST_HEADERS,
            max_header_size=MOST_HEADER_BYTES,
        )
        parser.write(cast(bytes, body))  # it only finds and slices: no copy is needed
    except FormParserError as exc:
        raise BadBody(f"the multipart body cannot be read: {exc}", item="body") from exc
    if not parts.whole:
        # The parser itself would hand over the parts seen so far, without a word.
        raise BadBody(
            "the multipart body ends before its closing boundary", item="body", value=len(body)
        )
    labels, ids = (_texts(name, parts.texts[name]) for name in TEXTS)
    return Batch(
        parts.images,
        None if labels is None else as_labels(labels, limits),
        None if ids is None else as_ids(ids, limits),
    )


def is_quick(body: bytes | bytearray) -> bool:
    """Whether parsing takes little more than its bytes let expect: no crowd of lines or blanks.

    >>> is_quick(b"--b\\r\\n" * 100), is_quick(b"--b" + b" \\t" * 2000)
    (True, False)
    """
    signs = np.frombuffer(body, np.uint8)
    blank = (signs == 0x20) | (signs == 0x09)
    lines = np.count_nonzero((signs[:-1] == 0x0D) & (signs[1:] == 0x0A))
    return int(lines + np.count_nonzero(blank[:-1] & blank[1:])) <= MOST_QUICK


def _texts(item: str, raw: list[bytearray]) -> Any:
    """The fields of one name as texts, or what the JSON list in a single one holds."""
    if not raw:
        return None
    texts = []
    for index, one in enumerate(raw):
        try:
            texts.append(one.decode())
        except UnicodeDecodeError as exc:
            raise BadInput(f"{item}[{index}] is no UTF-8", item=f"{item}[{index}]") from exc
    if len(texts) == 1 and texts[0].lstrip().startswith("["):
        try:
            return orjson.loads(texts[0])
        except orjson.JSONDecodeError as exc:
            raise BadInput(f"{item} begin like a JSON list: {exc}", item=item) from exc
    return texts


class _Parts:
    """Collects the parts; each limit is applied as soon as it is passed."""

    def __init__(self, limits: BatchLimits) -> None:
        self.images: list[bytearray] = []
        self.texts: dict[str, list[bytearray]] = {name: [] for name in TEXTS}
        self.whole = False
        self._limits = limits
        # One field may hold a JSON list of all labels, in which a character takes up to 12 bytes.
        chars = {"labels": limits.label_chars, "ids": MOST_CHARS}
        self._most_bytes = {n: 2 + limits.images * (12 * chars[n] + 4) for n in TEXTS}
        self._bytes = dict.fromkeys(TEXTS, 0)
        self._field = ""
        self._name, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._into: bytearray | None = None

    def begin(self) -> None:
        self._disposition = b""

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        if usual := _USUAL.fullmatch(self._disposition):
            field = usual[1].decode()
        elif self._disposition.count(b";") > MOST_PARAMETERS:
            raise BadBody("a Content-Disposition has too many parameters", item="body")
        else:
            _, options = parse_options_header(self._disposition)
            field = options.get(b"name", b"").decode("utf-8", "replace")
        if field not in FIELDS:
            raise BadInput(
                f"unknown form field {field[:80]!r}",
                item="body",
                limit=list(FIELDS),
                value=field[:80],
            )
        self._field, self._into = field, bytearray()
        if field == "images":
            self.images.append(self._into)
            check_count(len(self.images), self._limits)
        else:
            self.texts[field].append(self._into)
            check_text_count(len(self.texts[field]), field, self._limits)

    def data(self, data: bytes, start: int, end: int) -> None:
        assert self._into is not None
        self._into += data[start:end]
        if self._field == "images":
            check_image_bytes(len(self._into), len(self.images) - 1, self._limits)
            return
        self._bytes[self._field] += end - start
        held, most = self._bytes[self._field], self._most_bytes[self._field]
        if held > most:
            told = f"the {self._field} have {held} bytes or more"
            raise BadInput(told, item=self._field, limit=most, value=held)

    def end(self) -> None:
        self._into = None

    def closed(self) -> None:
        self.whole = True
