"""Writes dashboards/learndrop.json: `python -m deploy.grafana.build`; a test holds both equal."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.grafana.learning import COST, NOW, UNITS
from deploy.grafana.panels import GREEN, GREY, ORANGE, RED, Json, laid_out, mark
from deploy.grafana.traffic import ANSWERS, ASIDE, FLOW

WRITTEN = Path(__file__).parent / "dashboards" / "learndrop.json"


def dashboard() -> Json:
    """The whole dashboard, as Grafana provisions it: no inputs to fill in."""
    return {
        "uid": "learndrop-overview",
        "title": "learndrop",
        "description": "Is it well, is it learning, and what does it save?",
        "tags": ["learndrop"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "timepicker": {},
        "templating": {"list": []},
        "links": [],
        "annotations": {
            "list": [
                mark("drift", RED),
                mark("drop", GREEN),
                mark("reset", ORANGE),
                mark("publish", GREY, shown=False),
            ]
        },
        "panels": laid_out([*NOW, *UNITS, *FLOW, *COST, *ANSWERS, *ASIDE]),
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    WRITTEN.write_text(text(), encoding="utf-8")
