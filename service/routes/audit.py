"""GET /v1/audit: who did what as an admin."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from learndrop.upkeep.audit import MOST_A_PAGE
from service.dependencies import ADMIN, InParts
from service.problems import documented
from service.schemas.audit import AuditPage

router = APIRouter(prefix="/v1", tags=["watch"])
Limit = Annotated[int, Query(ge=1, le=MOST_A_PAGE, description="Most entries on the page.")]
Cursor = Annotated[str | None, Query(max_length=80, description="`next_cursor` of a page.")]


@router.get(
    "/audit",
    operation_id="audit",
    dependencies=ADMIN,
    summary="What admins did, newest first",
    responses=documented("bad-input", "bad-parameter", "stream-away"),
)
async def audit(wired: InParts, limit: Limit = 50, cursor: Cursor = None) -> AuditPage:
    """Changes that need the role admin, corrections of labels by an admin's key, and changes of
    keys: `audit_kept` of them, and as many that were tried without that role.

    Each is written down before it is done: what cannot be written down is not done.
    """
    entries, next_cursor = await wired.audit.page(cursor, limit)
    return AuditPage.model_validate({"entries": entries, "next_cursor": next_cursor})
