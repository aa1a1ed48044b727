"""What `vigil replay` writes about a recording as text: tracks as MOT text, and messages as JSON Lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vigil.recording import Seen

Write = Callable[[Seen], None]
"""Takes every frame of one recording, in order; raises OSError when it cannot be written."""


def part_of(path: Path) -> Path:
    """Where a file is until it is whole."""
    return path.with_name(f"{path.name}.part")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Where to write what is to be at `path` when it is whole; after an error nothing is."""
    part = part_of(path)
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def mot_text(path: Path) -> Iterator[Write]:
    """MOTChallenge's format, a line for each track in each frame: `frame,id,left,top,width,height,conf,class,-1`.

    Frames count from 1, boxes are the tracker's, in pixels; `class` is the model's class id.
    """
    with appearing(path) as part, part.open("w") as file:

        def write(seen: Seen) -> None:
            if seen.tracks is None:
                return
            tracks = seen.tracks
            columns = (tracks.track_ids, tracks.boxes.tolist(), tracks.scores, tracks.class_ids)
            for track, (x1, y1, x2, y2), score, kind in zip(*columns, strict=True):
                box = f"{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f}"
                file.write(f"{seen.frame.seq + 1},{track},{box},{score:.4f},{kind},-1\n")

        yield write


@contextmanager
def frame_lines(path: Path) -> Iterator[Write]:
    """A line for each analysed frame: the message on `<prefix>.frames.<stream>`."""
    with appearing(path) as part, part.open("w") as file:

        def write(seen: Seen) -> None:
            if seen.result is not None:
                file.write(seen.result.model_dump_json() + "\n")

        yield write


@contextmanager
def event_lines(path: Path) -> Iterator[Write]:
    """A line for each event: the message on `<prefix>.events.<stream>.<type>`."""
    with appearing(path) as part, part.open("w") as file:

        def write(seen: Seen) -> None:
            file.writelines(event.model_dump_json() + "\n" for event in seen.events)

        yield write
