"""Whether somebody has to do something."""

from __future__ import annotations

from limits import ANY
from panels import Query, columns, stat, table

# Who has been away for longer than the time shown cannot be chosen, and is told whatever is chosen.
FIRING = (
    'ALERTS{alertname=~"Vigil.+",alertstate="firing",instance=~"$instance"} '
    'or ALERTS{alertname="VigilNotScraped",alertstate="firing"}'
)

COUNT = stat("Alerts", "Alerts that fire now; they are listed below.", f"count({FIRING}) or vector(0)", steps=ANY)

AWAY = stat(
    "Away",
    "Installations that do not answer Prometheus, of all sites: nobody knows whether their cameras are watched.",
    'count(up{job="vigil"} == 0) or vector(0)',
    steps=ANY,
)

LIST = table(
    "Alerts that fire",
    "What is wrong, and with what; docs/alerts.md says what to do about each.",
    [Query(FIRING, now=True)],
    columns(
        {"alertname": "alert", "severity": "severity", "instance": "installation", "stream": "camera"},
        hidden=("alertstate", "Value"),
    ),
    width=10,
)
