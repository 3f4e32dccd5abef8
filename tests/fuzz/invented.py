"""Inputs that hypothesis invents: the right outline with anything inside."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import FIELD_END

NAMES = ["v", "shape", "image", "crc", "label", "at", "by"]


def entries_of() -> st.SearchStrategy[bytes]:
    """Entries of the stream: known and unknown fields with any bytes."""
    name = st.one_of(st.sampled_from([n.encode() for n in NAMES]), st.binary(max_size=8))
    value = st.one_of(
        st.binary(max_size=200),
        st.sampled_from(
            [b"1", b"8x8", b"0x0", b"-1x-3", b"99999999999x3", b"nan", b"inf", b"1e999"]
        ),
    )
    fields = st.dictionaries(name, value, max_size=9)
    return fields.map(lambda made: FIELD_END.join(part for pair in made.items() for part in pair))


def batches_of() -> st.SearchStrategy[bytes]:
    """JSON bodies: the right keys or others, any JSON inside."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(),
        st.text(max_size=40),
    )
    anything = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
        max_leaves=12,
    )
    keys = st.one_of(st.sampled_from(["images", "labels"]), st.text(max_size=8))
    body = st.one_of(st.dictionaries(keys, anything, max_size=4), anything)
    return body.map(orjson.dumps)


INVENTED = {"entry": entries_of, "json": batches_of}
"""By the name of the door that they are for."""


def invent(strategy: st.SearchStrategy[bytes], count: int, take: Callable[[bytes], None]) -> None:
    """Feed that many examples, the same ones each time."""

    @settings(
        max_examples=count,
        database=None,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def feed(data: bytes) -> None:
        take(data)

    feed()
