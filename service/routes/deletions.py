"""Deleting a sample wherever it is, with a receipt that says what that does not reach."""

from __future__ import annotations

from fastapi import APIRouter, status

from service.dependencies import ADMIN, InParts
from service.problems import documented
from service.schemas.deletions import DeletionReceipt

router = APIRouter(prefix="/v1", tags=["delete"])


@router.delete(
    "/samples/{sample_id}",
    status_code=status.HTTP_202_ACCEPTED,
    operation_id="delete_sample",
    dependencies=ADMIN,
    summary="Delete a sample from stream, replay, feature store, predictions and dead letters",
    responses=documented("not-kept", "busy", "stream-away"),
)
async def delete_sample(sample_id: str, wired: InParts) -> DeletionReceipt:
    """What Redis holds goes at once; the worker forgets it in its next turn, its checkpoints within
    `erase_within_s`. Weights that have learned from it keep that, and the receipt says which. Asked
    again, also after a lost answer, the receipt is told with what was found since: no
    `Idempotency-Key` is needed.
    """
    receipt = await wired.deleting.delete(sample_id)
    wired.metrics.deletions.inc()
    first = await wired.deleting.first_version(receipt)
    return DeletionReceipt.model_validate(receipt.to_json(first))


@router.get(
    "/deletions/{sample_id}",
    operation_id="deletion",
    dependencies=ADMIN,
    summary="How far the deletion of a sample has come",
    responses=documented("not-kept", "stream-away"),
)
async def deletion(sample_id: str, wired: InParts) -> DeletionReceipt:
    """The receipt with what the worker has done since."""
    receipt, first = await wired.deleting.receipt(sample_id)
    return DeletionReceipt.model_validate(receipt.to_json(first))
