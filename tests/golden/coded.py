"""Fields of Redis as JSON values and back."""

from __future__ import annotations

import base64
from collections.abc import Mapping


def plain(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Fields of an entry as JSON values."""
    return {name.decode(): base64.b64encode(value).decode() for name, value in fields.items()}


def fields(values: Mapping[str, str]) -> dict[bytes, bytes]:
    """What `plain` was given."""
    return {name.encode(): base64.b64decode(value) for name, value in values.items()}
