"""Every answer that is not a success, as RFC 9457 `application/problem+json`.

One table says which error becomes which problem; `service/routes/problems.py` publishes the table
at the addresses that `type` names, so that they resolve on the very service that answered.
"""

from __future__ import annotations

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


# fmt: off
KINDS = {
    k.name: k
    for k in (
        Kind(
            "bad-body", 400, "The body is empty, cut short or not well formed", "Send it whole."
        ),
        Kind("bad-request", 400, "No HTTP request that can be read", "Mend the request's head."),
        Kind(
            "key-needed", 401, "No API key came, or none that is known (any more)",
            "Send Authorization: Bearer KEY; `role` names what it must be allowed.",
        ),
        Kind(
            "role-needed", 403, "The API key may not do this",
            "Use a key with the role that `role` names.",
        ),
        Kind(
            "foreign-page", 403, "A web page of another site asks, and no key is needed here",
            "Make a key (`learndrop keys create`) and send it.",
        ),
        Kind("no-such-path", 404, "Nothing is at this path", "See /openapi.json."),
        Kind(
            "not-kept", 404, "No such id or version is kept", "Old ones go first: see /v1/limits."
        ),
        Kind("expired", 410, "Kept for its time, and no longer", "See /v1/limits for how long."),
        Kind(
            "contradiction", 409, "Another label was given before", "`correct: true` replaces it."
        ),
        Kind("method-not-allowed", 405, "Not this method", "The header Allow names the others."),
        Kind(
            "still-running", 409, "The request with this Idempotency-Key is still under way",
            "Wait for Retry-After and ask again: the answer will be that one's.",
        ),
        Kind(
            "too-slow", 408, "The body did not arrive in `body_timeout_s`", "Send smaller batches."
        ),
        Kind(
            "too-large", 413, "A body, a batch or a picture is over a limit of /v1/limits",
            "Send less at once: `limit` and `value` say by how much.",
        ),
        Kind(
            "unknown-format", 415, "A content type or coding that is not taken",
            "Send one of those that `limit` names.",
        ),
        Kind(
            "bad-input", 422, "Labels, ids or arrays cannot be used", "Mend what `item` names."
        ),
        Kind(
            "bad-picture", 422, "One picture of the batch cannot be used",
            "Mend or leave out picture `index`, counted from 0.",
        ),
        Kind(
            "too-long", 422, "Decoding the pictures takes longer than `decode_timeout_s`",
            "Send fewer or smaller ones.",
        ),
        Kind(
            "bad-parameter", 422, "A parameter or header cannot be used, or is not known",
            "Mend what `item` names.",
        ),
        Kind(
            "other-content", 422, "The Idempotency-Key came with another batch before",
            "Give a new batch a new key.",
        ),
        Kind(
            "rate-limited", 429, "The API key asks more often than `key_rate` or its own rate",
            "Wait for Retry-After; RateLimit-Remaining tells how often it may still ask.",
        ),
        Kind(
            "share-full", 429, "The API key's samples are its share of all that wait",
            "Wait for Retry-After; send slower than others leave room.",
        ),
        Kind(
            "stream-full", 429, "`max_pending` samples or `max_pending_bytes` wait to be learned",
            "Wait for Retry-After: it is computed from the worker's rate.",
        ),
        Kind(
            "stream-away", 503, "Redis does not answer, or refuses to write",
            "Send it again after Retry-After, with the same Idempotency-Key.",
        ),
        Kind(
            "not-durable", 503, "Redis is set up so that it could lose samples",
            "Set it up as `detail` says, or say with LEARNDROP_FSYNC that this may be.",
        ),
        Kind("no-model", 503, "No model version is published yet", "Send labelled samples first."),
        Kind(
            "busy", 503,
            "More bodies or predictions at once than the limits let in, or nothing to decode files",
            "Wait for Retry-After.",
        ),
        Kind(
            "not-ready", 503, "Not ready to take samples without losing one",
            "`reasons` names each thing that is missing.",
        ),
        Kind("internal", 500, "A fault of the service", "Its log has the request id."),
        Kind("damaged-file", 500, "A stored file is not what was written", "See the log."),
    )
}
# fmt: on

_BY_ERROR: dict[type[errors.LearndropError], str] = {
    errors.TooLarge: "too-large",
    errors.TooSlow: "too-slow",
    errors.UnknownFormat: "unknown-format",
    errors.BadBody: "bad-body",
    errors.BadPicture: "bad-picture",
    errors.TooLong: "too-long",
    errors.BadInput: "bad-input",
    errors.BadParameter: "bad-parameter",
    errors.OtherContent: "other-content",
    errors.RateLimited: "rate-limited",
    errors.StillRunning: "still-running",
    errors.ShareFull: "share-full",
    errors.StreamFull: "stream-full",
    errors.StreamAway: "stream-away",
    errors.NotDurable: "not-durable",
    errors.NoModel: "no-model",
    errors.NotLearnedYet: "no-model",
    errors.Busy: "busy",
    errors.Unavailable: "busy",
    errors.KeyNeeded: "key-needed",
    errors.RoleNeeded: "role-needed",
    errors.ForeignPage: "foreign-page",
    errors.NotFound: "not-kept",
    errors.Expired: "expired",
    errors.Contradiction: "contradiction",
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
    for name, value in told.items():
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            told[name] = str(value)  # JSON would take it; many a reader of it, orjson too, does not
    body = orjson.dumps({k: v for k, v in told.items() if v is not None}, default=str)
    return Response(body, kind.status, dict(headers or {}), MEDIA_TYPE)


def from_error(error: errors.LearndropError, instance: str, request_id: str = "") -> Response:
    """The answer to an error of ours, with what it knows: item, limit, value, index."""
    kind = kind_of(error)
    headers: dict[str, str] = {}
    extensions: dict[str, Any] = {}
    for name in ("item", "limit", "value", "index", "retry_after_s", "role"):
        extensions[name] = getattr(error, name, None)
    if isinstance(error, errors.Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, errors.KeyNeeded):
        headers["www-authenticate"] = 'Bearer realm="learndrop"'
    # A fault's text may hold paths of this machine: it is for the log.
    detail = kind.remedy if kind.status == 500 else str(error)
    return problem(kind, detail, instance, request_id=request_id, headers=headers, **extensions)


def from_status(
    status: int,
    detail: str,
    instance: str,
    request_id: str = "",
    headers: Mapping[str, str] | None = None,
    **extensions: object,
) -> Response:
    """The answer to an error that the framework raised by status."""
    name = {404: "no-such-path", 405: "method-not-allowed", 400: "bad-body", 500: "internal"}
    kind = KINDS[name.get(status, "internal")]  # no other is known to be raised
    return problem(kind, detail, instance, request_id=request_id, headers=headers, **extensions)


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


def add_documented(responses: dict[str, Any], *names: str) -> None:
    """Add these problems to responses that are in OpenAPI's own form already."""
    for status, told in documented(*names).items():
        known = responses.setdefault(str(status), told)
        known["content"][MEDIA_TYPE]["examples"] |= told["content"][MEDIA_TYPE]["examples"]


def as_table() -> str:
    """Every refusal as a Markdown table, as docs/refusals.md shows it."""
    lines = ["| condition | status | problem type | what to do |", "|---|---|---|---|"]
    for kind in sorted(KINDS.values(), key=lambda kind: (kind.status, kind.name)):
        lines.append(f"| {kind.title} | {kind.status} | `{TYPES}{kind.name}` | {kind.remedy} |")
    return "\n".join(lines)


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
        "role": {"type": "string", "description": "What the API key must be allowed."},
        "reasons": {"type": "array", "items": {"type": "string"}},
    },
}


if __name__ == "__main__":
    print(as_table())
