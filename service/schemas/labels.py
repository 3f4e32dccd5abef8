"""Answers about labels that come later."""

from __future__ import annotations

from pydantic import BaseModel, Field


class GivenLabel(BaseModel):
    """What came of one label."""

    prediction: str
    outcome: str = Field(
        description="accepted, scored, repeated, corrected; or refused: contradicted, foreign,"
        " expired, unknown, full, bad."
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
