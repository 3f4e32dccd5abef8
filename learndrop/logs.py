"""One way of logging for both processes: structured lines on standard error, secrets never in them.

`structlog.get_logger()` and the standard library's loggers (uvicorn's, ours in torch code) end in
the same handler.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import MutableMapping, Sequence
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

import structlog
from pydantic import SecretStr

from learndrop.settings import Settings, no_setting, unknown_variables

HIDDEN = "(hidden)"
API_KEY = re.compile(r"ld_[A-Za-z0-9_-]{43}")
"""What a secret of keyring.py looks like. Who has one may put it into an address by mistake."""


def set_up(settings: Settings, process: str, *, to: TextIO | None = None) -> None:
    """Configure logging of this process, named `process` in every line.

    Args:
        settings: `log_level`, `log_format`, and the secrets that must not appear.
        process: "service" or "worker".
        to: where lines go, instead of standard error.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Named(process),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(to or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _Rendered(settings),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())


def tell_unknown_variables() -> None:
    """Warn of each LEARNDROP_* variable that is no setting: what it was meant to change is not.

    Only its name: the value may be a secret.
    """
    for name in unknown_variables():
        structlog.get_logger().warning("variable_ignored", why=no_setting(name))


def secrets_of(settings: Settings) -> list[str]:
    """Every text that must never be logged: secret settings, and the password inside a URL."""
    found: set[str] = set()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if not isinstance(value, SecretStr):
            continue
        text = value.get_secret_value()
        if "://" not in text:
            found.add(text)
            continue
        try:
            password = urlsplit(text).password
        except ValueError:
            password = text  # no URL at all: hide the whole of it
        if password:
            found |= {password, unquote(password)}
    return sorted((s for s in found if s), key=len, reverse=True)


def without_keys(text: str) -> str:
    """The text with every API key in it hidden.

    >>> without_keys("/v1/samples/ld_" + 43 * "x")
    '/v1/samples/(hidden)'
    """
    return API_KEY.sub(HIDDEN, text)


class _Named:
    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, logger: Any, method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"process": self._process, **event}


class _Rendered:
    """The last step: one line of text, in which no secret is left wherever it came from."""

    def __init__(self, settings: Settings) -> None:
        self._render: Any = structlog.processors.JSONRenderer(default=str)
        if settings.log_format == "text":
            self._render = structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            )
        self._secrets = _as_written(secrets_of(settings))

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        line = without_keys(str(self._render(logger, method, event)))
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line


def _as_written(secrets: Sequence[str]) -> list[str]:
    """Secrets as they are, and as JSON escapes them."""
    return [form for s in secrets for form in dict.fromkeys((json.dumps(s)[1:-1], s))]
