"""docs/metrics.md tells of every metric that there is, as it is, and of no other."""

from __future__ import annotations

from tests.docs.metrics import documented, in_code


def test_every_metric_is_told_of_as_it_is() -> None:
    told, there = documented(), in_code()
    missing = [metric.row for name, metric in there.items() if told.get(name) != metric]
    assert not missing, "put into docs/metrics.md:\n" + "\n".join(missing)
    assert not told.keys() - there.keys(), "no such metrics"


def test_names_are_as_prometheus_wants_them() -> None:
    """Base units, and nothing that a person could be known by."""
    for metric in in_code().values():
        assert metric.name.startswith("vigil_")
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_ms", "_percent", "_mb"))
        assert metric.help.endswith("."), metric
        assert not {"url", "user", "address", "ip", "track", "session"} & set(metric.labels), metric
