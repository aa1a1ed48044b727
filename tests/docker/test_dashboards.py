"""Grafana's dashboards are those of the code, are what Grafana reads, and ask for metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.metrics import documented

ROOT = Path(__file__).resolve().parents[2]
GRAFANA = ROOT / "docker/grafana"
RULES = ROOT / "docker/prometheus/rules.yml"
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in sorted((GRAFANA / "dashboards").glob("*.json"))}
EACH = pytest.mark.parametrize("name", DASHBOARDS)
# Units of Grafana's that we use, by its ids.
UNITS = {"none", "s", "fps", "cps", "cpm", "percentunit", "bytes", "bps", "celsius"}


def panels(name: str) -> list[dict[str, Any]]:
    """All but the headings."""
    return [panel for panel in DASHBOARDS[name]["panels"] if panel["type"] != "row"]


def test_the_files_are_what_the_code_writes() -> None:
    code = (
        "import json, build; "
        "print(json.dumps({name: json.loads(build.written(name)) for name in build.DASHBOARDS}))"
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=GRAFANA / "code", capture_output=True, check=True)
    assert json.loads(done.stdout) == DASHBOARDS, "run `make schema`"


@EACH
def test_grafanas_own_types_know_all_of_it(name: str) -> None:
    cog = pytest.importorskip("grafana_foundation_sdk.cog.encoder", reason="no grafana-foundation-sdk")
    from grafana_foundation_sdk.models.dashboard import Dashboard

    known = json.loads(cog.JSONEncoder(sort_keys=True).encode(Dashboard.from_json(DASHBOARDS[name])))
    lost = set(_lost(DASHBOARDS[name], known))
    # What belongs to the Prometheus plugin, whose queries for variables and annotations these types leave out.
    assert {path.rpartition(".")[2] for path in lost} <= {"definition", "titleFormat", "step"}, lost


def _lost(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """What is in the first and not in the second."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            if value not in (None, [], {}, ""):
                there = isinstance(theirs, dict) and key in theirs
                yield from _lost(value, theirs[key], f"{path}.{key}") if there else [f"{path}.{key}"]
    elif isinstance(ours, list):
        same = isinstance(theirs, list) and len(theirs) == len(ours)
        for index, value in enumerate(ours if same else ()):
            yield from _lost(value, theirs[index], path)
        if not same:
            yield path
    elif ours != theirs:
        yield path


@EACH
def test_panels_lie_side_by_side(name: str) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in DASHBOARDS[name]["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0 and at["x"] + at["w"] <= 24
        taken.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))
    assert max(taken.values()) == 1
    numbers = [panel["id"] for panel in DASHBOARDS[name]["panels"]]
    assert len(set(numbers)) == len(numbers)


@EACH
def test_every_panel_says_what_it_shows_in_a_unit_and_colours_that_mean_something(name: str) -> None:
    for panel in panels(name):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["description"].endswith(".") and panel["targets"], panel["title"]
        assert defaults["unit"] in UNITS, panel["title"]
        steps = [step["value"] for step in defaults["thresholds"]["steps"]]
        assert steps[0] is None and steps[1:] == sorted(steps[1:]), panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@EACH
def test_queries_ask_for_metrics_that_there_are_by_variables_that_there_are(name: str) -> None:
    known, computed = documented(), set(re.findall(r"record: (\S+)", RULES.read_text()))
    dashboard = DASHBOARDS[name]
    variables = {variable["name"] for variable in dashboard["templating"]["list"]} | {"__rate_interval"}
    for panel in panels(name):
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables, panel["title"]
            assert set(re.findall(r"vigil:[\w:]+", target["expr"])) <= computed, panel["title"]
            for metric, suffix in re.findall(r"\b(vigil_\w+?)(_total|_bucket|_sum|_count)?(?=[{\[])", target["expr"]):
                kind = known[metric].kind
                assert (kind == "counter") == (suffix == "_total") and (kind == "histogram") == (
                    suffix in ("_bucket", "_sum", "_count")
                ), f"{panel['title']}: {metric}{suffix}"
                if "stream" in known[metric].labels and "stream" in variables and name == "stream":
                    assert 'stream=~"$stream"' in target["expr"], panel["title"]


def test_a_title_stands_for_one_panel_wherever_it_is() -> None:
    said: dict[tuple[str, str], Any] = {}
    for panel in (panel for name in DASHBOARDS for panel in panels(name)):
        place = {key: panel[key] for key in ("id", "gridPos")}
        told = {key: value for key, value in panel.items() if key not in place}
        assert said.setdefault((panel["title"], panel["type"]), told) == told


def test_limits_that_are_shown_are_those_of_the_alerts() -> None:
    limits = {float(one) for one in re.findall(r"[<>] ([\d.]+)", RULES.read_text())}
    for panel in (panel for name in DASHBOARDS for panel in panels(name)):
        defaults = panel["fieldConfig"]["defaults"]
        if defaults["custom"].get("thresholdsStyle", {}).get("mode") == "line":
            (red,) = [index for index, step in enumerate(defaults["thresholds"]["steps"]) if step["color"] == "red"]
            bound = defaults["thresholds"]["steps"][red or 1]["value"]
            assert bound in limits, panel["title"]


def test_all_sites_are_those_that_are_chosen() -> None:
    """`All` of the hidden choice of instances must not be any instance."""
    for dashboard in DASHBOARDS.values():
        (instance,) = [one for one in dashboard["templating"]["list"] if one["name"] == "instance"]
        assert instance["hide"] == 2 and instance["includeAll"] and instance["allValue"] is None


def test_links_lead_to_dashboards_that_there_are_and_to_the_page() -> None:
    uids = {dashboard["uid"] for dashboard in DASHBOARDS.values()}
    text = "".join(json.dumps(dashboard) for dashboard in DASHBOARDS.values())
    linked = set(re.findall(r"/d/([\w-]+)\?", text))
    assert linked == uids
    assert "${page}/#/stream/${stream}" in text and "${page}/#/stream/${__data.fields.stream}" in text


def test_grafana_finds_its_data_source_and_its_dashboards() -> None:
    provisioning = GRAFANA / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((provisioning / "dashboards/vigil.yml").read_text())["providers"]
    assert (source["type"], source["uid"]) == ("prometheus", "vigil-prometheus")
    variables = [variable for dashboard in DASHBOARDS.values() for variable in dashboard["templating"]["list"]]
    chosen = {variable["current"]["value"] for variable in variables if variable["type"] == "datasource"}
    assert chosen == {source["uid"]}
    compose = (ROOT / "docker/compose.yaml").read_text()
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in compose
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in compose
