"""The best views of tracks that are still there, as JPEGs: what will be shown of them when they have ended."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class View:
    """JPEGs of a track in one frame; None where that picture is not wanted."""

    crop: bytes | None
    frame: bytes | None


class Views:
    """Of one stream; touched in the darkroom's thread alone.

    Tracks that were seen best in one frame share its picture; it counts for each of them, so that the bound holds.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._views: OrderedDict[str, View] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._views)

    def keep(self, track_uid: str, view: View) -> int:
        """Keeps a view in place of the one before; returns how many others had to go, those kept longest."""
        self.take(track_uid)
        self._views[track_uid] = view
        self.bytes += _size(view)
        gone = 0
        while self.bytes > self._most_bytes and self._views:
            _, old = self._views.popitem(last=False)
            self.bytes -= _size(old)
            gone += 1
        return gone

    def get(self, track_uid: str) -> View | None:
        return self._views.get(track_uid)

    def take(self, track_uid: str) -> View | None:
        """The view, which is then no longer kept."""
        view = self._views.pop(track_uid, None)
        if view is not None:
            self.bytes -= _size(view)
        return view


def _size(view: View) -> int:
    return len(view.crop or b"") + len(view.frame or b"")
