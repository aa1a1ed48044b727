"""The GPU's letterbox, on the CPU: PyTorch's way against OpenCV and FFmpeg, Triton's interpreter against PyTorch's."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange

from inference import preprocess_cuda
from inference.config import DetectorConfig
from inference.heads import load_head
from inference.input import InputSpec
from inference.letterbox import Letterbox
from inference.preprocess_cuda import Colors, DeviceLetterboxer, Samples, fit_by_torch
from inference.runtimes import load_runtime
from ingest.clock import Clock
from ingest.device_frame import DeviceFrame
from ingest.privacy import PrivacyMasks
from ingest.scene import photo_path
from ingest.shrink import BT601, BT709, BT2020, Shrinker

CPU = torch.device("cpu")
MEAN_LEVELS, P99_LEVELS = 1.5, 6.0


def photo(width: int, height: int, name: str = "bus.jpg") -> np.ndarray:
    picture = cv2.imread(str(photo_path(name)))
    assert picture is not None
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def decoded(picture: np.ndarray, space: int = BT601, full: bool = False, layout: str = "yuv420p") -> av.VideoFrame:
    """What the CPU's decoder would give for this picture."""
    image = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(
        format=layout, dst_colorspace=space, dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG
    )
    image.colorspace, image.color_range = space, ColorRange.JPEG if full else ColorRange.MPEG
    return image


def as_nvdec(image: av.VideoFrame) -> av.VideoFrame:
    """The same samples as a GPU's decoder lays them out: NV12, or P010 with the bits at the top."""
    deep = image.format.name == "yuv420p10le"
    target = av.VideoFrame(image.width, image.height, "p010le" if deep else "nv12")
    planes = [torch.from_dlpack(plane) for plane in image.planes]
    luma, chroma = (torch.from_dlpack(plane) for plane in target.planes)
    shift = (lambda plane: (plane.int() << 6).to(torch.uint16)) if deep else (lambda plane: plane)
    luma.copy_(shift(planes[0]))
    for part in (0, 1):
        chroma[..., part] = shift(planes[1 + part][: chroma.shape[0], : chroma.shape[1]])
    target.colorspace, target.color_range = image.colorspace, image.color_range
    return target


def frame_of(image: av.VideoFrame, masks: PrivacyMasks | None = None) -> DeviceFrame:
    return DeviceFrame("gate", 1, 0, 0, 0, 0, Clock.ARRIVAL, None, image, masks)


def fit_on_cpu(frame: DeviceFrame, letterbox: Letterbox, out: torch.Tensor) -> None:
    settings = {"colors": Colors.of(frame), "samples": Samples.of(letterbox, CPU), "letterbox": letterbox, "out": out}
    frame.shrink_on_device(partial(fit_by_torch, **settings), out, letterbox.place)


def on_device(image: av.VideoFrame, letterbox: Letterbox) -> np.ndarray:
    frame = frame_of(as_nvdec(image))
    out = torch.full((letterbox.height, letterbox.width, 3), 7, dtype=torch.uint8)
    fit_on_cpu(frame, letterbox, out)
    return out.numpy()


def on_host(image: av.VideoFrame, letterbox: Letterbox) -> np.ndarray:
    slot = np.empty((letterbox.height, letterbox.width, 3), np.uint8)
    Shrinker().shrink(image, slot, letterbox.place)
    letterbox.pad(slot)
    return slot


def distance(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    levels = np.abs(ours.astype(np.int16) - theirs)
    return float(levels.mean()), float(np.percentile(levels, 99))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("space", [BT601, BT709, BT2020])
@pytest.mark.parametrize("size", [(960, 540), (700, 394), (320, 240)])
def test_pictures_are_those_of_the_cpu(size: tuple[int, int], space: int, full: bool) -> None:
    image = decoded(photo(*size), space, full)
    letterbox = Letterbox.fit(*size, 320)
    mean, p99 = distance(on_device(image, letterbox), on_host(image, letterbox))
    assert (mean <= MEAN_LEVELS, p99 <= P99_LEVELS) == (True, True), (mean, p99)


def test_an_odd_multiple_is_bit_for_bit_the_cpus() -> None:
    image = decoded(photo(960, 540), BT709)
    letterbox = Letterbox.fit(960, 540, 320)
    np.testing.assert_array_equal(on_device(image, letterbox), on_host(image, letterbox))


def test_ten_bits_are_those_of_the_cpu() -> None:
    image = decoded(photo(700, 394), BT2020, layout="yuv420p10le")
    letterbox = Letterbox.fit(700, 394, 320)
    mean, p99 = distance(on_device(image, letterbox), on_host(image, letterbox))
    assert (mean <= MEAN_LEVELS, p99 <= P99_LEVELS) == (True, True), (mean, p99)


@pytest.mark.parametrize("fit", ["center", "top_left", "stretch"])
def test_every_fit_is_placed_and_padded_as_on_the_cpu(fit: str) -> None:
    image = decoded(photo(400, 300))
    letterbox = Letterbox.fit(400, 300, 320, InputSpec(fit=fit, fixed=(320, 320)))  # type: ignore[arg-type]
    mean, p99 = distance(on_device(image, letterbox), on_host(image, letterbox))
    assert (mean <= MEAN_LEVELS, p99 <= P99_LEVELS) == (True, True), (mean, p99)


def test_small_pictures_are_enlarged_and_odd_sizes_stay_within_the_chroma() -> None:
    image = decoded(photo(97, 61))
    letterbox = Letterbox.fit(97, 61, 160)
    mean, _ = distance(on_device(image, letterbox), on_host(image, letterbox))
    assert mean <= 2 * MEAN_LEVELS  # the last odd line and column have no chroma of their own in NV12


def test_a_wrong_colour_matrix_would_be_noticed() -> None:
    picture = np.zeros((394, 700, 3), np.uint8)
    picture[:, :350, 2] = picture[:, 350:, 1] = 200
    image = decoded(picture, BT709)
    letterbox = Letterbox.fit(700, 394, 320)
    host = on_host(image, letterbox)
    image.colorspace = BT601
    assert distance(on_device(image, letterbox), host)[0] > MEAN_LEVELS


def test_detections_are_those_of_the_cpu(data: Path) -> None:
    weights = data / "weights" / "yolov8n.pt"
    runtime = load_runtime(weights, DetectorConfig(runtime="torch", device="cpu", precision="fp32"))
    head = load_head(runtime.info, 0.25, 0.7, None, 300)
    for video in ("pedestrian-crowd.avi", "PETS09-S2L1.mp4"):
        with av.open(str(data / "videos" / video)) as container:
            image = next(container.decode(video=0))
        letterbox = Letterbox.fit(image.width, image.height, 640)
        ours, theirs = (
            head.decode([runtime.infer([slot])[0][0]], letterbox.height, letterbox.width).rows
            for slot in (on_device(image, letterbox), on_host(image, letterbox))
        )
        assert len(ours) == len(theirs) >= 6
        np.testing.assert_allclose(ours[:, :4], theirs[:, :4], atol=1)
        np.testing.assert_allclose(ours[:, 4], theirs[:, 4], atol=0.02)


def test_where_the_kernel_cannot_run_pytorch_does_the_same() -> None:
    assert preprocess_cuda._kernel(CPU) is fit_by_torch


class Cuda:
    """What `DeviceLetterboxer` asks of CUDA, in the order it does: a stream, an event or a context."""

    asked: list[str] = []  # noqa: RUF012 - one list for all of them

    def __init__(self, *_: object, **options: object) -> None:
        assert options in ({}, {"blocking": True})

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> object:
        return lambda *_: self.asked.append(name)


def test_a_slot_is_complete_before_the_letterboxer_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(*arguments: object) -> None:
        Cuda.asked.append("kernel")
        fit_by_torch(*arguments)  # type: ignore[arg-type]

    for name in ("Stream", "Event", "device", "stream", "default_stream"):
        monkeypatch.setattr(torch.cuda, name, Cuda)
    monkeypatch.setattr(preprocess_cuda, "_kernel", lambda device: fit)
    image = decoded(photo(96, 54), BT709)
    letterbox = Letterbox.fit(96, 54, 64)
    letterboxer = DeviceLetterboxer(CPU)
    out = torch.zeros((letterbox.height, letterbox.width, 3), dtype=torch.uint8)
    for _ in range(2):
        Cuda.asked.clear()
        letterboxer.apply(frame_of(as_nvdec(image)), letterbox, out)
        assert Cuda.asked == ["wait_stream", "kernel", "record", "synchronize"]
    assert distance(out.numpy(), on_host(image, letterbox))[0] <= MEAN_LEVELS


INTERPRETED = """
import sys, numpy as np, torch
from inference.letterbox import Letterbox
from inference.preprocess_cuda import Colors, Samples, fit_by_torch
from inference.preprocess_kernel import fit_by_triton
rng = np.random.default_rng(0)
colors = Colors(128, 9539, 14686, -1747, -4366, 17305)
for (width, height), letterbox in {
    (30, 14): Letterbox((30, 14), (40, 5), 3, 1, 48, 8),
    (150, 90): Letterbox((150, 90), (140, 6), 0, 0, 160, 6),
}.items():
    for dtype, top in ((np.uint8, 256), (np.uint16, 65536)):
        pitch = width + 26
        luma = torch.from_numpy(rng.integers(0, top, (height, pitch)).astype(dtype))[:, :width]
        chroma = torch.from_numpy(rng.integers(0, top, (height // 2, pitch // 2, 2)).astype(dtype))[:, : width // 2]
        samples = Samples.of(letterbox, torch.device(sys.argv[1]))
        outs = [torch.full((letterbox.height, letterbox.width, 3), 7, dtype=torch.uint8, device=sys.argv[1])
                for _ in range(2)]
        luma, chroma = luma.to(sys.argv[1]), chroma.to(sys.argv[1])
        fit_by_torch(luma, chroma, colors, samples, letterbox, outs[0])
        fit_by_triton(luma, chroma, colors, samples, letterbox, outs[1])
        assert torch.equal(*outs), (width, height, dtype, (outs[0].int() - outs[1].int()).abs().max())
        assert outs[0].unique().numel() > 50
print("equal")
"""


def compare(device: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", INTERPRETED, device], env=os.environ | environment, capture_output=True, text=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_the_kernel_computes_the_same_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    ran = compare("cpu", {"TRITON_INTERPRET": "1"})
    assert ran.stdout.strip() == "equal", ran.stderr[-3000:]


@pytest.mark.parametrize("samples", ["*u8", "*u16"])
def test_the_kernel_compiles_for_gpus_from_turing_to_hopper(samples: str) -> None:
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from inference.preprocess_kernel import _fit

    pointers = {"luma": samples, "chroma": samples, "columns": "*i32", "rows": "*i32", "out": "*u8"}
    fixed = {"deep": samples == "*u16", "pad": 114, "bits": 11, "block": 128}
    signature = {name: "constexpr" if name in fixed else pointers.get(name, "i32") for name in _fit.arg_names}
    for capability in (75, 90):
        source = ASTSource(fn=_fit, signature=signature, constexprs=fixed)
        assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@needs_gpu
def test_the_kernel_computes_the_same_on_the_gpu() -> None:
    ran = compare("cuda", {})
    assert ran.stdout.strip() == "equal", ran.stderr[-3000:]


@needs_gpu
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_frames_decoded_by_the_gpu_are_those_of_the_cpu(codec: str, tmp_path: Path) -> None:
    from ingest.config import SourceConfig
    from ingest.sources import open_source

    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options={"bf": "0", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 960, 540, "yuv420p"
        for index in range(5):
            image = av.VideoFrame.from_ndarray(np.roll(photo(960, 540), 8 * index, axis=1), format="bgr24")
            container.mux(stream.encode(image.reformat(format="yuv420p")))
        container.mux(stream.encode())
    letterbox = Letterbox.fit(960, 540, 320)
    device = torch.device("cuda:0")
    letterboxer = DeviceLetterboxer(device)
    with open_source(SourceConfig(url=str(path)), gpu=0) as source, open_source(SourceConfig(url=str(path))) as cpu:
        pairs = 0
        for ours, theirs in zip(source.frames(), cpu.frames(), strict=True):
            out = torch.empty((letterbox.height, letterbox.width, 3), dtype=torch.uint8, device=device)
            letterboxer.apply(frame_of(ours), letterbox, out)
            mean, p99 = distance(out.cpu().numpy(), on_host(theirs, letterbox))
            assert (mean <= MEAN_LEVELS, p99 <= P99_LEVELS) == (True, True), (mean, p99)
            pairs += 1
        assert (pairs, source.decoder, source.fallback) == (5, "nvdec", None)
