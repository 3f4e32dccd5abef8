"""Predictions: asked with POST, asked for again with GET."""

from __future__ import annotations

import time
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from learndrop.answers.kept import MOST_A_PAGE, Kept
from learndrop.errors import RoleNeeded, StreamAway
from learndrop.images.pictures import to_png
from service.answering.passes import Pixels, Probabilities, Served
from service.auth import Caller
from service.bodies.content import PNG, picture_body
from service.dependencies import ADMIN, PREDICT, READ, Asking, InParts, Repeating
from service.json_answers import as_json
from service.parts import Parts
from service.problems import documented
from service.schemas.predictions import (
    DeletedPrediction,
    KeptPrediction,
    PredictionPage,
    Predictions,
)

router = APIRouter(prefix="/v1", tags=["predict"])
Top = Annotated[
    int, Query(ge=1, le=1000, description="Most probabilities in an answer; the greatest stay.")
]
Limit = Annotated[int, Query(ge=1, le=MOST_A_PAGE, description="Most answers on the page.")]
Cursor = Annotated[str | None, Query(max_length=80, description="`next_cursor` of a page.")]


@router.post(
    "/predictions",
    operation_id="predict",
    dependencies=PREDICT,
    summary="Ask what is on one picture or many",
    response_model=Predictions,
    responses=documented(
        "bad-body", "too-slow", "too-large", "unknown-format", "bad-input", "bad-picture",
        "too-long", "bad-parameter", "no-model", "busy",
    ),
    openapi_extra=picture_body(),
)  # fmt: skip
async def predict(request: Request, wired: InParts, asking: Asking, top: Top = 100) -> Response:
    """Answered by the version that is newest when the request begins, and that is named.

    Answers are stored, to be asked for by id; while Redis is away they are given all the same.
    """
    model = wired.serving.model()
    images = await wired.intake.pictures(request, model.shape, asking.name, wired.serving.refuse)
    probabilities = await wired.serving.predict(model, images)
    answers = told(model, probabilities, top)
    ids = await _stored(wired, answers, images, margins(probabilities), asking.name)
    wired.metrics.predictions.inc(len(answers))
    return as_json(
        {
            "predictions": [
                {"id": answer_id, **answer} for answer_id, answer in zip(ids, answers, strict=True)
            ],
            "model_version": model.number,
            "stored": None not in ids,
        }
    )


@router.get(
    "/predictions/{prediction_id}",
    operation_id="prediction",
    dependencies=PREDICT,
    summary="An answer that was given earlier",
    responses=documented("not-kept", "stream-away"),
)
async def kept_prediction(prediction_id: str, wired: InParts, asking: Asking) -> KeptPrediction:
    """The newest `predictions_kept` (see /v1/limits) are kept, with a label that came since.

    What another key asked is told to keys with the role `read` only.
    """
    kept = await wired.answers.get(prediction_id)
    _may_see(asking, prediction_id, kept.asked_by)
    return _kept(kept)


@router.get(
    "/predictions/{prediction_id}/picture",
    operation_id="prediction_picture",
    dependencies=PREDICT,
    summary="What an answer was about, as a PNG",
    response_class=Response,
    responses={**PNG, **documented("not-kept", "stream-away")},
)
async def picture(prediction_id: str, wired: InParts, asking: Asking) -> Response:
    """As the network saw it; what another key asked is shown to keys with the role `read` only."""
    image, asked_by = await wired.answers.picture(prediction_id)
    _may_see(asking, prediction_id, asked_by)
    return Response(to_png(image), media_type="image/png")


@router.delete(
    "/predictions/{prediction_id}",
    operation_id="delete_prediction",
    dependencies=ADMIN,
    summary="Take an answer and its picture away",
    responses=documented(
        "not-kept", "bad-parameter", "other-content", "still-running", "stream-away"
    ),
)
async def delete(prediction_id: str, wired: InParts, once: Repeating) -> DeletedPrediction:
    """A sample that a label made of it is another thing: its id is told, to be deleted as well.

    A second time it is not found; under the same `Idempotency-Key` it is answered as before.
    """

    async def change() -> dict[str, Any]:
        sample_id = await wired.answers.delete(prediction_id)
        return {"deleted": prediction_id, "sample_id": sample_id}

    return DeletedPrediction.model_validate(await once(change))


@router.get(
    "/predictions",
    operation_id="predictions",
    dependencies=READ,
    summary="Answers that were given, newest first",
    responses=documented("bad-input", "bad-parameter", "stream-away"),
)
async def kept_predictions(
    wired: InParts, limit: Limit = 50, cursor: Cursor = None
) -> PredictionPage:
    """Page by page: hand `next_cursor` back until it is null; new answers do not shift pages."""
    answers, next_cursor = await wired.answers.page(cursor, limit)
    return PredictionPage(predictions=[_kept(one) for one in answers], next_cursor=next_cursor)


def told(model: Served, probabilities: Probabilities, top: int) -> list[dict[str, Any]]:
    """Probabilities [N, classes] as answers."""
    now_s = time.time()
    answers = []
    for row in probabilities:
        best = np.argsort(-row, kind="stable")[:top]
        named = {model.classes[i]: round(float(row[i]), 6) for i in best}
        answers.append(
            {
                "label": model.classes[best[0]],
                "probabilities": named,
                "model_version": model.number,
                "time": now_s,
            }
        )
    return answers


def margins(probabilities: Probabilities) -> list[float]:
    """Between the two greatest probabilities of each row; 1 where there is only one."""
    if probabilities.shape[1] < 2:
        return [1.0] * len(probabilities)
    best = np.sort(probabilities, axis=1)
    return [float(m) for m in best[:, -1] - best[:, -2]]


def _may_see(asking: Caller, prediction_id: str, asked_by: str) -> None:
    """Ids can be guessed: an answer is for the key that asked, and for those that may list all."""
    if asked_by not in ("", asking.name) and not asking.may("read"):
        told = f"another key asked for prediction {prediction_id}; the role 'read' is needed"
        raise RoleNeeded(told, role="read")


def _kept(one: Kept) -> KeptPrediction:
    picture = f"/v1/predictions/{one.id}/picture" if one.pictured else None
    return KeptPrediction(
        id=one.id, true_label=one.label, sample_id=one.sample_id, picture=picture, **one.answer
    )


async def _stored(
    wired: Parts, answers: list[dict[str, Any]], images: Pixels, unsure: list[float], key: str
) -> list[str] | list[None]:
    try:
        return await wired.answers.put(answers, images, unsure, key)
    except StreamAway:
        wired.metrics.unstored.inc(len(answers))
        return [None] * len(answers)
