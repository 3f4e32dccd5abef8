"""What answers look like: the schemas of OpenAPI, each with an example that works."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4IRcFAALyAUHXL9FmAAAAAElFTkSuQmCC"
)
"""A PNG of one pixel, base64: short enough for an example that can be replayed."""


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


class Prediction(BaseModel):
    """One picture's answer."""

    id: str | None = Field(description="To ask for it again; null if it could not be stored.")
    label: str = Field(description="The most probable label.")
    probabilities: dict[str, float] = Field(description="The most probable first.")
    model_version: int
    time: float = Field(description="When it was given, unix time.")


class Predictions(BaseModel):
    """One answer a picture, in the order of the pictures."""

    predictions: list[Prediction]
    model_version: int
    stored: bool = Field(description="False while Redis is away: the answers hold, ids are null.")


class PredictionPage(BaseModel):
    """Answers, newest first."""

    predictions: list[Prediction]
    next_cursor: str | None = Field(description="For the next page; null at the end.")


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
    state: str = Field(description="training, frozen (on probation), dropped or returned.")
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


class State(BaseModel):
    """The learner's state as it was told last (twice a second), and the stream's account now."""

    model_config = ConfigDict(extra="allow")
    samples: Counts
    samples_per_s: float | None = Field(description="Learned, over the last ten seconds.")
    prequential: Prequential
    drop: Drop
    flops: Flops
    model: ServedModel
    events: list[Event] = Field(description="Newest first.")


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


class AuditEntry(BaseModel):
    """Something that an admin did, or tried to."""

    model_config = ConfigDict(extra="allow")
    id: str
    time: float
    what: str = Field(description="Method and path, or keys_changed.")
    key: str | None = Field(None, description="Name of the key; empty where none is needed.")
    allowed: bool | None = Field(None, description="Whether the key had the role.")
    query: str | None = None
    request_id: str | None = None


class AuditPage(BaseModel):
    """What admins did, newest first."""

    entries: list[AuditEntry]
    next_cursor: str | None = Field(description="For the next page; null at the end.")


class Ready(BaseModel):
    """Samples can be taken; predictions too, unless `model` is null."""

    status: str
    model: int | None
    keys: str = Field(description="Whether an API key is asked for.")
    trouble: str | None = Field(description="Why the keys file in force is not the one on disk.")
    warnings: list[str] = Field(description="What is not well, and loses nothing yet.")
