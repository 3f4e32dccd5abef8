"""What a decoder's process and the service say to each other, where it is not as usual."""

from __future__ import annotations

import pytest

from learndrop.errors import BadPicture
from learndrop.images.pictures import PictureLimits
from service.decoding.inputs import Shape
from service.decoding.wire import (
    ANSWER_BYTES,
    MOST_MESSAGE_CHARS,
    Ask,
    Head,
    error_of,
    refusal_answer,
)

ASK = Ask([b"x"], Shape(32, "crop"), PictureLimits(), 1.0, 0)


@pytest.mark.parametrize("letter", ["x", "\x00", "😀"])
def test_a_refusal_that_says_too_much_is_an_answer_all_the_same(letter: str) -> None:
    answer = refusal_answer(BadPicture(letter * 100_000, index=3), 0.5)
    head, payload = Head.of(answer[:ANSWER_BYTES]), answer[ANSWER_BYTES:]
    assert head.answers(ASK) and len(payload) == head.length
    assert str(error_of(payload)) == letter * MOST_MESSAGE_CHARS


@pytest.mark.parametrize("said", [b"[" * 60_000, b"\xff", b"{}", b'{"kind": "BadPicture"}'])
def test_what_is_no_refusal_is_said_in_one_way(said: bytes) -> None:
    with pytest.raises(ValueError):
        error_of(said)
