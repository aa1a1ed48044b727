"""What the dashboards ask of Prometheus, in pieces.

Every query is of the chosen site's installations (`$instance`); there may be several, and cameras of one name in them.
"""

from __future__ import annotations

CAMERA = "instance, stream"
# Names the series of several cameras, once `sited` has told where they are.
EACH_CAMERA = "{{site}}/{{stream}}"
SITES = 'max by (instance, site) (vigil_config_info{instance=~"$instance"})'


def here(metric: str, *more: str) -> str:
    """A metric of the chosen site."""
    chosen = ",".join(('instance=~"$instance"', *more))
    return f"{metric}{{{chosen}}}"


def of(metric: str, *more: str) -> str:
    """A metric of the chosen cameras."""
    return here(metric, 'stream=~"$stream"', *more)


def labelled(label: str, value: str) -> str:
    return f'{label}="{value}"'


def rate(series: str, by: str) -> str:
    """How much is added up in a second."""
    return f"sum by ({by}) (rate({series}[$__rate_interval]))"


def increase(series: str, by: str, time: str) -> str:
    return f"sum by ({by}) (increase({series}[{time}]))"


def quantile(share: float, metric: str, by: str) -> str:
    """Of a histogram of the chosen site."""
    return f"histogram_quantile({share}, {rate(here(f'{metric}_bucket'), f'{by}, le')})"


def sited(expr: str) -> str:
    """What is told by `instance`, with the `site`."""
    return f"({expr}) * on (instance) group_left (site) {SITES}"


# As the rules compute them, so that what is shown is what alerts are about.
LATENCY = of("vigil:end_to_end_seconds:p99_2m")
DROPPED = of("vigil:frames_dropped:ratio_rate2m")
