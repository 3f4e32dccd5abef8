"""Settings of logs."""

from __future__ import annotations

from typing import Literal

from learndrop.settings.group import Group


class LogSettings(Group):
    """What is logged, and how."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe line that is logged."""
    log_format: Literal["json", "text"] = "json"
    """One JSON object a line, or text for people."""
