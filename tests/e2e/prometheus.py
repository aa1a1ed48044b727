"""Prometheus beside a service, its rules in a hurry, and everything that rules and dashboards ask of it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from tests.e2e.real import wait_for as wait_closely

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "docker/prometheus"
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in (ROOT / "docker/grafana/dashboards").glob("*.json")}
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
SCRAPE_S = 0.5
# What Prometheus calls the service, and what sites it takes them for.
BOXES = {"10.0.0.1:8600": "hq", "10.0.0.2:8600": "annexe"}
# Nothing that is asked here changes more often, and asking takes CPU that what is asked about needs.
ASK_S = 0.1
# Rules whose numbers are for hours and crowds, and what they are here.
HURRIED = {
    # How long the oldest event has waited is told in steps of ten seconds: that something waits, at once.
    "vigil_outbox_oldest_seconds > 10": "min_over_time(vigil_outbox_pending[2s]) > 0",
    "vigil_stream_last_frame_age_seconds > 30": "vigil_stream_last_frame_age_seconds > 2",
    "min_over_time(vigil_bridge_pending[2m]) > 100": "min_over_time(vigil_bridge_pending[2s]) > 2",
    "increase(vigil_process_restarts_total[15m]) > 3": "increase(vigil_process_restarts_total[15m]) > 0",
}
wait_for = partial(wait_closely, timeout_s=60.0, poll_s=ASK_S)


class Prometheus:
    """Debian's, which scrapes a service as `BOXES`, with our rules in a hurry.

    Attributes:
        began: from when on it is of interest what has fired, in seconds of `time.monotonic()`.
    """

    def __init__(self, folder: Path, vigil: str) -> None:
        """`vigil` is where the service answers."""
        self.began = 0.0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._url = f"http://127.0.0.1:{free.getsockname()[1]}"
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": f"{int(SCRAPE_S * 1000)}ms", "evaluation_interval": "500ms"}
        (job,) = config["scrape_configs"]
        del job["authorization"]
        target = vigil.removeprefix("http://")
        job["static_configs"] = [{"targets": [target], "labels": {"instance": box}} for box in BOXES]
        job["metric_relabel_configs"] = [
            {"source_labels": ["instance", "site"], "regex": f"{box};test", "target_label": "site", "replacement": site}
            for box, site in BOXES.items()
        ]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "rules.yml").write_text(yaml.safe_dump(hurried(RULES)))
        self._folder = folder

    def __enter__(self) -> Self:
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(
                ["prometheus", f"--config.file={self._folder}/prometheus.yml",
                 f"--storage.tsdb.path={self._folder}/tsdb", f"--web.listen-address={self._url.removeprefix('http://')}",
                 "--query.lookback-delta=3s"], stdout=log, stderr=log,
            )  # fmt: skip
        wait_for("Prometheus is ready", self._is_ready)
        return self

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What Prometheus answers now."""
        result = self._asked(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
        assert isinstance(result, list)
        return result

    def value(self, expression: str) -> float:
        """Of its first series, once there is one: a scrape that failed on a busy machine leaves none for a moment."""
        return float(wait_for(f"an answer to {expression}", lambda: self.query(expression))[0]["value"][1])

    def alerts(self) -> dict[str, dict[str, str]]:
        """The alerts that fire: their names, and the labels of one of each."""
        told = self._asked("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert["labels"] for alert in told if alert["state"] == "firing"}

    def ailing_rules(self) -> dict[str, str]:
        """The rules that Prometheus cannot compute, as when the same is matched twice, and why."""
        rules = [rule for group in self._asked("rules")["groups"] for rule in group["rules"]]
        assert rules
        return {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"}

    def _asked(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self._url}/api/v1/{path}", timeout=10) as answer:
            told = json.loads(answer.read())
        assert told["status"] == "success"
        return told["data"]

    def fire(self, *alerts: str) -> None:
        """Waits until each of them has fired in this test, be it over by now."""
        missing = set(alerts)

        def fired() -> bool:
            passed_ms = 1 + round((time.monotonic() - self.began) * 1000)
            asked = f'max by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{passed_ms}ms]))'
            missing.difference_update(told["metric"]["alertname"] for told in self.query(asked))
            return not missing

        try:
            wait_for("to fire", fired)
        except AssertionError:
            pytest.fail(f"did not fire: {', '.join(sorted(missing))}; do: {', '.join(sorted(self.alerts()))}")

    def are_over(self, *alerts: str) -> None:
        wait_for(f"an end of {', '.join(alerts)}", lambda: not set(alerts) & self.alerts().keys())


def hurried(rules: dict[str, Any]) -> dict[str, Any]:
    """The rules as they are, but for how long a condition must hold, over what time rates are taken, and `HURRIED`."""
    text = yaml.safe_dump(rules, width=1000)
    for patient, hurry_up in HURRIED.items():
        assert patient in text
        text = text.replace(patient, hurry_up)
    told: dict[str, Any] = yaml.safe_load(hurry(re.sub(r"(?m)^\s+for: \S+\n", "", text)))
    return told


def queries() -> Iterator[tuple[str, str]]:
    """Every expression that somebody will ask for: of the rules, and of the panels as Grafana fills them in."""
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for name, dashboard in DASHBOARDS.items():
        for annotation in dashboard["annotations"]["list"]:
            yield f"{name}: {annotation['name']}", filled_in(annotation["expr"], name)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}", filled_in(target["expr"], name)


def filled_in(expression: str, dashboard: str = "overview") -> str:
    """As with all that can be chosen; but a camera's dashboard is of one."""
    boxes, streams = ([next(iter(BOXES))], ["gate"]) if dashboard == "stream" else (list(BOXES), ["gate", "yard"])
    for variable, values in (("$__rate_interval", ["2s"]), ("$instance", boxes), ("$stream", streams)):
        expression = expression.replace(variable, "|".join(values))
    assert "$" not in expression, expression
    return expression


def condition(expression: str) -> str:
    """What an alert looks at: without the comparisons that leave nothing while all is well, and with both sides of
    what is told by one series' absence."""
    expression = re.split(r"\bunless\b", expression)[0]
    expression = expression.replace("absent(up", "(up")
    return re.sub(r"(?:==|>|<) (?:bool )?-?[\d.]+", "", expression)


def hurry(expression: str) -> str:
    """With short windows; what is counted once is seen for longer, as a scrape may fail on a busy machine."""
    expression = re.sub(r"(?<=increase)(\([^\[]*)\[\d+[mh]\]", r"\1[4s]", expression)
    return re.sub(r"\[\d+[mh]\]", "[2s]", expression)
