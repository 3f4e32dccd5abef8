"""The settings as the environment has them; what is wrong there is named."""

from __future__ import annotations

import os
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

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
        told = "; ".join(
            f"LEARNDROP_{'_'.join(str(p) for p in e['loc']).upper() or '*'}: {e['msg']}{_shown(e)}"
            for e in exc.errors(include_url=False)
        )
        raise BadSettings(told) from exc


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
