"""Answers about samples."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Accepted(BaseModel):
    """Every sample of the batch is on disk; its id names it in the stream."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"ids": ["1764046800000-0"], "accepted": 1, "duplicates": []}}
    )
    ids: list[str]
    accepted: int = Field(description="Samples of this batch that are new.")
    duplicates: list[int] = Field(
        description="Places of those, from 0, whose own id was taken before: theirs is answered."
    )


class SampleFate(BaseModel):
    """What became of one sample."""

    id: str
    status: Literal["pending", "learned", "buried", "deleted"] = Field(
        description="pending until a checkpoint has learned it."
    )
    model_version: int | None = Field(
        description="Of a learned one: the first version that has learned it; null while none is."
    )
    reason: str | None = Field(description="Of a buried one: the kind of reason.")
    why: str | None = Field(description="Of a buried one: the reason in words.")
    replayed_as: str | None = Field(
        description="Its id since it was put back from the dead letters; the rest is about that."
    )
