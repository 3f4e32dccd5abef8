"""bench-ingest runs for real, small; and its page says what it measured."""

from __future__ import annotations

import pytest

from deploy.bench_ingest import KINDS, aims, measure, page
from deploy.blast import http_answered, redis_answered
from tests.servers import require_server


def test_every_way_is_measured_and_on_the_page() -> None:
    require_server()
    found = measure(rounds=1, requests=4, connections=2)
    for kind in KINDS:
        assert all(found[f"{kind} {of}"] > 0 for of in ("always", "everysec", "bare"))
    assert found["redis always"] > 0 and found["jpeg decode"] > 0
    told = page(found, "1 round", "The disk was another's too.")
    assert "The disk was another's too." in told
    assert f"{found['npz always']:,.0f}" in told and f"{found['redis everysec']:,.0f}" in told
    assert all(aim in told for aim, _, _ in aims(found))


def test_an_aim_that_is_missed_is_said_to_be() -> None:
    missed = {"npz share": 0.79, "jpeg times decode": 1.31}
    assert [reached for _, _, reached in aims(missed)] == [False, False]
    assert [reached for _, _, reached in aims({"npz share": 0.8, "jpeg times decode": 1.3})] == [
        True,
        True,
    ]


def test_a_refusal_is_never_counted_as_an_answer() -> None:
    whole = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"
    assert http_answered(whole) and not http_answered(whole[:-1])
    with pytest.raises(ValueError, match="429"):
        http_answered(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n")
    two = b"$3\r\n1-0\r\n$3\r\n2-0\r\n"
    assert redis_answered(2)(two) and not redis_answered(2)(two[:-2])
    with pytest.raises(ValueError, match="OOM"):
        redis_answered(2)(b"-OOM command not allowed\r\n")
