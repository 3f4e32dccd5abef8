"""Parameters in an address that a route does not know, or that come twice: refused.

Passed over in silence, a mistyped `?limt=1` is a page of 50, and `DELETE
/v1/dead-letters?reasn=unreadable` throws all of them away.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request

from learndrop.errors import BadParameter

MOST_SHOWN = 80


def check_query(request: Request, known: Sequence[str]) -> None:
    """Refuse any parameter but these, each once.

    Raises:
        BadParameter: naming it, and those that there are. Never its value: that may be a key.
    """
    if not request.scope["query_string"]:
        return
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        shown = name[:MOST_SHOWN]
        if name not in known:
            there_are = f"there are {', '.join(known)}" if known else "there are none here"
            told = f"query parameter {shown!r} is not known; {there_are}"
            raise BadParameter(told, item=shown, limit=list(known))
        if name in seen:
            raise BadParameter(f"query parameter {shown} comes twice", item=shown, limit=1)
        seen.add(name)
