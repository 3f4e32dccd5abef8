"""Dead letters: what could not be learned, to be looked at, put back or thrown away."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, status
from fastapi.responses import Response

from learndrop.errors import NotFound
from learndrop.images.pictures import to_png
from learndrop.stream.contract import Reason
from learndrop.stream.messages import picture_of
from learndrop.upkeep.dead_letters import MOST_A_PAGE
from service.bodies.content import PNG
from service.dependencies import ADMIN, InParts, Repeating
from service.problems import documented
from service.schemas.dead_letters import (
    DeadLetter,
    DeadLetterPage,
    Purged,
    Replayed,
    WholeDeadLetter,
)

router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])
Limit = Annotated[int, Query(ge=1, le=MOST_A_PAGE, description="Most letters on the page.")]
Cursor = Annotated[str | None, Query(max_length=80, description="`next_cursor` of a page.")]
OfReason = Annotated[Reason | None, Query(description="Only those of one reason.")]
LONGEST_TEXT = 400


@router.get(
    "",
    operation_id="dead_letters",
    dependencies=ADMIN,
    summary="Samples that could not be learned, newest first",
    responses=documented("bad-input", "bad-parameter", "stream-away"),
)
async def page(
    wired: InParts, reason: OfReason = None, limit: Limit = 50, cursor: Cursor = None
) -> DeadLetterPage:
    """The newest `dead_letters_kept`; a page of one reason may be short and not yet the last."""
    heads, next_cursor = await wired.dead_letters.page(cursor, limit, reason)
    return DeadLetterPage(
        dead_letters=[DeadLetter(**asdict(head)) for head in heads],
        next_cursor=next_cursor,
        kept=await wired.dead_letters.numbers(),
    )


@router.get(
    "/{letter_id}",
    operation_id="dead_letter",
    dependencies=ADMIN,
    summary="One dead letter with its fields",
    responses=documented("not-kept", "stream-away"),
)
async def one(letter_id: str, wired: InParts) -> WholeDeadLetter:
    """Why it lies here, and what it held."""
    head, fields = await wired.dead_letters.get(letter_id)
    told = {_text(name): _text(value) for name, value in fields.items() if name != b"image"}
    place = None if picture_of(fields) is None else f"/v1/dead-letters/{letter_id}/picture"
    return WholeDeadLetter(**asdict(head), fields=told, picture=place)


@router.get(
    "/{letter_id}/picture",
    operation_id="dead_letter_picture",
    dependencies=ADMIN,
    summary="The picture of a dead letter, as a PNG",
    response_class=Response,
    responses={**PNG, **documented("not-kept", "stream-away")},
)
async def picture(letter_id: str, wired: InParts) -> Response:
    """As the network would have seen it."""
    _, fields = await wired.dead_letters.get(letter_id)
    image = picture_of(fields)
    if image is None:
        raise NotFound(f"dead letter {letter_id} holds no pixels that make a picture")
    return Response(to_png(image), media_type="image/png")


@router.post(
    "/{letter_id}/replay",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="replay_dead_letter",
    dependencies=ADMIN,
    summary="Put one dead letter back on the stream",
    responses=documented(
        "not-kept",
        "bad-input",
        "bad-parameter",
        "other-content",
        "still-running",
        "stream-full",
        "stream-away",
    ),
)
async def replay(letter_id: str, wired: InParts, once: Repeating) -> Replayed:
    """It leaves `buried` for `pending` under a new id.

    A second time it is not found; under the same `Idempotency-Key` it is answered as before.
    """

    async def change() -> dict[str, Any]:
        new_id = await wired.dead_letters.replay(letter_id)
        wired.metrics.letters_replayed.inc()
        return {"replayed": 1, "ids": {letter_id: new_id}, "left": 0, "stopped": None}

    return Replayed.model_validate(await once(change))


@router.post(
    "/replay",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="replay_dead_letters",
    dependencies=ADMIN,
    summary="Put all dead letters back on the stream, or those of one reason",
    responses=documented(
        "bad-parameter", "other-content", "still-running", "stream-full", "stream-away"
    ),
)
async def replay_all(wired: InParts, once: Repeating, reason: OfReason = None) -> Replayed:
    """The oldest first, as far as the stream has room; `left` says how many there was none for."""

    async def change() -> dict[str, Any]:
        done = await wired.dead_letters.replay_all(reason)
        wired.metrics.letters_replayed.inc(len(done.moved))
        if done.full is not None and not done.moved:
            raise done.full
        return {
            "replayed": len(done.moved),
            "ids": dict(done.moved),
            "left": done.left,
            "stopped": str(done.full) if done.full else None,
        }

    return Replayed.model_validate(await once(change))


@router.delete(
    "/{letter_id}",
    operation_id="delete_dead_letter",
    dependencies=ADMIN,
    summary="Throw one dead letter away",
    responses=documented(
        "not-kept", "bad-parameter", "other-content", "still-running", "stream-away"
    ),
)
async def delete(letter_id: str, wired: InParts, once: Repeating) -> Purged:
    """Its sample stays counted as buried.

    A second time it is not found; under the same `Idempotency-Key` it is answered as before.
    """

    async def change() -> dict[str, Any]:
        await wired.dead_letters.delete(letter_id)
        wired.metrics.letters_purged.inc()
        return {"purged": 1, "left": 0}

    return Purged.model_validate(await once(change))


@router.delete(
    "",
    operation_id="purge_dead_letters",
    dependencies=ADMIN,
    summary="Throw all dead letters away, or those of one reason",
    responses=documented("bad-parameter", "other-content", "still-running", "stream-away"),
)
async def purge(wired: InParts, once: Repeating, reason: OfReason = None) -> Purged:
    """Their samples stay counted as buried.

    Sent again after a lost answer it would throw away what was buried meanwhile; under the same
    `Idempotency-Key` it is answered as before, and nothing more goes.
    """

    async def change() -> dict[str, Any]:
        gone, left = await wired.dead_letters.purge(reason)
        wired.metrics.letters_purged.inc(gone)
        return {"purged": gone, "left": left}

    return Purged.model_validate(await once(change))


def _text(value: bytes) -> str:
    """Bytes for people: text where it is text, else how many there are."""
    text = value.decode(errors="replace")
    readable = text.isprintable() and "\ufffd" not in text and len(text) <= LONGEST_TEXT
    return text if readable else f"({len(value)} bytes)"
