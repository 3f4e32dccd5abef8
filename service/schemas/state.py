"""Answers about the state."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Counts(BaseModel):
    """accepted = learned + buried + deleted + pending, at every moment."""

    accepted: int
    learned: int
    buried: int
    pending: int
    deleted: int


class Unit(BaseModel):
    """One unit of the network."""

    model_config = ConfigDict(extra="allow")
    name: str
    state: str = Field(
        description="training, frozen (on probation), dropped, returned, or thawed (for a window)."
    )
    scores: dict[str, Any]
    why: str | None


class Drop(BaseModel):
    """Which leading units are out of training."""

    model_config = ConfigDict(extra="allow")
    depth: int
    units: list[Unit]


class Event(BaseModel):
    """Something that happened to the learner."""

    type: str
    time: float
    samples: int
    cause: str
    depth: int
    detail: dict[str, Any]


class Flops(BaseModel):
    """Floating-point operations of learning: done, and what training everything would have cost."""

    model_config = ConfigDict(extra="allow")
    done: float
    full: float


class Prequential(BaseModel):
    """Each sample is answered before it is learned; that answer counts."""

    model_config = ConfigDict(extra="allow")
    accuracy: float | None


class ServedModel(BaseModel):
    """The version that answers predictions."""

    version: int | None
    published_s: float | None
    seconds_since_version: float | None
    trouble: str | None = Field(description="Why a newer version could not be loaded.")


class AnswersGiven(BaseModel):
    """Whether what is asked still looks like what was learned; no label is needed for it."""

    shifted: bool = Field(
        description="The answers of this service are plainly less sure than on what was learned."
    )
    compared: int = Field(description="Newest answers that this is said of.")
    uncertainty: float | None = Field(
        description="1 - highest probability, their mean; null while they are under 64."
    )
    uncertainty_learned: float | None = Field(
        description="The same of samples before they were learned, told by the version."
    )
    higher: float | None = Field(description="By how much they are less sure.")
    standard_errors: float | None = Field(description="The same in standard errors.")


class LabelScore(BaseModel):
    """How answers turned out, by labels that came later."""

    model_config = ConfigDict(extra="allow")
    labelled: int
    right: int
    accuracy: float | None


class LabelScores(LabelScore):
    """Of all versions together, and of the newest that have one."""

    versions: list[LabelScore]


class State(BaseModel):
    """The learner's state as it was told last (twice a second), and the stream's account now."""

    model_config = ConfigDict(extra="allow")
    samples: Counts
    samples_per_s: float | None = Field(description="Learned, over the last ten seconds.")
    prequential: Prequential
    drop: Drop
    flops: Flops
    labels: LabelScores
    not_durable: list[str] | None = Field(
        description="By what accepted samples could be lost; null while Redis was never asked."
    )
    model: ServedModel
    predictions: AnswersGiven
    events: list[Event] = Field(description="Newest first.")
