"""Draws the pictures of docs/benchmarks.md from the latest figures: `python -m benchmarks.plots`."""

from __future__ import annotations

import json
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.clips import OUT
from benchmarks.harness import ROOT

OURS, OTHERS, LIMIT = "#0b6e4f", "#8d99ae", "#d9dde3"


def throughput(figures: dict[str, Any]) -> Figure:
    """What the machine could do, and what comes out at the end."""
    rows = figures["rows"]
    drawing, axes = plt.subplots(figsize=(6.4, 3.2))
    places = range(len(rows))
    axes.bar(places, [row["limit_fps"] for row in rows], 0.7, color=LIMIT, label="decoding and inference alone")
    bars = axes.bar(places, [row["vigil_fps"] for row in rows], 0.45, color=OURS, label="Vigil, camera to NATS")
    axes.bar_label(bars, [f"{row['ratio']:.2f}" for row in rows], padding=2)
    axes.set_xticks(places, [str(row["streams"]) for row in rows])
    axes.set(xlabel="streams", ylabel="frames a second", ylim=(0, 1.3 * max(row["limit_fps"] for row in rows)))
    axes.legend(frameon=False, loc="upper right", ncols=2)
    return drawing


def peers(figures: dict[str, Any]) -> Figure:
    """The same weights, video, size and tracker."""
    names = {
        "ultralytics_fps": "Ultralytics track",
        "ultralytics_openvino_fps": "Ultralytics track,\nits OpenVINO export",
        "vigil_fps": "Vigil, eight streams",
    }
    drawing, axes = plt.subplots(figsize=(6.4, 2.2))
    colours = [OURS if key.startswith("vigil") else OTHERS for key in names]
    bars = axes.barh(list(names.values()), [figures[key] for key in names], color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.invert_yaxis()
    axes.set(xlabel="frames a second", xlim=(0, 1.15 * max(figures[key] for key in names)))
    return drawing


def latency(figures: dict[str, Any]) -> Figure:
    """From a frame's arrival to its result at a subscriber."""
    loads = figures["load"]
    drawing, axes = plt.subplots(figsize=(6.4, 2.8))
    for key, colour in (("p99_ms", OURS), ("p95_ms", "#4fa784"), ("p50_ms", "#a9d5c3")):
        values = [load[key] for load in loads.values()]
        axes.plot(list(loads), values, marker="o", color=colour, label=key.removesuffix("_ms"))
    axes.set(xlabel="offered load, in parts of the capacity", ylabel="milliseconds")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=3)
    return drawing


def main() -> None:
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "vigil"})
    for draw in (throughput, peers, latency):
        name = draw.__name__
        file = OUT / f"{name}.json"
        if not file.is_file():
            print(f"{name}: no figures yet: python -m benchmarks {name}")
            continue
        drawing = draw(json.loads(file.read_text()))
        target = ROOT / "docs" / f"benchmarks-{name}.svg"
        drawing.savefig(target, bbox_inches="tight", metadata={"Date": None})
        print(f"written to {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
