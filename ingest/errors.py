"""The root of Vigil's errors, and what can go wrong with a source."""

from __future__ import annotations

from enum import StrEnum


class VigilError(Exception):
    """An expected failure: `code` is stable and for programs, the message tells a person what, where and what to do."""

    code = "vigil.error"


class Reason(StrEnum):
    """Why a connection ended or could not be made.

    Attributes:
        AUTH: the login is missing, wrong or not enough.
        REFUSED: something is there and does not want us: no server on the port, another transport, another protocol.
        UNREACHABLE: no way there: an unknown host name, no route.
        NOT_FOUND: the server or the disk has no such thing.
        TLS: the encrypted connection could not be made; mostly a certificate that nobody vouches for.
        TIMEOUT: no answer, or nothing more, within the time-out.
        NO_VIDEO: connected, and there is no video in it, or none that became a picture in time.
        CODEC: there is no decoder for its video.
        CORRUPT: what arrives cannot be read.
        STALLED: connected, but no new pictures: packets that become none, or timestamps that stand still.
        FROZEN: the same picture over and over.
        CHANGED: the video became another one; the next connection finds out which.
        LOST: the other side ended it.
    """

    AUTH = "auth"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    NOT_FOUND = "not_found"
    TLS = "tls"
    TIMEOUT = "timeout"
    NO_VIDEO = "no_video"
    CODEC = "codec"
    CORRUPT = "corrupt"
    STALLED = "stalled"
    FROZEN = "frozen"
    CHANGED = "changed"
    LOST = "lost"


class SourceError(VigilError):
    """A source could not be opened or broke; `reason` says why, `detail` holds FFmpeg's words with secrets removed."""

    code = "source.failed"

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value.replace('_', ' ')}: {detail}")
        self.reason = reason
        self.detail = detail
