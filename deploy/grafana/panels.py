"""Grafana panels as plain dictionaries (schema of Grafana 11.6)."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
Line = tuple[str, str] | tuple[str, str, str]
"""Legend, query and, where it has one of its own, colour."""

DATASOURCE = {"type": "prometheus", "uid": "prometheus"}

# Okabe and Ito's palette: told apart also by colour-blind eyes.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, RED, PURPLE, GREY = "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#999999"


def target(expr: str, legend: str, *, instant: bool = False) -> Json:
    """One query; `refId` is set by the panel that holds it."""
    return {
        "datasource": DATASOURCE,
        "expr": expr,
        "legendFormat": legend,
        "instant": instant,
        "range": not instant,
        "editorMode": "code",
    }


def rate(counter: str, by: str = "") -> str:
    """What a counter grows by in a second, over all processes or for each value of a label.

    >>> rate("x_total"), rate("x_total", "reason")
    ('sum(rate(x_total[$__rate_interval]))', 'sum by (reason) (rate(x_total[$__rate_interval]))')
    """
    return f"sum{f' by ({by}) ' if by else ''}(rate({counter}[$__rate_interval]))"


def steps(*marks: tuple[float | None, str]) -> Json:
    """Thresholds: (from this value, this colour), the first from None."""
    return {"mode": "absolute", "steps": [{"value": v, "color": c} for v, c in marks]}


def panel(
    kind: str,
    title: str,
    description: str,
    unit: str,
    targets: list[Json],
    *,
    size: tuple[int, int],
    options: Json,
    defaults: Json | None = None,
    colours: dict[str, str] | None = None,
) -> Json:
    """A panel without its id and place; `size` is width (of 24) and height, `colours` by legend."""
    overrides = [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in (colours or {}).items()
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "fieldConfig": {
            "defaults": {"unit": unit, "noValue": "no data yet", **(defaults or {})},
            "overrides": overrides,
        },
        "options": options,
        "targets": [{**t, "refId": chr(ord("A") + n)} for n, t in enumerate(targets)],
    }


def stat(
    title: str,
    unit: str,
    expr: str,
    description: str,
    *,
    decimals: int = 0,
    thresholds: Json | None = None,
) -> Json:
    """One number, now."""
    return panel(
        "stat",
        title,
        description,
        unit,
        [target(expr, title, instant=True)],
        size=(3, 4),
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "value",
        },
        defaults={"thresholds": thresholds or steps((None, BLUE)), "decimals": decimals},
    )


def series(
    title: str,
    unit: str,
    lines: list[Line],
    description: str,
    *,
    size: tuple[int, int] = (8, 8),
    stacked: bool = False,
    lowest: float | None = 0,
    highest: float | None = None,
    colours: dict[str, str] | None = None,
) -> Json:
    """Lines over time, with events drawn in; `colours` for legends that only the query knows."""
    custom: Json = {
        "lineWidth": 2,
        "fillOpacity": 30 if stacked else 5,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
    }
    defaults: Json = {"custom": custom, "color": {"mode": "palette-classic"}}
    if lowest is not None:
        defaults["min"] = lowest
    if highest is not None:
        defaults["max"] = highest
    return panel(
        "timeseries",
        title,
        description,
        unit,
        [target(expr, legend) for legend, expr, *_ in lines],
        size=size,
        options={
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        defaults=defaults,
        colours={legend: colour for legend, _, *own in lines for colour in own} | (colours or {}),
    )


def state_timeline(
    title: str,
    line: Line,
    description: str,
    *,
    states: dict[int, tuple[str, str]],
    size: tuple[int, int],
) -> Json:
    """A band for each value of the line, coloured by `states`: code to (text, colour)."""
    mapped = {
        str(code): {"text": text, "color": colour, "index": code}
        for code, (text, colour) in states.items()
    }
    return panel(
        "state-timeline",
        title,
        description,
        "short",
        [target(line[1], line[0])],
        size=size,
        options={
            "mergeValues": True,
            "showValue": "auto",
            "alignValue": "left",
            "rowHeight": 0.9,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        defaults={
            "mappings": [{"type": "value", "options": mapped}],
            "color": {"mode": "thresholds"},
            "thresholds": steps((None, GREY)),
            "custom": {"fillOpacity": 85, "lineWidth": 0, "spanNulls": False},
        },
    )


def laid_out(panels: list[Json]) -> list[Json]:
    """Give the panels ids and places: from left to right, a new line when one is full."""
    x = y = height = 0
    placed = []
    for number, one in enumerate(panels, start=1):
        width = one["gridPos"]["w"]
        if x + width > 24:
            x, y, height = 0, y + height, 0
        placed.append({**one, "id": number, "gridPos": {**one["gridPos"], "x": x, "y": y}})
        x, height = x + width, max(height, one["gridPos"]["h"])
    return placed


def mark(kind: str, colour: str, *, shown: bool = True) -> Json:
    """An annotation wherever the number of such events grew since the step before."""
    counted = f'learndrop_events_total{{type="{kind}"}}'
    return {
        "name": kind,
        "datasource": DATASOURCE,
        "enable": shown,
        "hide": False,
        "iconColor": colour,
        "target": {
            # Not increase(): between two windows it overlooks what falls between two scrapes.
            "expr": f"sum({counted}) - sum({counted} offset $__interval) > 0",
            "interval": "15s",
            "refId": "Anno",
        },
        "titleFormat": kind,
        "textFormat": "",
    }
