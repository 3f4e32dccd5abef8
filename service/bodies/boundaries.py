"""Looks at the boundaries of a form before it is parsed: what would hold the parser up is refused.

The parser goes from one boundary to the next at the speed of memory, and some 1.3 µs slower for
each line that only begins like one; it takes blanks after a boundary, or before a header's value,
one by one. Of these 32 MiB took 7 s, in the one thread that parses for all.
"""

from __future__ import annotations

import re

from learndrop.errors import BadBody

MOST_FALSE = 100
"""Lines that begin like a boundary and go on; in what clients make there is none (RFC 2046)."""
MOST_BLANKS = 1000
"""After boundaries, all together; clients send none."""
HEAD_BYTES = 1024
"""Of a part's headers, on average over a full batch; clients send 150, and a file's name."""
LONGEST_HEAD = 65536
"""No further is the end of a part's headers looked for; the parser takes half of that."""
_BLANKS = re.compile(rb"[ \t]*")


def check_boundaries(body: bytes | bytearray, boundary: bytes, most_parts: int) -> None:
    """Refuse a form that takes long to parse; after `most_parts` the parser ends by itself.

    Raises:
        BadBody: naming what there is too much of.

    >>> check_boundaries(b"--b\\r\\n\\r\\nx\\r\\n--bb\\r\\n--b--\\r\\n", b"b", 1)
    >>> check_boundaries(b"--b\\r\\n\\r\\nx" + 101 * b"\\r\\n--bb", b"b", 1)
    Traceback (most recent call last):
    learndrop.errors.BadBody: the form has over 100 lines that begin like its boundary and go on
    """
    mark = b"\r\n--" + boundary
    parts = false = blanks = heads = 0
    at = body.find(mark)
    while at >= 0:
        after = at + len(mark)
        follows = body[after : after + 2]
        if follows == b"--":
            return  # what comes behind the last boundary is not looked at
        if follows == b"\r\n":
            parts += 1
            if parts > most_parts:
                return
            end = body.find(b"\r\n\r\n", after, after + LONGEST_HEAD)
            heads += (end if end >= 0 else after + LONGEST_HEAD) - after
            _check(heads, HEAD_BYTES * most_parts, "bytes of headers")
        else:
            false += 1
            padding = _BLANKS.match(body, after)
            assert padding is not None  # also nothing matches
            blanks += padding.end() - after
            _check(false, MOST_FALSE, "lines that begin like its boundary and go on")
            _check(blanks, MOST_BLANKS, "blanks after boundaries")
        at = body.find(mark, after)


def _check(number: int, most: int, what: str) -> None:
    if number > most:
        raise BadBody(f"the form has over {most} {what}", item="body", limit=most)
