"""Sources, by URL scheme: one file each, loaded when first used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import av

    from ingest.activity import Calls
    from ingest.config import SourceConfig
    from ingest.sources.packets import PacketCounts

SCHEMES = {
    "file": "ingest.sources.file:FileSource",
    "rtsp": "ingest.sources.rtsp:RtspSource",
    "rtsps": "ingest.sources.rtsp:RtspSource",
    "rtmp": "ingest.sources.rtmp:RtmpSource",
    "rtmps": "ingest.sources.rtmp:RtmpSource",
    "http": "ingest.sources.http:HttpSource",
    "https": "ingest.sources.http:HttpSource",
    "udp": "ingest.sources.udp:UdpSource",
    "srt": "ingest.sources.srt:SrtSource",
    "v4l2": "ingest.sources.v4l2:V4l2Source",
    "scene": "ingest.sources.scene:SceneSource",
    "whip": "ingest.sources.whip:WhipSource",
}
FOLDER = "ingest.sources.folder:FolderSource"


class Source(Protocol):
    """How a stream's bytes arrive. A context manager: entering connects, leaving closes.

    Blocking calls end within the config's `connect_timeout` and `read_timeout`. Failures are `SourceError`s.

    One whose camera tells its own time has an attribute `reports` too, of type `ingest.rtcp.SenderReports`.
    """

    frame_rate: float | None
    """Nominal frames per second, where the source says."""
    decode_s: float
    """Seconds that decoding the latest packet took."""
    description: str
    """Codec, size and rate, for people."""
    decoder: str
    """What decodes: `cpu`, `nvdec`, `vaapi` or `qsv`; certain once there was a frame."""
    fallback: str | None
    """Why the CPU decodes where the GPU was to."""
    packets: PacketCounts
    """What became of the packets so far."""

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decoded frames in presentation order; ends where the source ends."""
        ...


def open_source(
    config: SourceConfig, gpu: int | None = None, calls: Calls | None = None
) -> AbstractContextManager[Source]:
    """The source that `config.url` names; it connects on entering.

    `gpu` is the number of the GPU that wants the frames, if one does: sources that decode through FFmpeg may then
    yield frames in its memory. They tell `calls` of the calls that may hang.
    """
    module, name = (FOLDER if config.is_folder else SCHEMES[config.scheme]).split(":")
    source: AbstractContextManager[Source] = getattr(import_module(module), name)(config)
    if gpu is not None and hasattr(source, "gpu"):
        source.gpu = gpu
    if calls is not None and hasattr(source, "calls"):
        source.calls = calls
    return source
