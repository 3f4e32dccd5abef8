"""Answers about readiness."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Ready(BaseModel):
    """Samples can be taken; predictions too, unless `model` is null."""

    status: str
    model: int | None
    keys: str = Field(description="Whether an API key is asked for.")
    trouble: str | None = Field(description="Why the keys file in force is not the one on disk.")
    warnings: list[str] = Field(description="What is not well, and loses nothing yet.")
