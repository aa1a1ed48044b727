"""Prometheus takes the configuration and rules; every alert is tested, explained and about metrics that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "docker/prometheus"
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
TESTED = yaml.safe_load((Path(__file__).parent / "rules_test.yml").read_text())["tests"]


def promtool(*arguments: str | Path) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool: apt-get install prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "rules", PROMETHEUS / "rules.yml")
    promtool("check", "config", "--syntax-only", PROMETHEUS / "prometheus.yml")


def test_every_alert_fires_when_it_should_and_only_then() -> None:
    promtool("test", "rules", Path(__file__).parent / "rules_test.yml")


def test_every_alert_has_its_test() -> None:
    """In which it fires; that it does not without reason, `nothing is wrong` tests of all."""
    assert {rule["alert"] for rule in ALERTS} == {
        case["alertname"] for test in TESTED for case in test.get("alert_rule_test", ()) if case["exp_alerts"]
    }
    quiet = TESTED[0]
    assert quiet["promql_expr_test"][0] == {
        "expr": 'ALERTS{alertstate="firing"}', "eval_time": "20m", "exp_samples": [],
    }  # fmt: skip
    told = {re.split(r"[{ ]", one["series"])[0] for one in quiet["input_series"]}
    asked = {name for rule in RULES for name in metrics_of(rule["expr"])}
    assert asked - told <= {"vigil_metric_samples_refused"}, "there is no such series while nothing is wrong"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_every_alert_says_what_is_wrong_and_where_it_is_explained(alert: dict[str, Any]) -> None:
    told = alert["annotations"]
    assert set(told) == {"summary", "description", "runbook"}
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    file, _, anchor = told["runbook"].partition("#")
    headings = [line[3:].lower() for line in (ROOT / file).read_text().splitlines() if line.startswith("## ")]
    assert anchor == alert["alert"].lower() and anchor in headings


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names; not those that rules compute."""
    return set(re.findall(r"(?<![\w:])(?:vigil_\w+|up)(?=[\s{\[)]|$)", expression))
