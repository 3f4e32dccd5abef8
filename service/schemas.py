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
    replayed_as: str | None = Field(
        description="Its id since it was put back from the dead letters; the rest is about that."
    )


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


class KeptPrediction(Prediction):
    """A stored answer, with the label that came for it since."""

    true_label: str | None = Field(None, description="The label that came later; null if none did.")
    sample_id: str | None = Field(None, description="Of the sample that was made of it.")
    picture: str | None = Field(None, description="Where its picture is; null if it is not kept.")


class PredictionPage(BaseModel):
    """Answers, newest first."""

    predictions: list[KeptPrediction]
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


class DeadLetter(BaseModel):
    """A sample that could not be learned."""

    id: str
    sample_id: str = Field(description="What it was called; empty for `vanished`.")
    reason: str
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


class GivenLabel(BaseModel):
    """What came of one label."""

    prediction: str
    outcome: str = Field(
        description="accepted, scored, repeated, corrected; or refused: contradicted, expired,"
        " unknown, full, bad."
    )
    sample_id: str | None = Field(default=None, description="Of the sample on the stream.")
    problem: str | None = Field(
        default=None, description="Type of the problem, where it was refused."
    )
    status: int | None = Field(default=None, description="The status it would have had alone.")
    detail: str | None = None


class GivenLabels(BaseModel):
    """One result a label, in their order."""

    results: list[GivenLabel]


class LabelRequest(BaseModel):
    """A prediction that a label is wished for."""

    prediction: str
    label: str = Field(description="What was answered.")
    worth: float = Field(description="0 to 1; the list is in this order.")
    margin: float = Field(description="Between its two greatest probabilities: 0 is a toss-up.")
    novelty: float = Field(
        description="Share of probability that lies elsewhere than in the nearest labelled or"
        " listed one."
    )
    why: str
    picture: str
    model_version: int
    time: float


class LabelRequests(BaseModel):
    """The most worth first."""

    requests: list[LabelRequest]
    looked_at: int = Field(description="How many of the newest predictions.")


class DeletedPrediction(BaseModel):
    """It and its pixels are gone."""

    deleted: str
    sample_id: str | None = Field(
        description="A label made this sample of it; it is not deleted with it."
    )


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
