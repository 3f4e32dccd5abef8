"""POST /v1/samples: labelled pictures into the stream, all of a batch or none."""

from __future__ import annotations

from fastapi import APIRouter, status

from service.content import labelled_body
from service.dependencies import InRooms, Samples, ToPublisher
from service.problems import documented
from service.schemas import Accepted

router = APIRouter(prefix="/v1", tags=["learn"])
PROBLEMS = documented(
    "bad-body", "too-slow", "too-large", "unknown-format", "bad-input", "bad-picture",
    "stream-full", "stream-away", "busy",
)  # fmt: skip


@router.post(
    "/samples",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="learn",
    summary="Send labelled pictures to be learned",
    responses=PROBLEMS,
    openapi_extra=labelled_body(),
)
async def accept_samples(samples: Samples, to: ToPublisher, wired: InRooms) -> Accepted:
    """Answers 202 when every sample of the batch is on disk; nothing was taken otherwise."""
    ids = await to.publish(samples)
    wired.metrics.accepted.inc(len(ids))
    return Accepted(ids=ids, accepted=len(ids))
