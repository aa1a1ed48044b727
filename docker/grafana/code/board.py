"""A dashboard: its rows of panels, what may be chosen, and where it leads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from panels import BLUE, SOURCE, WIDTH, Json, Panel

# Another revision than a minute ago, where there was one: an installation that was away has not changed.
IN_FORCE = 'vigil_config_info{instance=~"$instance"}'
CHANGED = (
    f"count by (site, rev) ({IN_FORCE}) unless count by (site, rev) ({IN_FORCE} offset 1m) "
    f"and on (site) count by (site) ({IN_FORCE} offset 1m)"
)


@dataclass(frozen=True)
class Row:
    """A heading, and the panels below it."""

    title: str
    panels: Sequence[Panel]


def dashboard(uid: str, title: str, description: str, variables: Sequence[Json], rows: Sequence[Row],
              links: Sequence[Json]) -> Json:  # fmt: skip
    panels: list[Json] = []
    numbers, y = count(1), 0
    for row in rows:
        panels.append({
            "id": next(numbers), "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        })  # fmt: skip
        y += 1
        x = tallest = 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            panels.append(panel.told(next(numbers), x, y))
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["vigil"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": list(variables)},
        "annotations": {"list": [{
            "name": "Configuration changed", "datasource": SOURCE, "enable": True, "iconColor": BLUE,
            "expr": CHANGED, "titleFormat": "{{site}}: configuration {{rev}}", "step": "60s",
        }]},
        "links": list(links),
        "panels": panels,
    }  # fmt: skip


def variable(
    name: str, label: str, query: str, many: bool = True, hidden: bool = False, everything: str | None = None
) -> Json:
    """A choice of label values. `everything` is what `All` asks for; None: each of the values."""
    return {
        "name": name, "label": label, "type": "query", "datasource": SOURCE,
        "query": {"query": query, "refId": name, "qryType": 1}, "definition": query,
        "refresh": 2, "sort": 7, "multi": many, "includeAll": many, "allValue": everything,
        "current": {"text": ["All"], "value": ["$__all"]} if many else {}, "hide": 2 if hidden else 0, "options": [],
    }  # fmt: skip


def source_variable() -> Json:
    return {
        "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1,
        "current": {"text": "Prometheus", "value": "vigil-prometheus"}, "hide": 0, "multi": False, "includeAll": False,
        "options": [], "regex": "",
    }  # fmt: skip


def page_variable() -> Json:
    """Where Vigil's own page is; people set it to what their browsers reach."""
    return {
        "name": "page", "label": "Vigil's page", "type": "textbox", "query": "http://localhost:8600",
        "current": {"text": "http://localhost:8600", "value": "http://localhost:8600"}, "hide": 0,
        "options": [{"text": "http://localhost:8600", "value": "http://localhost:8600", "selected": True}],
    }  # fmt: skip


def link(title: str, url: str, new_tab: bool = False) -> Json:
    """From a dashboard to another page."""
    return {"title": title, "type": "link", "url": url, "icon": "external link" if new_tab else "dashboard",
            "targetBlank": new_tab, "keepTime": not new_tab, "includeVars": False, "asDropdown": False, "tags": [],
            "tooltip": ""}  # fmt: skip


def to(dashboard_uid: str) -> str:
    """A dashboard's address that keeps the site."""
    return f"/d/{dashboard_uid}?${{site:queryparam}}&${{datasource:queryparam}}"
