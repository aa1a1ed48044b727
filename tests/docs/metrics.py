"""The metrics that the code has, and those that docs/metrics.md tells of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from publish.metrics import OF_EACH_PROCESS, OVERFLOW, OVERFLOW_HELP

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/metrics.md"
STAGES = ("ingest", "inference", "tracking", "publish", "vigil")
KINDS = {"Counter": "counter", "Gauge": "gauge", "Histogram": "histogram", "CounterMetricFamily": "counter",
         "GaugeMetricFamily": "gauge", "HistogramMetricFamily": "histogram"}  # fmt: skip


@dataclass(frozen=True)
class Documented:
    """One metric: its name without `_total`, as Prometheus names families."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def row(self) -> str:
        """Its line in the table."""
        suffix = "_total" if self.kind == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in self.labels)
        return f"| `{self.name}{suffix}` | {self.kind} | {labels} | {self.help} |"


def documented() -> dict[str, Documented]:
    """What the page has."""
    found = {}
    for line in PAGE.read_text().splitlines():
        if match := re.fullmatch(r"\| `(vigil_\w+)` \| (counter|gauge|histogram) \| (.*) \| (.+) \|", line):
            name, kind, labels, text = match.groups()
            name = name.removesuffix("_total") if kind == "counter" else name
            found[name] = Documented(name, kind, tuple(re.findall(r"`(\w+)`", labels)), text)
    return found


def in_code() -> dict[str, Documented]:
    """What the code makes, wherever it does."""
    found = {OVERFLOW: Documented(OVERFLOW, "gauge", ("metric",), OVERFLOW_HELP)}
    for stage in STAGES:
        for file in sorted((ROOT / stage).rglob("*.py")):
            if "prometheus_client" in (text := file.read_text()):
                found |= {one.name: one for one in _made_in(ast.parse(text), file)}
    return found


def _made_in(tree: ast.Module, file: Path) -> Iterator[Documented]:
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KINDS):
            continue
        if not (call.args and isinstance(call.args[0], ast.Constant)):
            continue
        name = call.args[0].value
        where = f"{file.relative_to(ROOT)}:{call.lineno}"
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        given |= dict(zip(("name", "documentation", "labels"), call.args, strict=False))
        assert "documentation" in given, f"{where}: {name} has no help"
        labels = given.get("labels", given.get("labelnames", ast.List([])))
        try:
            told, names = ast.literal_eval(given["documentation"]), ast.literal_eval(labels)
        except ValueError:
            raise AssertionError(f"{where}: write out the help and the labels of {name}, for docs/metrics.md") from None
        own = ("process",) if name in OF_EACH_PROCESS else ()
        yield Documented(name, KINDS[call.func.id], (*own, *names), told)
