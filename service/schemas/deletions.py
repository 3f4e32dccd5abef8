"""Answers about deletions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class DeletionReceipt(BaseModel):
    """What was done to delete a sample, and what that does not reach."""

    sample_id: str
    done: bool = Field(description="Whether nothing is left to do.")
    asked_s: float
    names: list[str] = Field(description="Every id that it had: more if it was replayed.")
    stream: Literal["waiting", "seen", "gone"] = Field(
        description="It waited; the learner had seen it; or it was not on the stream any more."
    )
    learned: Literal["no", "yes", "unknown"]
    first_model_version: int | None = Field(description="The first that learned from it.")
    weights: str = Field(description="The same in words: weights are not unlearned.")
    dead_letters: list[str] = Field(description="Dead letters thrown away for it.")
    prediction: str | None = Field(description="The prediction it was made of, taken away.")
    replayed: bool | None = Field(
        description="Whether it lay in the replay buffer; null until the worker has looked."
    )
    forgotten_s: float | None = Field(description="When replay and feature store were free of it.")
    erased_s: float | None = Field(description="When the last checkpoint was free of it.")
    erase_within_s: float = Field(description="How long that takes at most, while a worker runs.")
    not_reached: list[str]
