"""`vigil replay`: recordings analysed one by one or side by side, what is written about them, and what came of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ingest.clock import NS
from ingest.errors import SourceError, VigilError
from tracking.events import EventType
from vigil.audit import Audit, Audited
from vigil.document import ConfigError, Problem
from vigil.load import load
from vigil.recording import Analyst, Recording, Settings, only_stream
from vigil.replay_files import Write, event_lines, frame_lines, mot_text

TELL_S = 0.1

MOT, FRAMES, EVENTS, VIDEO = ".txt", ".frames.jsonl", ".events.jsonl", ".annotated.mp4"

TEXTS = {MOT: mot_text, FRAMES: frame_lines, EVENTS: event_lines}

Tell = Callable[[int, int | None], None]
"""Hears now and then how many frames of a recording are done, and of how many, if that is known."""
TellOf = Callable[[Path, int, int | None], None]
"""As `Tell`, of several recordings; from several threads."""


class NotWrittenError(VigilError):
    """There is no room for the results, or no permission to write them."""

    code = "replay.not_written"


class Request(BaseModel):
    """What the user wants of every recording."""

    model_config = ConfigDict(frozen=True)

    config: Path | None = None
    stream: str | None = None
    model: str | None = None
    out: Path = Path()
    mot: bool = False
    jsonl: bool = False
    video: bool = False
    audit: bool = False

    def settings(self) -> Settings:
        """
        Raises:
            ConfigError: the config cannot be used, or has no such stream.
        """
        if self.config is None:
            return Settings.default(self.model)
        config = load(self.config)
        stream = only_stream(config, self.config, self.stream)
        if self.audit and config.streams[stream].attention.mode == "off":
            message, mend = "misses nothing: there is nothing to audit", "set motion or adaptive"
            place = f"streams.{stream}.attention"
            raise ConfigError(str(self.config), [Problem("config.conflict", place, None, "off", message, mend)])
        return Settings.of(config, stream, self.model)

    def targets(self, file: Path) -> dict[str, Path]:
        """What is written about a recording, by ending."""
        endings = [MOT] * self.mot + [FRAMES, EVENTS] * self.jsonl + [VIDEO] * self.video
        return {ending: self.out / f"{file.resolve().stem}{ending}" for ending in endings}


def check_targets(request: Request, files: Sequence[Path]) -> None:
    """
    Raises:
        ValueError: two recordings would be written to one file, or a recording be overwritten.
    """
    taken = {file.resolve(): f"{file} itself" for file in files}
    for file in files:
        for target in request.targets(file).values():
            other = taken.get(target.resolve())
            if other is not None:
                raise ValueError(f"what is seen in {file} would be written to {target}, which is {other}")
            taken[target.resolve()] = f"for what is seen in {file}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one recording.

    Attributes:
        frames: decoded; `analysed` of them, the others left out by the stream's `fps`.
        media_s: seconds of media time from the first to the last frame.
        seconds: how long it took.
        events: by type.
        written: the files.
        audit: what `attention` would have missed, when that was asked.
        error, code: why it failed, if it did; what is written is then about the frames before that.
    """

    file: str
    frames: int
    analysed: int
    media_s: float
    seconds: float
    events: dict[str, int] = field(default_factory=dict)
    written: list[str] = field(default_factory=list)
    audit: dict[str, Any] | None = None
    error: str | None = None
    code: str | None = None

    @property
    def fps(self) -> float:
        """Frames in a second of time spent."""
        return round(self.frames / self.seconds, 1) if self.seconds else 0.0

    @property
    def tracks(self) -> int:
        return self.events.get(EventType.TRACK_STARTED, 0)


def run(request: Request, files: Sequence[Path], jobs: int, tell: TellOf) -> list[Outcome]:
    """Analyses recordings, up to `jobs` of them at once; the outcomes are in the order of `files`.

    Raises:
        VigilError: the config cannot be used, or the model not be loaded.
    """
    settings = request.settings()
    if min(jobs, len(files)) > 1:
        from vigil.replay_jobs import side_by_side

        return side_by_side(request, files, jobs, tell)
    analyst = Analyst.load(settings)
    return [replay(file, analyst, request, partial(tell, file)) for file in files]


def replay(file: Path, analyst: Analyst, request: Request, tell: Tell) -> Outcome:
    """Analyses a recording and writes what is wanted. A failure is in the outcome: there may be others to do."""
    began = told_at = time.monotonic()
    frames = analysed = last_ns = 0
    events: Counter[str] = Counter()
    failure: VigilError | None = None
    audited: Audited | None = None
    written: list[Path] = []
    try:
        with analyst.open(file) as recording:
            first = next(recording.frames)  # what cannot be read at all leaves no files
            audit = _audit(request, file, recording, analyst)
            with ExitStack() as stack:
                writes = [stack.enter_context(one) for one in _outputs(request, file, recording, analyst)]
                try:
                    for seen in chain([first], recording.frames):
                        for write in writes:
                            write(seen)
                        frames, analysed, last_ns = frames + 1, analysed + (seen.tracks is not None), seen.frame.pts_ns
                        events.update(event.type.value for event in seen.events)
                        if audit is not None:
                            audit.take(seen)
                        if time.monotonic() - told_at >= TELL_S:
                            told_at = time.monotonic()
                            tell(frames, recording.length)
                except SourceError as error:  # what came before it is kept
                    failure = error
        audited = audit.finish() if audit is not None else None
        written = list(request.targets(file).values())
    except VigilError as error:
        failure = error
    except OSError as error:
        failure = NotWrittenError(f"the results cannot be written: {error}")
    tell(frames, frames)
    return Outcome(
        str(file), frames, analysed, last_ns / NS, time.monotonic() - began, dict(sorted(events.items())),
        [str(target) for target in written], asdict(audited) if audited else None,
        str(failure) if failure else None, failure.code if failure else None,
    )  # fmt: skip


def _audit(request: Request, file: Path, recording: Recording, analyst: Analyst) -> Audit | None:
    if not request.audit:
        return None
    settings = analyst.settings
    return Audit(settings, settings.stream_of(file), analyst.model, recording.analysed_rate)


def _outputs(
    request: Request, file: Path, recording: Recording, analyst: Analyst
) -> Iterator[AbstractContextManager[Write]]:
    for ending, target in request.targets(file).items():
        if ending == VIDEO:
            from vigil.replay_video import annotated_video  # slow to import

            yield annotated_video(target, recording.frame_rate, analyst.settings.source, analyst.model.names)
        else:
            yield TEXTS[ending](target)
