"""Every answer that is not a success, as RFC 9457 `application/problem+json`.

One table says which error becomes which problem; `service/routes/problems.py` publishes the table
at the addresses that `type` names, so that they resolve on the very service that answered.
"""

from __future__ import annotations

import http
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from learndrop import errors

MEDIA_TYPE = "application/problem+json"
TYPES = "/problems/"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its name in the `type` address, status, title, and what to do."""

    name: str
    status: int
    title: str
    remedy: str


KINDS = {
    k.name: k
    for k in (
        Kind("bad-body", 400, "The body cannot be read", "Send it whole and well formed."),
        Kind("bad-request", 400, "No HTTP request that can be read", "Mend the request's head."),
        Kind("no-such-path", 404, "Nothing is at this path", "See /openapi.json."),
        Kind(
            "not-kept", 404, "No such id or version is kept", "Old ones go first: see /v1/limits."
        ),
        Kind("method-not-allowed", 405, "Not this method", "The header Allow names the others."),
        Kind("too-slow", 408, "The body did not arrive in time", "Send smaller batches."),
        Kind("too-large", 413, "Over a limit", "`limit` and `value` say by how much."),
        Kind("unknown-format", 415, "No content type that is taken", "`limit` names them."),
        Kind("bad-input", 422, "The content cannot be used", "`item` names what to mend."),
        Kind("bad-picture", 422, "One picture cannot be used", "`index` counts from 0."),
        Kind("too-long", 422, "Decoding the pictures takes too long", "Send fewer or smaller."),
        Kind("bad-parameter", 422, "A parameter cannot be used", "`item` names it."),
        Kind("stream-full", 429, "Too many samples wait to be learned", "Wait for Retry-After."),
        Kind("stream-away", 503, "Redis does not answer", "Wait for Retry-After."),
        Kind("no-model", 503, "No model version is published yet", "Send labelled samples first."),
        Kind("busy", 503, "Too much at once", "Wait for Retry-After."),
        Kind("not-ready", 503, "Not ready", "`reasons` names each thing that is missing."),
        Kind("internal", 500, "A fault of the service", "Its log has the request id."),
        Kind("damaged-file", 500, "A stored file is not what was written", "See the log."),
    )
}

_BY_ERROR: dict[type[errors.LearndropError], str] = {
    errors.TooLarge: "too-large",
    errors.TooSlow: "too-slow",
    errors.UnknownFormat: "unknown-format",
    errors.BadBody: "bad-body",
    errors.BadPicture: "bad-picture",
    errors.TooLong: "too-long",
    errors.BadInput: "bad-input",
    errors.StreamFull: "stream-full",
    errors.StreamAway: "stream-away",
    errors.NoModel: "no-model",
    errors.NotLearnedYet: "no-model",
    errors.Busy: "busy",
    errors.Unavailable: "busy",
    errors.NotFound: "not-kept",
    errors.DamagedFile: "damaged-file",
}


def kind_of(error: errors.LearndropError) -> Kind:
    """The problem that an error becomes: that of its nearest class in the table."""
    for cls in type(error).__mro__:
        if cls in _BY_ERROR:
            return KINDS[_BY_ERROR[cls]]
    return KINDS["internal"]


def problem(
    kind: Kind,
    detail: str,
    instance: str,
    *,
    request_id: str = "",
    headers: Mapping[str, str] | None = None,
    **extensions: Any,
) -> Response:
    """Make the answer. Extensions that are None are left out."""
    told = {
        "type": TYPES + kind.name,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": instance,
        "request_id": request_id or None,
        **extensions,
    }
    body = orjson.dumps({k: v for k, v in told.items() if v is not None}, default=str)
    return Response(body, kind.status, dict(headers or {}), MEDIA_TYPE)


def from_error(error: errors.LearndropError, instance: str, request_id: str = "") -> Response:
    """The answer to an error of ours, with what it knows: item, limit, value, index."""
    kind = kind_of(error)
    headers: dict[str, str] = {}
    extensions: dict[str, Any] = {}
    for name in ("item", "limit", "value", "index", "retry_after_s"):
        extensions[name] = getattr(error, name, None)
    if isinstance(error, errors.Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    # A fault's text may hold paths of this machine: it is for the log.
    detail = kind.remedy if kind.status == 500 else str(error)
    return problem(kind, detail, instance, request_id=request_id, headers=headers, **extensions)


def from_status(
    status: int,
    detail: str,
    instance: str,
    request_id: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer to an error that the framework raised by status."""
    name = {404: "no-such-path", 405: "method-not-allowed", 400: "bad-body", 500: "internal"}
    if status in name:
        kind = KINDS[name[status]]
    else:
        kind = Kind("http", status, http.HTTPStatus(status).phrase, "")
    return problem(kind, detail, instance, request_id=request_id, headers=headers)


def documented(*names: str) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these problems: one response a status, with an example of each kind."""
    responses: dict[int | str, dict[str, Any]] = {}
    for name in names:
        kind = KINDS[name]
        example = {
            "type": TYPES + name,
            "title": kind.title,
            "status": kind.status,
            "detail": kind.remedy,
            "instance": "/v1/samples",
            "request_id": "0f3c9a0e5d1b4f5e9a7c1d2e3f405162",
        }
        content = responses.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_REF}, "examples": {}}},
            },
        )["content"][MEDIA_TYPE]
        content["examples"][name] = {"summary": kind.title, "value": example}
    return responses


PROBLEM_REF = "#/components/schemas/Problem"
PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "Path of the request."},
        "request_id": {"type": "string", "description": "As in the header x-request-id."},
        "item": {"type": "string", "description": "What of the request is meant."},
        "index": {"type": "integer", "description": "Which picture, from 0."},
        "limit": {"description": "The limit that was passed, or the values that are taken."},
        "value": {"description": "What came instead."},
        "retry_after_s": {"type": "number", "description": "Seconds to wait; not rounded."},
        "reasons": {"type": "array", "items": {"type": "string"}},
    },
}
