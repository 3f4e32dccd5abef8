"""Probes and metrics: /healthz, /readyz, /metrics."""

from __future__ import annotations

import math
from typing import Annotated, get_args

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from prometheus_client.exposition import choose_encoder

from learndrop.errors import StreamAway
from learndrop.stream.contract import Reason
from service.dependencies import OPEN, InParts
from service.envelope import request_id
from service.json_answers import as_json
from service.problems import KINDS, documented, problem
from service.schemas.health import Ready

VERSIONS_SHOWN = 8
"""A series for each: no more than Prometheus should have to remember."""
router = APIRouter(tags=["watch"])


@router.get(
    "/healthz",
    operation_id="healthz",
    dependencies=OPEN,
    summary="Does the process work?",
    responses=documented("not-ready"),
)
async def healthz(request: Request, wired: InParts) -> Response:
    """200 as long as requests are answered and the background tasks run; asks no other server."""
    if wired.serving.alive:
        return as_json({"status": "ok"})
    return _not_ready(request, ["the serving of predictions has ended: restart the service"])


@router.get(
    "/readyz",
    operation_id="readyz",
    dependencies=OPEN,
    summary="Can samples be taken without losing one?",
    response_model=Ready,
    responses=documented("not-ready"),
)
async def readyz(request: Request, wired: InParts) -> Response:
    """503 with `reasons` when Redis is away, or set up so that accepted samples could be lost, or
    when picture files cannot be decoded.

    No model yet is no reason (samples must come first); `model` is null then. `warnings` name what
    loses nothing yet: a server that is nearly full or knows no limit, a worker that waits.
    """
    try:
        reasons, warnings = await wired.durability.look(), await wired.publisher.warnings()
    except StreamAway as exc:
        reasons = [f"the stream is away: {exc}"]
    if wired.intake.decoders.trouble:
        reasons = [*reasons, wired.intake.decoders.trouble]
    if reasons:
        return _not_ready(request, reasons)
    return as_json(
        {
            "status": "ready",
            "model": wired.serving.number,
            "keys": wired.gate.told,
            "trouble": wired.gate.trouble,
            "warnings": warnings,
        }
    )


def _not_ready(request: Request, reasons: list[str]) -> Response:
    return problem(
        KINDS["not-ready"],
        "; ".join(reasons),
        request.url.path,
        request_id=request_id(request.scope),
        headers={"retry-after": "2"},
        reasons=reasons,
    )


@router.get(
    "/metrics",
    operation_id="metrics",
    dependencies=OPEN,
    summary="For Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(wired: InParts, accept: Annotated[str, Header()] = "") -> Response:
    """Every series of this process, in the text format that the scraper asks for."""
    try:
        wired.metrics.pending.set((await wired.publisher.counts()).pending)
        memory = await wired.publisher.memory()
        wired.metrics.redis_memory.set(memory.used_bytes)
        wired.metrics.redis_memory_limit.set(memory.limit_bytes)
    except StreamAway:
        wired.metrics.pending.set(math.nan)
        wired.metrics.redis_memory.set(math.nan)
    numbers: dict[str, float] = dict.fromkeys(get_args(Reason), math.nan)
    try:
        numbers |= await wired.dead_letters.numbers()
    except StreamAway:
        pass
    for reason, number in numbers.items():
        wired.metrics.dead_letters.labels(reason).set(number)
    window: tuple[float, float] = math.nan, math.nan
    try:
        window = await wired.repeats.window()
    except StreamAway:
        pass
    wired.metrics.remembered.set(window[0])
    wired.metrics.remembered_age.set(window[1])
    wired.metrics.label_accuracy.clear()
    try:
        _, scores = await wired.labels.scores()
    except StreamAway:
        scores = {}
    for version, score in list(scores.items())[:VERSIONS_SHOWN]:
        if score.accuracy is not None:
            wired.metrics.label_accuracy.labels(str(version)).set(score.accuracy)
    encode, content_type = choose_encoder(accept)
    return Response(encode(wired.metrics.registry), headers={"content-type": content_type})
