"""The settings as the environment has them; what is wrong there is named."""

from __future__ import annotations

import json
import os
import re
from difflib import get_close_matches
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from learndrop.errors import BadSettings
from learndrop.settings.whole import Settings


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; `overrides` win.

    Raises:
        BadSettings: naming each setting, the reason and the value.
    """
    try:
        return Settings(**overrides)
    except ValidationError as exc:
        raise BadSettings("; ".join(map(_told, exc.errors(include_url=False)))) from exc
    except SettingsError as exc:  # before anything is validated: a list that is no JSON
        raise BadSettings(_no_json(exc)) from exc


def _told(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return no_setting(str(error["loc"][0]))
    place = "_".join(map(str, error["loc"])).upper() or "*"
    return f"LEARNDROP_{place}: {error['msg']}{_shown(error)}"


def _no_json(error: SettingsError) -> str:
    found = re.search(r'field "(\w+)"', str(error))
    if found is None:
        return str(error)
    variable = f"LEARNDROP_{found[1].upper()}"
    example = json.dumps(Settings.model_fields[found[1]].default or ["one", "two"])
    value = next((v for name, v in os.environ.items() if name.upper() == variable), "")
    return f"{variable}: write a JSON list, as {example} (value {value[:80]!r})"


def _shown(error: ErrorDetails) -> str:
    """The value that is wrong; nothing of several together, nor of one that may be a secret."""
    field = Settings.model_fields.get(str(error["loc"][0])) if error["loc"] else None
    if field is None or field.annotation is SecretStr:
        return ""
    return f" (value {str(error.get('input'))[:80]!r})"


def unknown_variables() -> list[str]:
    """Variables named LEARNDROP_* that are no setting (pydantic-settings passes over them)."""
    known = {f"LEARNDROP_{name.upper()}" for name in Settings.model_fields}
    return sorted(v for v in os.environ if v.startswith("LEARNDROP_") and v.upper() not in known)


def no_setting(name: str) -> str:
    """That there is no such setting, and which is near; as a variable where `name` is one.

    >>> no_setting("netwrok"), no_setting("LEARNDROP_RAET")
    ('netwrok is no setting; near: network', 'LEARNDROP_RAET is no setting; near: LEARNDROP_RATE')
    """
    prefix = "LEARNDROP_" if name.upper().startswith("LEARNDROP_") else ""
    near = get_close_matches(name[len(prefix) :].lower(), Settings.model_fields, n=1)
    shown = [prefix + (one.upper() if prefix else one) for one in near]
    return f"{name} is no setting" + "".join(f"; near: {one}" for one in shown)
