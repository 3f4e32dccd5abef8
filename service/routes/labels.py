"""Labels that come after the prediction, and the predictions that a label is wished for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from learndrop.answers.kept import MOST_A_PAGE
from learndrop.answers.late_labels import Given
from learndrop.answers.worth import Candidate, most_worth
from learndrop.errors import BadInput, LearndropError, NotFound, RoleNeeded, StreamFull
from learndrop.server.ids import is_id
from service.auth import Caller
from service.bodies.content import label_body
from service.bodies.label_bodies import Asked
from service.dependencies import INGEST, READ, Asking, BatchKey, InParts
from service.envelope import request_id
from service.parts import Parts
from service.problems import TYPES, documented, kind_of
from service.schemas.labels import GivenLabel, GivenLabels, LabelRequest, LabelRequests

router = APIRouter(prefix="/v1", tags=["labels"])
PROBLEMS = documented(
    "bad-body", "too-slow", "too-large", "unknown-format", "bad-input", "not-kept", "expired",
    "contradiction", "bad-parameter", "other-content", "still-running", "stream-full",
    "share-full", "stream-away", "not-durable", "busy",
)  # fmt: skip
MOST_LOOKED_AT = 1000
AUDITED = "POST /v1/labels"
Limit = Annotated[int, Query(ge=1, le=100, description="Most predictions.")]
REFUSED: Mapping[str, str] = {
    "contradiction": "contradicted",
    "role-needed": "foreign",
    "expired": "expired",
    "not-kept": "unknown",
    "stream-full": "full",
    "share-full": "full",
    "bad-input": "bad",
}
"""Outcome by kind of problem."""


@router.post(
    "/labels",
    operation_id="label",
    dependencies=INGEST,
    summary="Say what was on pictures that were predicted",
    responses=PROBLEMS,
    openapi_extra=label_body(),
)
async def give_labels(
    request: Request, wired: InParts, asking: Asking, batch_key: BatchKey = ""
) -> GivenLabels:
    """The picture kept from the prediction becomes a sample, and the answer given then is scored.

    Each label stands for itself: one that cannot be taken has its problem in its result and keeps
    no other from being taken. One label alone that cannot be taken is answered with its problem,
    and a batch of which the stream has no room for any with 429. All may be sent again: what was
    taken is then `repeated`, or answered as before under the same `Idempotency-Key`; a correction
    needs one, or a late retry takes back what another has corrected since.
    """
    await wired.durability.insist()
    asked = await wired.intake.labels(request)
    if asking.may("admin"):
        await _write_down(wired, asked, asking, request_id(request.scope))

    async def change() -> dict[str, Any]:
        return (await _give_all(wired, asked, asking)).model_dump()

    content = "POST /v1/labels " + orjson.dumps(asked).decode()
    return GivenLabels.model_validate(
        await wired.repeats.once(asking.name, batch_key, content, change)
    )


@router.get(
    "/label-requests",
    operation_id="label_requests",
    dependencies=READ,
    summary="The recent predictions most worth a label",
    responses=documented("bad-parameter", "stream-away"),
)
async def label_requests(wired: InParts, limit: Limit = 20) -> LabelRequests:
    """Of the newest thousand without a label: unsure ones, and ones unlike those labelled."""
    kept, cursor = await wired.answers.page(None, MOST_A_PAGE)
    while cursor is not None and len(kept) < MOST_LOOKED_AT:
        more, cursor = await wired.answers.page(cursor, MOST_A_PAGE)
        kept += more
    by_id = {one.id: one for one in kept if one.pictured or one.label is not None}
    candidates = [
        Candidate(one.id, one.answer["probabilities"], one.margin, one.label is not None)
        for one in by_id.values()
    ]
    wishes = await run_in_threadpool(most_worth, candidates, limit)
    requests = [
        LabelRequest(
            prediction=wish.id,
            label=by_id[wish.id].answer["label"],
            worth=wish.worth,
            margin=wish.margin,
            novelty=wish.novelty,
            why=wish.why,
            picture=f"/v1/predictions/{wish.id}/picture",
            model_version=by_id[wish.id].answer["model_version"],
            time=by_id[wish.id].answer["time"],
        )
        for wish in wishes
    ]
    return LabelRequests(requests=requests, looked_at=len(kept))


async def _write_down(
    wired: Parts, asked: list[Asked] | Asked, asking: Caller, request: str
) -> None:
    """An admin may correct what another key said, so it is written down like all that admins do."""
    every = [asked] if isinstance(asked, Asked) else asked
    corrects = [one.prediction for one in every if one.correct and is_id(one.prediction)]
    if corrects:
        await wired.audit.add(
            AUDITED, key=asking.name, allowed=True, corrects=corrects, request_id=request
        )


async def _give_all(wired: Parts, asked: list[Asked] | Asked, asking: Caller) -> GivenLabels:
    """What came of one label, or of each of many.

    Raises:
        LearndropError: the label alone cannot be taken, or there is room for none.
    """
    if isinstance(asked, Asked):
        taken = await _give(wired, asked, asking)
        if isinstance(taken, LearndropError):
            raise taken
        return GivenLabels(results=[_result(asked, taken)])
    outcomes = [await _give(wired, one, asking, index) for index, one in enumerate(asked)]
    if all(isinstance(outcome, StreamFull) for outcome in outcomes):
        assert isinstance(outcomes[0], StreamFull)
        raise outcomes[0]
    return GivenLabels(results=[_result(a, o) for a, o in zip(asked, outcomes, strict=True)])


async def _give(
    wired: Parts, asked: Asked, asking: Caller, index: int = 0
) -> Given | LearndropError:
    """What came of one label; what speaks against it alone is given back, not raised."""
    try:
        label = wired.intake.label(asked.label, index)
        given = await wired.labels.give(
            asked.prediction,
            label,
            correct=asked.correct,
            key=asking.name,
            of_others=asking.may("admin"),
        )
    except (BadInput, NotFound, RoleNeeded, StreamFull) as exc:
        if isinstance(exc, RoleNeeded):
            await wired.audit.add(
                AUDITED, key=asking.name, allowed=False, corrects=[asked.prediction]
            )
        wired.metrics.labels.labels(REFUSED[kind_of(exc).name]).inc()
        return exc
    wired.metrics.labels.labels(given.outcome).inc()
    if given.outcome in ("accepted", "corrected") and given.sample_id is not None:
        wired.metrics.accepted.inc()
    return given


def _result(asked: Asked, outcome: Given | LearndropError) -> GivenLabel:
    if isinstance(outcome, Given):
        return GivenLabel(
            prediction=asked.prediction, outcome=outcome.outcome, sample_id=outcome.sample_id
        )
    kind = kind_of(outcome)
    return GivenLabel(
        prediction=asked.prediction,
        outcome=REFUSED[kind.name],
        problem=TYPES + kind.name,
        status=kind.status,
        detail=str(outcome),
    )
