"""Wires the service: `create_app` builds every part from one Settings, and maps every error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from learndrop.answers.kept import Answers
from learndrop.answers.late_labels import LateLabels
from learndrop.disk.registry import Registry
from learndrop.errors import LearndropError
from learndrop.server.board import ServiceBoard
from learndrop.settings import Settings
from learndrop.stream.contract import Publisher
from learndrop.stream.publisher import RedisPublisher
from learndrop.upkeep.audit import AuditTrail
from learndrop.upkeep.dead_letters import DeadLetters
from learndrop.upkeep.deleting import Deleting
from learndrop.upkeep.repeats import Repeats
from service.answering.serving import Serving
from service.auth import Gate
from service.backlog import Backlog
from service.dependencies import IN_A_HEADER
from service.durability import Durability
from service.envelope import HEADER, Envelope, request_id
from service.intake import Intake
from service.key_rates import KeyRates
from service.key_watch import KeyWatch
from service.metrics import ServiceMetrics
from service.parts import Parts
from service.problems import (
    KINDS,
    PROBLEM_SCHEMA,
    add_documented,
    documented,
    from_error,
    from_status,
    kind_of,
    problem,
)
from service.retention import Retention
from service.routes import (
    audit,
    dead_letters,
    deletions,
    health,
    labels,
    models,
    predictions,
    problems,
    samples,
    state,
)

OF_ADMISSION = ("key-needed", "role-needed", "foreign-page", "rate-limited", "bad-parameter")
log = structlog.get_logger()


def create_app(
    settings: Settings,
    *,
    publisher: Publisher | None = None,
    board: ServiceBoard | None = None,
    answers: Answers | None = None,
    registry: Registry | None = None,
    serving: Serving | None = None,
    metrics: ServiceMetrics | None = None,
) -> FastAPI:
    """Build the application. What is not handed in is built from the settings.

    Nothing is connected before the lifespan begins; at its end everything is closed.

    Raises:
        BadSettings: if others than this machine could reach it and there are no keys.
    """
    metrics = metrics or ServiceMetrics()
    registry = registry or Registry(settings.models_dir, keep=settings.versions_kept)
    intake = Intake(settings, metrics.decoder_ended)
    metrics.decoding.set_function(lambda: intake.working)
    metrics.decoders.set_function(lambda: intake.decoders.ready)
    publisher = publisher or RedisPublisher(settings)
    answers, letters = answers or Answers(settings), DeadLetters(settings)
    gate, trail = Gate(settings), AuditTrail(settings)
    parts = Parts(
        settings=settings,
        publisher=publisher,
        backlog=Backlog(settings, publisher),
        durability=Durability(publisher),
        board=board or ServiceBoard(settings),
        answers=answers,
        labels=LateLabels(settings),
        dead_letters=letters,
        deleting=Deleting(settings, publisher, answers, letters),
        retention=Retention(settings, answers, letters, metrics),
        registry=registry,
        serving=serving or _serving(settings, registry, metrics),
        intake=intake,
        metrics=metrics,
        gate=gate,
        rates=KeyRates(settings),
        audit=trail,
        key_watch=KeyWatch(gate, trail),
        repeats=Repeats(settings),
    )
    app = FastAPI(
        title="learndrop",
        summary="An image classifier that keeps learning while its learned layers leave training.",
        version="1",
        lifespan=_lifespan,
        # The interactive pages would load their scripts from elsewhere; /openapi.json is whole.
        docs_url=None,
        redoc_url=None,
        # DELETE /v1/dead-letters/$ID without an ID would be led to what throws all of them away.
        redirect_slashes=False,
    )
    app.state.parts = parts
    learning = (samples, predictions, labels, dead_letters, deletions)
    for routes in (*learning, state, models, audit, health, problems):
        app.include_router(routes.router)
    app.add_middleware(Envelope, metrics=metrics)
    app.add_exception_handler(LearndropError, _on_own_error)
    app.add_exception_handler(RequestValidationError, _on_bad_parameter)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_fault)
    _describe_problems(app)
    return app


def _serving(settings: Settings, registry: Registry, metrics: ServiceMetrics) -> Serving:
    import torch  # here, so that what only takes samples in does not need it

    from service.answering.model import Model

    torch.set_num_threads(settings.serve_threads)
    return Serving(
        registry,
        Model,
        metrics,
        most_waiting=settings.max_predictions_waiting,
        poll_s=settings.version_poll_s,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    await parts.intake.start()
    await parts.durability.start()
    await parts.serving.start()
    await parts.retention.start()
    await parts.key_watch.start()
    try:
        yield
    finally:
        await parts.key_watch.stop()
        await parts.retention.stop()
        await parts.serving.stop()
        await parts.backlog.stop()
        await parts.intake.stop()
        opened = (parts.publisher, parts.board, parts.answers, parts.labels, parts.dead_letters)
        for part in (*opened, parts.deleting, parts.audit, parts.repeats):
            await part.close()


async def _on_own_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, LearndropError)
    kind = kind_of(exc)
    _count(request, kind.name)
    if kind.status == 500:
        log.error("fault", error=str(exc), kind=type(exc).__name__, path=request.url.path)
    return from_error(exc, request.url.path, request_id(request.scope))


def _count(request: Request, kind: str) -> None:
    metrics: ServiceMetrics = request.app.state.parts.metrics
    metrics.refusals.labels(kind).inc()
    if request.url.path == "/v1/samples":
        metrics.refused.labels(kind).inc()


async def _on_bad_parameter(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    _count(request, "bad-parameter")
    first = exc.errors()[0]
    place, *names = first["loc"]
    limits = {k: v for k, v in first.get("ctx", {}).items() if k in {"ge", "le", "max_length"}}
    return problem(
        KINDS["bad-parameter"],
        f"{place} parameter {'.'.join(map(str, names))}: {first['msg']}",
        request.url.path,
        request_id=request_id(request.scope),
        item=".".join(map(str, names)),
        limit=next(iter(limits.values()), None),
        value=str(first.get("input"))[:80],
    )


async def _on_http_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    headers = dict(exc.headers or {})
    told: dict[str, object] = {}
    why = exc.detail
    if exc.status_code == 404:
        why = "nothing is at this path; /openapi.json names what there is"
    elif "Allow" in headers:
        allowed = _methods(request) or headers["Allow"].split(", ")
        headers["Allow"] = ", ".join(allowed)
        why = f"{request.method} is not taken; {headers['Allow']} may be"
        told = {"item": "method", "limit": allowed, "value": request.method}
    return from_status(
        exc.status_code,
        f"{request.method} {request.url.path}: {why}",
        request.url.path,
        request_id(request.scope),
        headers,
        **told,
    )


def _methods(request: Request) -> list[str]:
    """What may be asked of a path; the framework names the methods of its first route alone."""
    operations = request.app.openapi()["paths"].get(getattr(request.scope.get("route"), "path", ""))
    return sorted(method.upper() for method in operations or ())


async def _on_fault(request: Request, exc: Exception) -> Response:
    log.error("fault", exc_info=exc, path=request.url.path, request_id=request_id(request.scope))
    detail = "a fault of the service; nothing was taken unless ids were answered"
    # This answer is made outside of Envelope, which names all others.
    own_id = request_id(request.scope)
    return from_status(500, detail, request.url.path, own_id, {HEADER: own_id})


def _describe_problems(app: FastAPI) -> None:
    """Put the schema of problems into OpenAPI, and take out the framework's own error schemas."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            told = made()
            for path in told["paths"].values():
                for operation in path.values():
                    if "HTTPValidationError" in str(operation["responses"].get("422")):
                        operation["responses"]["422"] = documented("bad-parameter")[422]
                    if "security" in operation:
                        operation["security"].append({"APIKeyHeader": []})
                        add_documented(operation["responses"], *OF_ADMISSION)
            told["components"]["securitySchemes"]["APIKeyHeader"] = IN_A_HEADER
            schemas = told["components"].setdefault("schemas", {})
            schemas["Problem"] = PROBLEM_SCHEMA
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's own way to add to it
