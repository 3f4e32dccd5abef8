"""GET /v1/models: the versions that are published and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.concurrency import run_in_threadpool

from learndrop.errors import NotFound
from service.dependencies import READ, InParts
from service.problems import documented
from service.schemas.models import ModelVersion, ModelVersions

router = APIRouter(prefix="/v1", tags=["watch"])
Version = Annotated[int, Path(ge=1, le=10**9)]


@router.get(
    "/models", operation_id="models", dependencies=READ, summary="Model versions, newest first"
)
async def models(wired: InParts) -> ModelVersions:
    """What is kept, what the registry points at, and what answers predictions now."""
    kept = await run_in_threadpool(wired.registry.list)
    current = await run_in_threadpool(wired.registry.current)
    return ModelVersions(
        versions=[_told(one) for one in kept],
        current=current,
        serving=wired.serving.number,
    )


@router.get(
    "/models/{version}",
    operation_id="model",
    dependencies=READ,
    summary="One model version",
    responses=documented("not-kept", "bad-parameter"),
)
async def model(version: Version, wired: InParts) -> ModelVersion:
    """What is known about it."""
    for one in await run_in_threadpool(wired.registry.list):
        if one["number"] == version:
            return _told(one)
    raise NotFound(f"model version {version} is not kept")


def _told(row: Mapping[str, Any]) -> ModelVersion:
    rest = {name: value for name, value in row.items() if name != "number"}
    return ModelVersion.model_validate({"version": row["number"], **rest})
