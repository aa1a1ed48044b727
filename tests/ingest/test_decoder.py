"""Which decoder reads a source, and what is said when it is not the one that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from av.codec.hwaccel import HWAccel

from inference.devices import nvidia_gpu
from ingest.config import SourceConfig
from ingest.errors import Reason, SourceError
from ingest.scene import Scene, encode
from ingest.sources import container, open_source
from ingest.sources.container import NO_GPU_DECODING
from ingest.sources.file import FileSource

TINY = Scene("tiny", "bus.jpg", 10, 1, 128, 96, 0.8)
without_gpu = pytest.mark.skipif(nvidia_gpu(), reason="there is a GPU")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scene") / "tiny.mp4"
    encode(TINY, path)
    return path


def read(path: Path, gpu: int | None = None, **settings: Any) -> tuple[Any, int]:
    with open_source(SourceConfig(url=str(path), **settings), gpu) as source:
        return source, sum(1 for _ in source.frames())


def test_without_a_gpu_in_the_detector_the_cpu_decodes_and_says_nothing(tiny: Path) -> None:
    source, frames = read(tiny)
    assert (source.decoder, source.fallback, frames) == ("cpu", None, 10)


def test_cpu_is_what_was_asked_for_whatever_the_detector_has(tiny: Path) -> None:
    source, frames = read(tiny, gpu=0, decoder="cpu")
    assert (source.decoder, source.fallback, frames) == ("cpu", None, 10)


@without_gpu
@pytest.mark.parametrize(("gpu", "decoder"), [(None, "nvdec"), (0, "nvdec"), (1, "auto")])
def test_without_a_driver_the_cpu_decodes_every_frame_and_says_why(tiny: Path, gpu: int | None, decoder: str) -> None:
    source, frames = read(tiny, gpu=gpu, decoder=decoder)
    assert (source.decoder, frames) == ("cpu", 10)
    assert f"FFmpeg cannot use GPU {gpu or 0}" in source.fallback
    assert source.description.endswith("10 fps cpu")


def test_a_codec_that_the_device_does_not_know_is_decoded_by_the_cpu(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # FFmpeg's H.264 decoder knows no Quick Sync, and says so as it does for a codec that NVDEC does not know.
    monkeypatch.setattr(container, "gpu_decoder", lambda gpu: (HWAccel("qsv", allow_software_fallback=True), None))
    source, frames = read(tiny, gpu=0)
    assert (source.decoder, source.fallback, frames) == ("cpu", NO_GPU_DECODING, 10)


@pytest.mark.parametrize(("decoder", "words"), [("vaapi", "no VAAPI"), ("qsv", "")])
def test_a_decoder_that_this_machine_lacks_hands_over_to_the_cpu_and_says_why(
    tiny: Path, decoder: str, words: str
) -> None:
    if Path("/dev/dri").exists():
        pytest.skip("there is a graphics device")
    source, frames = read(tiny, decoder=decoder)
    assert (source.decoder, frames) == ("cpu", 10)
    assert source.fallback and words in source.fallback
    assert source.description.endswith("10 fps cpu")


class Failing(FileSource):
    """A GPU's decoder that fails after so many frames, as far as it can be had from the CPU's."""

    def __init__(self, config: SourceConfig, after: int) -> None:
        super().__init__(config)
        self._after = after

    def __enter__(self) -> Failing:
        super().__enter__()
        self.decoder = "nvdec"
        return self

    def _decoded(self) -> Iterator[av.VideoFrame]:
        frames = super()._decoded()
        for _ in range(self._after):
            yield next(frames)
            self.decoder = "nvdec"  # it went over to the CPU, as the frame was not in the GPU's memory
        if self.decoder == "nvdec":
            raise SourceError(Reason.LOST, "the GPU is out of decoders")
        yield from frames


def test_a_gpu_that_fails_at_the_first_frame_hands_over_to_the_cpu(tiny: Path) -> None:
    with Failing(SourceConfig(url=str(tiny)), after=0) as source:
        assert len(list(source.frames())) == 10
        assert (source.decoder, source.fallback) == ("cpu", "the GPU is out of decoders")


def test_a_gpu_that_fails_later_ends_the_connection(tiny: Path) -> None:
    with Failing(SourceConfig(url=str(tiny)), after=3) as source:
        frames = source.frames()
        assert len([next(frames) for _ in range(3)]) == 3
        with pytest.raises(SourceError, match="out of decoders"):
            next(frames)


def test_a_decoder_that_went_over_to_the_cpu_by_itself_is_found_out(tiny: Path) -> None:
    with open_source(SourceConfig(url=str(tiny))) as source:
        source.decoder = "nvdec"
        assert len(list(source.frames())) == 10
        assert (source.decoder, source.fallback) == ("cpu", NO_GPU_DECODING)
