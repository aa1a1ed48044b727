"""What is short: detectors, processes, GPUs, disks."""

from __future__ import annotations

from asking import here, quantile, rate, sited
from limits import steps
from panels import Query, columns, lines, table

STAGE = "vigil_stage_seconds"
SHARE = {"unit": "percentunit", "most": 1.0}
PROCESS = "{{site}}: {{process}}"


def of_each(metric: str) -> str:
    """Told of each process, as `PROCESS` names them."""
    return sited(here(metric))


DETECTORS = lines(
    "Detectors",
    "Share of time in which each detector infers. At 1 it is what is short: more would be dropped.",
    Query(of_each("vigil:detector_busy:ratio_rate2m"), PROCESS),
    steps=steps("VigilDetectorSaturated", 0.8),
    **SHARE,
)

CPU = lines(
    "CPU",
    "Cores that each process uses.",
    Query(sited(rate(here("vigil_process_cpu_seconds_total"), "instance, process")), PROCESS),
    stacked=True,
)

STAGES = lines(
    "Time in stages, p95",
    "Of twenty frames, the slowest one's time in each stage; decode and letterbox are the worker's, wait, infer and "
    "post the detector's.",
    Query(quantile(0.95, STAGE, "stage"), "{{stage}}"),
    unit="s",
)

STAGES_IN_ALL = lines(
    "Time in stages, all",
    "Seconds a second that all frames spend in each stage.",
    Query(rate(here(f"{STAGE}_sum"), "stage"), "{{stage}}"),
    stacked=True,
)

BATCHES = lines(
    "Frames in an inference",
    "Mean size of a batch.",
    Query(
        sited(f"{rate(here('vigil_batch_size_sum'), 'instance')} / {rate(here('vigil_batch_size_count'), 'instance')}"),
        "{{site}}",
    ),
    width=8,
)

MEMORY = lines(
    "Memory",
    "Resident memory of each process; what they share counts for each.",
    Query(of_each("vigil_process_resident_bytes"), PROCESS),
    unit="bytes",
    width=8,
)

FILES = lines(
    "Open files",
    "File descriptors of each process: they should not grow.",
    Query(of_each("vigil_process_open_fds"), PROCESS),
    width=8,
)

GPU = "{{site}}: {{gpu}}"

GPUS = lines(
    "GPU",
    "Share of time in which it computes, decodes and encodes.",
    Query(of_each("vigil_gpu_busy_ratio"), f"{GPU} computes"),
    Query(of_each("vigil_gpu_decoder_busy_ratio"), f"{GPU} decodes"),
    Query(of_each("vigil_gpu_encoder_busy_ratio"), f"{GPU} encodes"),
    steps=steps("VigilGpuSaturated", 0.8),
    width=6,
    **SHARE,
)

GPU_MEMORY = lines(
    "GPU memory",
    "In use by all programs, of what it has.",
    Query(sited(f"{here('vigil_gpu_memory_used_bytes')} / {here('vigil_gpu_memory_bytes')}"), GPU),
    steps=steps("VigilGpuMemoryFull", 0.8),
    width=6,
    **SHARE,
)

GPU_HEAT = lines(
    "GPU temperature",
    "Beside it is whether it slows down for its heat.",
    Query(of_each("vigil_gpu_temperature_celsius"), GPU),
    unit="celsius",
    width=6,
)

GPU_SLOWED = lines(
    "GPU slowed down",
    "1 for each reason for which it holds its clocks back; `power_cap` is as it was set.",
    Query(of_each("vigil_gpu_throttled"), f"{GPU} {{{{reason}}}}"),
    most=1.0,
    width=6,
)

DISKS = lines(
    "Free disk",
    "Share of each folder's disk that is free.",
    Query(sited(f"{here('vigil_disk_free_bytes')} / {here('vigil_disk_size_bytes')}"), "{{site}}: {{folder}}"),
    steps=steps("VigilDiskLow", 0.15),
    width=8,
    **SHARE,
)

RESTARTS = lines(
    "Restarts",
    "Processes that ended unasked, in 15 minutes.",
    Query(sited(f"increase({here('vigil_process_restarts_total')}[15m])"), "{{site}}: {{kind}}"),
    steps=steps("VigilRestarting"),
    width=8,
)

FAILED = lines(
    "Inferences that failed",
    "In five minutes.",
    Query(sited(f"increase({here('vigil_inference_errors_total')}[5m])"), "{{site}}"),
    width=8,
)

SCRAPES = lines(
    "Being scraped",
    "Seconds that Prometheus takes to get the metrics.",
    Query(here("scrape_duration_seconds", 'job="vigil"'), "{{instance}}"),
    unit="s",
    width=8,
)

LOADED = table(
    "Models and versions",
    "What is loaded and runs.",
    [Query(of_each("vigil_model_info"), now=True), Query(of_each("vigil_build_info"), now=True)],
    columns(
        {"site": "site", "version": "Vigil", "python": "Python", "name": "model", "hash": "hash", "runtime": "runtime"},
        hidden=("instance", "Value #A", "Value #B"),
    ),
    height=6,
)
