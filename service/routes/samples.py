"""/v1/samples: labelled pictures into the stream, and what became of each."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request, status
from fastapi.responses import Response

from service.bodies.content import labelled_body
from service.dependencies import ANY, INGEST, BatchKey, ToPublisher, caller_of, parts_of
from service.direct import DirectRoute
from service.json_answers import as_json
from service.problems import documented
from service.schemas.samples import Accepted, SampleFate

router = APIRouter(prefix="/v1", tags=["learn"], route_class=DirectRoute)
PROBLEMS = documented(
    "bad-body", "too-slow", "too-large", "unknown-format", "bad-input", "bad-picture", "too-long",
    "bad-parameter", "other-content", "stream-full", "share-full", "stream-away",
    "not-durable", "busy",
)  # fmt: skip


@router.post(
    "/samples",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="learn",
    dependencies=INGEST,
    summary="Send labelled pictures to be learned",
    response_model=Accepted,
    responses=PROBLEMS,
    openapi_extra=labelled_body(),
)
async def accept_samples(request: Request, batch_key: BatchKey = "") -> Response:
    """Answers 202 when every sample of the batch is on disk; nothing was taken otherwise.

    Where the Redis server is set up so that it could lose them, the batch is refused with 503
    (`not-durable`), unless LEARNDROP_FSYNC says that this may be.

    The same `Idempotency-Key` with the same content is answered with the same ids, also while the
    first request is under way: whichever comes first to the stream is taken, once.
    """
    # Not as dependencies: see service/direct.py.
    wired, key = parts_of(request), caller_of(request).name
    await wired.durability.insist()
    read = await wired.intake.samples(request, key, batch_key, wired.backlog.refuse)
    taken = await wired.backlog.take(*read)
    wired.metrics.accepted.inc(taken.fresh)
    wired.metrics.known.inc(len(taken.ids) - taken.fresh)
    told = {
        "ids": taken.ids,
        "accepted": len(taken.ids) - len(taken.duplicates),
        "duplicates": taken.duplicates,
    }
    return as_json(told, status.HTTP_202_ACCEPTED)


@router.get(
    "/samples/{sample_id}",
    operation_id="sample",
    dependencies=ANY,
    summary="What became of a sample",
    responses=documented("not-kept", "stream-away"),
)
async def sample_fate(sample_id: str, to: ToPublisher) -> SampleFate:
    """Known while it waits, and after its end as long as `fates_kept` others have not ended."""
    return SampleFate(**asdict(await to.fate(sample_id)))
