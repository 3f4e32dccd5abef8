"""A setting as somebody writes it: `name=value`."""

from __future__ import annotations

import json
from typing import Any, get_args

from learndrop.errors import BadSettings


def assignment(text: str) -> tuple[str, Any]:
    """`name=value` with the value as JSON where it is JSON, and as text where the setting is one
    of a few words.

    Raises:
        BadSettings: without an equals sign.

    >>> assignment("rate=0.01"), assignment("network=vgg11"), assignment("replays=3")
    (('rate', 0.01), ('network', 'vgg11'), ('replays', '3'))
    >>> assignment("LEARNDROP_RATE=0.01")
    ('rate', 0.01)
    """
    from learndrop.settings import Settings  # pydantic: not for --help

    name, found, value = text.partition("=")
    name = name.lower().removeprefix("learndrop_")  # as the README's table has it
    if not found:
        raise BadSettings(f"--set {text!r}: write --set name=value")
    field = Settings.model_fields.get(name)
    if field is not None and value in get_args(field.annotation):
        return name, value
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
