"""Answers about dead letters."""

from __future__ import annotations

from pydantic import BaseModel, Field


class DeadLetter(BaseModel):
    """A sample that could not be learned."""

    id: str
    sample_id: str = Field(description="What it was called; empty for `vanished`.")
    reason: str = Field(description="Empty: another hand wrote the letter.")
    why: str
    time: float = Field(description="When it was buried, unix time.")
    label: str
    shape: str = Field(description="height x width of its picture, as written.")
    bytes: int = Field(description="Of its pixels.")
    replayable: bool = Field(description="Whether there is something to put back.")


class DeadLetterPage(BaseModel):
    """Dead letters, newest first."""

    dead_letters: list[DeadLetter]
    next_cursor: str | None = Field(description="For the next page; null at the end.")
    kept: dict[str, int] = Field(description="How many are kept, by reason.")


class WholeDeadLetter(DeadLetter):
    """A dead letter with the entry's fields; the pixels are at `picture`."""

    fields: dict[str, str] = Field(description="As text; what is none is told by its size.")
    picture: str | None = Field(description="Where its picture is, as a PNG; null if it has none.")


class Replayed(BaseModel):
    """What is on the stream again."""

    replayed: int
    ids: dict[str, str] = Field(description="The sample's new id for each dead letter.")
    left: int = Field(description="Of those asked for, still dead letters: call again.")
    stopped: str | None = Field(description="Why some are left.")


class Purged(BaseModel):
    """What was thrown away; the samples stay counted as buried."""

    purged: int
    left: int = Field(description="Of those asked for, still there: call again.")
