"""Answers about model versions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ModelVersion(BaseModel):
    """One published version."""

    model_config = ConfigDict(extra="allow")
    version: int
    current: bool
    pinned: bool
    published_s: float | None = None
    about: dict[str, Any] | None = Field(None, description="Network, classes, accuracy and depth.")
    problem: str | None = Field(None, description="Why its manifest cannot be read.")


class ModelVersions(BaseModel):
    """Versions that are kept, newest first."""

    versions: list[ModelVersion]
    current: int | None = Field(description="The version that the registry points at.")
    serving: int | None = Field(description="The version that answers.")
