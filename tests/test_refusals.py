"""The page of refusals is the table that answers are made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from learndrop import errors
from service import problems

PAGE = Path(__file__).parent.parent / "docs" / "refusals.md"


def test_the_page_is_the_table() -> None:
    shown = PAGE.read_text().split("<!-- refusals -->\n")[1].split("<!-- /refusals -->")[0].strip()
    assert shown == problems.as_table(), "put in: python -m service.problems"


def test_every_kind_says_what_to_do_in_a_sentence() -> None:
    for kind in problems.KINDS.values():
        assert kind.remedy.endswith(".") and not kind.title.endswith("."), kind
        assert 400 <= kind.status < 600


@pytest.mark.parametrize("status", [400, 404, 405, 418, 500, 501])
def test_what_the_framework_raises_is_of_a_kind_that_the_page_has(status: int) -> None:
    told = json.loads(bytes(problems.from_status(status, "x", "/").body))
    kind = problems.KINDS[told["type"].removeprefix(problems.TYPES)]
    assert told["status"] == kind.status


def test_every_error_of_the_senders_has_a_kind_of_its_own_status() -> None:
    def below(cls: type[errors.LearndropError]) -> list[type[errors.LearndropError]]:
        return [cls, *(c for child in cls.__subclasses__() for c in below(child))]

    made = {
        errors.BadPicture: errors.BadPicture("x"),
        errors.KeyNeeded: errors.KeyNeeded("x", role="read"),
        errors.RoleNeeded: errors.RoleNeeded("x", role="read"),
    }
    for cls in (*below(errors.BadInput), *below(errors.Unavailable), *made):
        if cls is errors.ServerAway:  # the client's
            continue
        kind = problems.kind_of(made.get(cls) or cls("x"))
        assert kind.name != "internal", cls
