"""GET /problems: what each `type` of an error means; the addresses that errors point at."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from learndrop.errors import NotFound
from service.dependencies import OPEN
from service.problems import KINDS, TYPES, documented

router = APIRouter(prefix="/problems", tags=["watch"])


@router.get("", operation_id="problem_types", dependencies=OPEN, summary="Every kind of problem")
async def every_kind() -> list[dict[str, Any]]:
    """The table that errors are made from."""
    return [_told(name) for name in KINDS]


@router.get(
    "/{name}",
    operation_id="problem_type",
    dependencies=OPEN,
    summary="One kind of problem",
    responses=documented("not-kept"),
)
async def one_kind(name: str) -> dict[str, Any]:
    """What it means and what to do."""
    if name not in KINDS:
        raise NotFound(f"no problem is called {name[:80]!r}")
    return _told(name)


def _told(name: str) -> dict[str, Any]:
    return {"type": TYPES + name, **asdict(KINDS[name])}
