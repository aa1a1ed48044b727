"""Where a number is bad: from the rule of its alert, which is the one place that says so."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from panels import AMBER, GREEN, RED, Steps

RULES = Path(__file__).parents[2] / "prometheus/rules.yml"
EXPRESSIONS = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def steps(alert: str, amber: float | None = None) -> Steps:
    """Colours of a number: red from its alert's limit on (or up to it, where less is worse), amber where it is near."""
    found = re.search(r"([<>]) ([\d.]+)", EXPRESSIONS[alert])
    assert found is not None, alert
    limit = float(found[2])
    near = () if amber is None else ((amber, AMBER),)
    if found[1] == ">":
        return ((None, GREEN), *near, (limit, RED))
    assert amber is not None, "green begins where amber ends"
    return ((None, RED), (limit, AMBER), (amber, GREEN))


ANY: Steps = ((None, GREEN), (1, RED))
LATE = steps("VigilLatencyHigh", 0.5)
DROPS = steps("VigilFramesDropped", 0.02)
SILENT = steps("VigilStreamSilent", 5)
WAITING = steps("VigilOutboxGrowing")
