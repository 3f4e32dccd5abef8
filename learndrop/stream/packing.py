"""Many values as few arguments of a script: fields in common once, others as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Value = bytes | memoryview
"""Of a field; pixels may be seen where they lie."""


def packed(fields: Mapping[bytes, Sequence[Value]]) -> list[bytes | int]:
    """Fields of entries as arguments of PUBLISH: what all have alike is told once.

    A field that nobody has is left out, one that some lack is empty there.

    >>> packed({b"v": [b"1", b"1"], b"label": [b"cat", b"horse"], b"key": [b"", b""]})
    [2, b'v', b'1', b'label', b'3 5', b'cathorse']
    """
    alike, own = [], []
    for name, values in fields.items():
        first = values[0]
        if isinstance(first, bytes) and values.count(first) == len(values):
            alike += [name, first] if first else []
        else:
            own += [name, *column(values)]
    return [len(alike), *alike, *own]


def column(values: Sequence[Value]) -> tuple[bytes, bytes]:
    """Values as two arguments: how many bytes each has, and all of them one after the other.

    One argument for each would cost both ends several times the copying.

    >>> column([b"cat", b"dog"]), column([b"cat", b"horse"]), column([])
    ((b'3', b'catdog'), (b'3 5', b'cathorse'), (b'', b''))
    """
    sizes = [value.nbytes if isinstance(value, memoryview) else len(value) for value in values]
    if sizes and sizes.count(sizes[0]) == len(sizes):
        del sizes[1:]
    return b" ".join([b"%d" % size for size in sizes]), b"".join(values)
