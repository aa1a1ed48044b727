"""The root of Vigil's errors, and what can go wrong with a source."""

from __future__ import annotations

from enum import StrEnum


class VigilError(Exception):
    """An expected failure: `code` is stable and for programs, the message tells a person what, where and what to do."""

    code = "vigil.error"


class Reason(StrEnum):
    """Why a connection ended or could not be made."""

    AUTH = "auth"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    TIMEOUT = "timeout"
    NO_VIDEO = "no_video"
    CORRUPT = "corrupt"
    LOST = "lost"


class SourceError(VigilError):
    """A source could not be opened or broke; `reason` says why, `detail` holds FFmpeg's words with secrets removed."""

    code = "source.failed"

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value.replace('_', ' ')}: {detail}")
        self.reason = reason
        self.detail = detail
