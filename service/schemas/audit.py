"""Answers about the audit log."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AuditEntry(BaseModel):
    """Something that an admin did, or tried to."""

    model_config = ConfigDict(extra="allow")
    id: str
    time: float
    what: str = Field(description="Method and path, or keys_changed.")
    key: str | None = Field(None, description="Name of the key; empty where none is needed.")
    allowed: bool | None = Field(None, description="Whether the key had the role.")
    query: str | None = None
    corrects: list[str] | None = Field(
        None, description="Of POST /v1/labels: predictions whose labels were to be corrected."
    )
    request_id: str | None = None


class AuditPage(BaseModel):
    """What admins did, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None = Field(description="For the next page; null at the end.")
