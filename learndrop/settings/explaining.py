"""The settings as rows: value, default, meaning, and where the value comes from."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from learndrop.settings.whole import Settings


def explained(settings: Settings) -> list[dict[str, object]]:
    """One row a setting: `name`, `variable`, `value`, `default`, `origin` and `meaning`.

    `origin` is `default` or `environment`; a secret that was set is not shown.
    """
    rows: list[dict[str, object]] = []
    for name, field in Settings.model_fields.items():
        given = name in settings.model_fields_set
        value, default = getattr(settings, name), field.default
        if isinstance(value, SecretStr):
            default = default.get_secret_value()
            value = "(hidden)" if given else default
        rows.append(
            {
                "name": name,
                "variable": f"LEARNDROP_{name.upper()}",
                "value": _plain(value),
                "default": _plain(default),
                "origin": "environment" if given else "default",
                "meaning": " ".join((field.description or "").split()),
            }
        )
    return rows


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value
