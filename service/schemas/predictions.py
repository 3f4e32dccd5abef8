"""Answers about predictions."""

from __future__ import annotations

from pydantic import BaseModel, Field


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


class DeletedPrediction(BaseModel):
    """It and its pixels are gone."""

    deleted: str
    sample_id: str | None = Field(
        description="A label made this sample of it; it is not deleted with it."
    )
