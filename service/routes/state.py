"""GET /v1/state and /v1/limits: what the learner does, and what the service takes."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from learndrop.answers import late_labels
from service.answering.serving import Serving
from service.bodies.sample_ids import MOST_CHARS
from service.dependencies import ANY, READ, InParts
from service.intake import CONTENT_TYPES
from service.json_answers import as_json
from service.problems import documented
from service.schemas.state import State

router = APIRouter(prefix="/v1", tags=["watch"])
Events = Annotated[int, Query(ge=0, le=10_000, description="Most events; the newest stay.")]

NOTHING_TOLD: dict[str, Any] = {
    "samples_learned": 0,
    "prequential": {"accuracy": None},
    "drop": {"depth": 0, "total": 0, "units": []},
    "flops": {"done": 0, "full": 0},
    "classes": [],
}
"""What a state holds before the worker's first word."""


@router.get(
    "/state",
    operation_id="state",
    dependencies=READ,
    summary="What is in training, what is dropped and why, and the last events",
    response_model=State,
    responses=documented("bad-parameter", "stream-away"),
)
async def state(wired: InParts, events: Events = 100) -> Response:
    """The learner's state as the worker told it last, and the stream's account at this moment."""
    counts, learner, happened, scores = await asyncio.gather(
        wired.publisher.counts(),
        wired.board.state(),
        wired.board.events(events),
        wired.labels.scores(),
    )
    merged = NOTHING_TOLD | (learner or {})
    return as_json(
        {
            **merged,
            "samples": asdict(counts),
            "samples_per_s": wired.pace.read(int(merged["samples_learned"]), time.monotonic()),
            "labels": late_labels.told(*scores),
            "not_durable": wired.durability.reasons,
            "model": model_of(wired.serving),
            "predictions": wired.serving.shift.told(),
            "events": [event.to_json() for event in happened],
            "time": time.time(),
        }
    )


def model_of(serving: Serving) -> dict[str, Any]:
    """The version that answers, and how old it is."""
    model = serving.current
    return {
        "version": serving.number,
        "published_s": model and model.published_s,
        "seconds_since_version": model and max(0.0, time.time() - model.published_s),
        "trouble": serving.trouble,
    }


@router.get("/limits", operation_id="limits", dependencies=ANY, summary="What a request may hold")
async def limits(wired: InParts) -> dict[str, Any]:
    """Every limit that a client can meet, and what a picture becomes."""
    known = wired.settings
    return {
        "content_types": list(CONTENT_TYPES),
        "picture_formats": ["JPEG", "PNG", "WebP"],
        "max_head_bytes": known.max_head_bytes,
        "max_body_bytes": known.max_body_bytes,
        "max_batch": known.max_batch,
        "max_image_bytes": known.max_image_bytes,
        "max_image_pixels": known.max_image_pixels,
        "max_label_chars": known.max_label_chars,
        "max_id_chars": MOST_CHARS,
        "max_pending": known.max_pending,
        "key_share": known.key_share,
        "idempotency_ttl_s": known.idempotency_ttl_s,
        "idempotency_kept": known.idempotency_kept,
        "sample_ids_kept": known.sample_ids_kept,
        "max_pending_bytes": known.max_pending_bytes,
        "max_predictions_waiting": known.max_predictions_waiting,
        "fates_kept": known.fates_kept,
        "predictions_kept": known.predictions_kept,
        "predictions_bytes": known.predictions_bytes,
        "predictions_ttl_s": known.predictions_ttl_s,
        "predictions_pixels": known.predictions_pixels,
        "body_timeout_s": known.body_timeout_s,
        "head_timeout_s": known.head_timeout_s,
        "keep_alive_s": known.keep_alive_s,
        "send_timeout_s": known.send_timeout_s,
        "send_bytes_s": known.send_bytes_s,
        "max_connections": known.max_connections,
        "decode_timeout_s": known.decode_timeout_s,
        "image_size": known.image_size,
        "fit": known.fit,
        "max_classes": known.max_classes,
    }
