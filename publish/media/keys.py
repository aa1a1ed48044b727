"""The names of pictures and clips: `<stream>/<yyyy-mm-dd>/<event id>.jpg`, the day in UTC."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from ingest.errors import VigilError

CONTENT_TYPES: Final = {"jpg": "image/jpeg", "mp4": "video/mp4", "mkv": "video/x-matroska"}
# No part of a key begins with a dot, so none leads out of a folder, and what is being written has no key.
_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}/\d{4}-\d\d-\d\d/[a-z0-9][a-z0-9._-]{0,250}\.(jpg|mp4|mkv)")


class MediaKeyError(VigilError):
    """What was asked for cannot be the name of a picture or clip."""

    code = "media.key"


def snapshot_key(stream: str, at: datetime, event_id: str) -> str:
    return f"{stream}/{at:%Y-%m-%d}/{event_id}.jpg"


def crop_key(stream: str, at: datetime, event_id: str) -> str:
    return f"{stream}/{at:%Y-%m-%d}/{event_id}-crop.jpg"


def clip_key(stream: str, at: datetime, event_id: str, ending: str) -> str:
    """`ending` is `mp4` or `mkv`."""
    return f"{stream}/{at:%Y-%m-%d}/{event_id}.{ending}"


def is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def checked(key: str) -> str:
    """The key itself.

    Raises:
        MediaKeyError: it is none.
    """
    if not is_key(key):
        raise MediaKeyError("not a key: keys are <stream>/<yyyy-mm-dd>/<name>.jpg, .mp4 or .mkv, as events tell them")
    return key


def content_type(key: str) -> str:
    return CONTENT_TYPES[key.rsplit(".", 1)[1]]
