"""Answers that are JSON values already: written as they are, without a detour over a schema."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response


def as_json(value: Any, status: int = 200) -> Response:
    """An answer; NaN and infinity, which JSON lacks, become null."""
    return Response(orjson.dumps(value), status, media_type="application/json")
