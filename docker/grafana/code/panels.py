"""Panels, as far as our dashboards have them: plain data, as Grafana 11 and 12 read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RED, AMBER, GREEN, BLUE, GREY = "red", "orange", "green", "blue", "text"

Json = dict[str, Any]
Steps = Sequence[tuple[float | None, str]]


@dataclass(frozen=True)
class Query:
    """One PromQL expression; `legend` names its series. `now`: its value at the end of the time range alone."""

    expr: str
    legend: str = "__auto"
    now: bool = False
    format: str = "time_series"


@dataclass(frozen=True)
class Panel:
    """One panel; `height` is in Grafana's rows, `width` in its 24 columns."""

    title: str
    description: str
    kind: str
    queries: Sequence[Query]
    width: int = 12
    height: int = 8
    unit: str = "none"
    steps: Steps = ((None, GREEN),)
    mappings: Sequence[Json] = ()
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()
    least: float | None = 0
    most: float | None = None
    colour: str = "palette-classic"

    def sized(self, width: int, height: int = 8) -> Panel:
        """The same, where there is more or less room."""
        return replace(self, width=width, height=height)

    def told(self, number: int, x: int, y: int) -> Json:
        defaults: Json = {
            "unit": self.unit,
            "color": {"mode": self.colour},
            "thresholds": _thresholds(self.steps),
            "mappings": list(self.mappings),
            "custom": self.custom,
            "noValue": "–",
        }
        defaults |= {key: value for key, value in {"min": self.least, "max": self.most}.items() if value is not None}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [
                {
                    "refId": chr(ord("A") + index),
                    "datasource": SOURCE,
                    "editorMode": "code",
                    "expr": query.expr,
                    "legendFormat": query.legend,
                    "instant": query.now,
                    "range": not query.now,
                    "format": query.format,
                }
                for index, query in enumerate(self.queries)
            ],
            "fieldConfig": {"defaults": defaults, "overrides": list(self.overrides)},
            "options": self.options,
            "transformations": list(self.transformations),
        }


def stat(title: str, description: str, expr: str, width: int = 3, graph: str = "area", shows: str = "auto",
         legend: str = "__auto", **more: Any) -> Panel:  # fmt: skip
    """One number, in the colour of its threshold; `shows`: `auto`, or the series' `name` instead."""
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value", "graphMode": graph, "justifyMode": "auto", "textMode": shows,
    }  # fmt: skip
    return Panel(title, description, "stat", [Query(expr, legend)], width, 4, options=options, colour="thresholds",
                 **more)  # fmt: skip


def lines(title: str, description: str, *queries: Query, stacked: bool = False, **more: Any) -> Panel:
    """Values over time; red from the alert's limit on where `steps` says so."""
    custom = {
        "drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if stacked else 8, "showPoints": "never",
        "spanNulls": False, "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisSoftMin": 0, "thresholdsStyle": {"mode": "line" if "steps" in more else "off"},
    }  # fmt: skip
    options = {
        "legend": {"displayMode": "table", "placement": "bottom", "showLegend": True, "calcs": ["lastNotNull", "max"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return Panel(title, description, "timeseries", queries, options=options, custom=custom, **more)


def table(title: str, description: str, queries: Sequence[Query], columns: Json, width: int = 24, sort: str = "",
          **more: Any) -> Panel:  # fmt: skip
    """What is so now, a row for each set of labels."""
    options: Json = {"showHeader": True, "cellHeight": "sm"}
    if sort:
        options["sortBy"] = [{"displayName": sort, "desc": True}]
    merged = [{"id": "merge", "options": {}}] if len(queries) > 1 else []
    return Panel(title, description, "table", [replace(one, format="table") for one in queries], width,
                 options=options, custom={"align": "auto", "filterable": True}, least=None,
                 transformations=[*merged, columns], **more)  # fmt: skip


def values(*texts: tuple[float | str, str, str]) -> Json:
    """Value mappings: what a number is called, and its colour."""
    options = {str(value): {"text": text, "color": colour, "index": index}
               for index, (value, text, colour) in enumerate(texts)}  # fmt: skip
    return {"type": "value", "options": options}


def columns(names: Mapping[str, str], hidden: Sequence[str] = ()) -> Json:
    """A table's columns in their order: what they are, and are called."""
    return {
        "id": "organize",
        "options": {
            "excludeByName": dict.fromkeys(("Time", "job", "__name__", *hidden), True),
            "renameByName": dict(names),
            "indexByName": {name: index for index, name in enumerate(names)},
        },
    }


def column(name: str, **properties: Any) -> Json:
    """How a column is shown, other than the rest."""
    told = [{"id": key, "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": told}


def coloured(steps: Steps | None = None) -> Json:
    """A column's text has the colour of its step, or of its mapping."""
    told: Json = {"custom.cellOptions": {"type": "color-text"}}
    if steps is not None:
        told["thresholds"] = _thresholds(steps)
    return told


def _thresholds(steps: Steps) -> Json:
    return {"mode": "absolute", "steps": [{"value": value, "color": colour} for value, colour in steps]}
