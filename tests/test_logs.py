"""Lines are structured, come from every logger, and never hold a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from learndrop import logs
from learndrop.disk import keyring
from learndrop.settings import load_settings

PASSWORD = 'p@ss"wörd'
URL = "redis://user:p%40ss%22w%C3%B6rd@redis:6379/0"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(**settings: Any) -> io.StringIO:
    to = io.StringIO()
    logs.set_up(load_settings(redis_url=URL, **settings), "worker", to=to)
    return to


def test_a_line_is_json_with_time_level_and_process() -> None:
    to = lines()
    structlog.get_logger().info("drop", depth=3, cause="settled")
    line = json.loads(to.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "drop",
        "depth": 3,
        "cause": "settled",
        "level": "info",
        "process": "worker",
    }


def test_the_standard_librarys_loggers_write_the_same_lines() -> None:
    to = lines()
    logging.getLogger("learndrop.learning.checkpoint").error("passed over: %s", "damaged")
    line = json.loads(to.getvalue())
    assert (line["event"], line["level"]) == ("passed over: damaged", "error")


def test_lines_below_the_level_are_not_written() -> None:
    to = lines(log_level="warning")
    structlog.get_logger().info("no")
    logging.getLogger("x").info("no")
    structlog.get_logger().warning("yes")
    assert to.getvalue().count("\n") == 1


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_secret_is_in_any_line(form: str) -> None:
    to = lines(log_format=form)
    log = structlog.get_logger()
    log.info("at", url=URL, password=PASSWORD, nested={"in": [PASSWORD]})
    logging.getLogger("redis").warning("cannot reach %s", URL)
    try:
        raise ValueError(f"bad {PASSWORD}")
    except ValueError:
        log.exception("failed")
    written = to.getvalue()
    assert "ValueError" in written and logs.HIDDEN in written
    for secret in (PASSWORD, "p%40ss%22w%C3%B6rd", json.dumps(PASSWORD)[1:-1]):
        assert secret not in written


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_api_key_is_in_any_line_wherever_somebody_put_it(form: str, tmp_path: Path) -> None:
    secret = keyring.create(tmp_path / "keys.json", "a", ["read"])
    to = lines(log_format=form)
    structlog.get_logger().info("request", path=f"/v1/samples/{secret}", query=f"key={secret}x")
    logging.getLogger("uvicorn").warning("bad header %r", secret)
    assert to.getvalue().count(logs.HIDDEN) == 3
    assert secret not in to.getvalue()


def test_a_url_without_a_password_hides_nothing() -> None:
    assert logs.secrets_of(load_settings(redis_url="redis://redis:6379/0")) == []
