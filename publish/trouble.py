"""What keeps messages from NATS, by name: each told once when it begins and once when it is over."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import nats.errors
import structlog
from nats.js.errors import Error as JetStreamError

from ingest.errors import VigilError
from ingest.redact import redact
from publish.login import LoginError

log = structlog.get_logger()

# What nats-py raises when something cannot be done now: the server is away, slow, or says no.
FAILURES = (nats.errors.Error, JetStreamError, OSError, TimeoutError)

# Servers tell only what they refuse: what was not refused again for so long counts as allowed.
REFUSAL_LASTS_S = 60.0
# Subjects have streams' names in them; troubles beyond these are counted in the last one's kind only.
MOST_TROUBLES = 32


class Code(StrEnum):
    """The names of troubles.

    Attributes:
        UNREACHABLE: no server answers.
        AUTH: it does not know our login, or no longer.
        TLS: no connection that is secured as configured.
        LOGIN: a file that it takes to log in is missing or wrong.
        REFUSED: the server ends the connection for another reason, in its words.
        PERMISSION: our login may not use a subject.
        NO_JETSTREAM: the server, or our account there, has no JetStream.
        NO_ANSWER: JetStream does not answer, or not yet.
        STREAM_DIFFERS: a stream is there, with other settings than ours.
        STREAM_REFUSED: a stream cannot be made as configured.
        SUBJECTS_TAKEN: another stream has our subjects.
        OUTBOX_DISK_FULL: the disk has no room for the outbox; events wait in memory.
        OUTBOX_UNWRITABLE: the outbox cannot be written for another reason; they wait as well.
        OUTBOX_FULL: more waits for NATS than is allowed, or for longer; the oldest events are dropped.
    """

    UNREACHABLE = "nats.unreachable"
    AUTH = "nats.auth"
    TLS = "nats.tls"
    LOGIN = "nats.login"
    REFUSED = "nats.refused"
    PERMISSION = "nats.permission"
    NO_JETSTREAM = "nats.no_jetstream"
    NO_ANSWER = "nats.no_answer"
    STREAM_DIFFERS = "nats.stream_differs"
    STREAM_REFUSED = "nats.stream_refused"
    SUBJECTS_TAKEN = "nats.subjects_taken"
    OUTBOX_DISK_FULL = "outbox.disk_full"
    OUTBOX_UNWRITABLE = "outbox.unwritable"
    OUTBOX_FULL = "outbox.full"


@dataclass(frozen=True, slots=True)
class Trouble:
    """`about` is the subject or stream, if it is about one; `message` and `mend` hold no credentials."""

    code: Code
    message: str
    mend: str
    about: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.mend}"


class NatsError(VigilError):
    """What was to be done with NATS cannot be: the code is the trouble's."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble
        self.code = trouble.code.value


class Troubles:
    """Those there are now. Lives in one asyncio loop."""

    def __init__(self, tell: Callable[[str, int], object] = lambda code, count: None) -> None:
        """`tell` hears how many troubles of each code there are, now and whenever that changes."""
        for code in Code:
            tell(code.value, 0)
        self._tell = tell
        self._now: dict[tuple[Code, str], tuple[Trouble, datetime]] = {}
        self._last_refused_s: dict[tuple[Code, str], float] = {}  # of those that end by not coming again

    def begin(self, trouble: Trouble, lasting: bool = True, quietly: bool = False) -> None:
        """Tells it, unless it is there already. One that is not `lasting` is over when it has not come for a while;
        one that comes `quietly` has been told before."""
        key = trouble.code, trouble.about
        if not lasting:
            self._last_refused_s[key] = time.monotonic()
        known = self._now.get(key)
        if known is None and len(self._now) >= MOST_TROUBLES:
            return
        if known is None or (lasting and known[0].message != trouble.message):
            self._now[key] = trouble, datetime.now(UTC)
            self._count(trouble.code)
            if quietly:
                return
            fields = {"about": trouble.about} if trouble.about else {}
            log.warning(trouble.message, code=trouble.code.value, mend=trouble.mend, **fields)

    def over(self, *codes: Code, about: str | None = None) -> None:
        """They are no more: those of these codes, or of them the one that is about this."""
        for key in [key for key in self._now if key[0] in codes and about in (None, key[1])]:
            trouble, since = self._now.pop(key)
            self._last_refused_s.pop(key, None)
            self._count(trouble.code)
            fields = {"about": trouble.about} if trouble.about else {}
            lasted_s = round((datetime.now(UTC) - since).total_seconds(), 1)
            log.info("trouble is over", code=trouble.code.value, lasted_s=lasted_s, **fields)

    def drop(self, *codes: Code) -> None:
        """Nothing is known of these any more."""
        for key in [key for key in self._now if key[0] in codes]:
            del self._now[key]
            self._last_refused_s.pop(key, None)
            self._count(key[0])

    def forget_old(self, now_s: float) -> None:
        """Ends those that have not come again; called every now and then. `now_s` is monotonic."""
        for (code, about), last_s in list(self._last_refused_s.items()):
            if now_s - last_s > REFUSAL_LASTS_S:
                self.over(code, about=about)

    def now(self) -> list[Trouble]:
        """What is wrong at present, worst first: without a connection the rest does not matter."""
        order = list(Code)
        return sorted((trouble for trouble, _ in self._now.values()), key=lambda one: order.index(one.code))

    def told(self) -> list[dict[str, Any]]:
        """The same as JSON's values."""
        return [
            {"code": one.code.value, "message": one.message, "mend": one.mend, "about": one.about or None}
            for one in self.now()
        ]

    def _count(self, code: Code) -> None:
        self._tell(code.value, sum(key[0] is code for key in self._now))


# -- nats-py's errors

_NO_PERMISSION = re.compile(r'permissions violation for (?P<what>publish|subscription) to "(?P<subject>[^"]+)"')
_AUTH_WORDS = ("authorization", "authentication", "nkey", "user jwt")


def is_vague(error: Exception) -> bool:
    """Whether it may be what is left of another error: a server that refuses somebody hangs up as well."""
    if isinstance(error, ConnectionResetError | BrokenPipeError | nats.errors.UnexpectedEOF):
        return True
    return "empty response" in str(error)


def of_connecting(error: Exception, url: str, secured: bool = False) -> Trouble:
    """Why there is no connection to this server (or these), which was to be secured or not."""
    where = redact(url)
    words = redact(str(error)).removeprefix("nats: ").strip("'") or type(error).__name__
    match error:
        case LoginError():
            return Trouble(Code.LOGIN, f"nats.{error.setting}: {error.message}", error.mend, str(error.file))
        case nats.errors.SecureConnWantedError():
            message = f"NATS at {where} offers no TLS, and nothing is sent to it without"
            return Trouble(Code.TLS, message, "turn TLS on there, or use nats:// and no `nats.tls`")
        case ssl.SSLError():
            message = f"no secured connection to NATS at {where}: {_of_tls(error)}"
            return Trouble(Code.TLS, message, "see `nats.tls`: `ca`, `host_name`, `certificate`, `first`")
        case nats.errors.AuthorizationError():
            return _refused_login(where, words)
        case _ if secured and is_vague(error):
            message = f"NATS at {where} ends the secured connection: {words}"
            return Trouble(Code.TLS, message, "it may want a certificate of ours: see `nats.tls.certificate`")
        case TimeoutError() | OSError():
            if isinstance(error, TimeoutError) and not error.args:
                words = "no answer in time"
            message = f"cannot connect to NATS at {where}: {words}"
            return Trouble(Code.UNREACHABLE, message, "start it, or correct `nats.url`; it is tried again and again")
    if any(word in words.lower() for word in _AUTH_WORDS):
        return _refused_login(where, words)
    if isinstance(error, nats.errors.StaleConnectionError | nats.errors.NoServersError | nats.errors.ProtocolError):
        message = f"cannot connect to NATS at {where}: {words}"
        return Trouble(Code.UNREACHABLE, message, "start it, or correct `nats.url`; it is tried again and again")
    if "empty response" in words or "info message" in words:
        message = f"what answers at {where} does not speak NATS, or begins with TLS"
        return Trouble(Code.TLS, message, "correct `nats.url`, or set `nats.tls.first`")
    return Trouble(Code.REFUSED, f"NATS at {where} ends the connection: {words}", "see the server's log")


def _refused_login(where: str, words: str) -> Trouble:
    mend = "correct `nats.user` and `nats.password`, `token`, `nkey` or `credentials`, or let that login in there"
    return Trouble(Code.AUTH, f"NATS at {where} refuses our login: {words}", mend)


def _of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")


def of_permission(error: Exception) -> tuple[Trouble, bool] | None:
    """A refused subject, and whether it was ours to send to; None when the error is another."""
    found = _NO_PERMISSION.search(str(error).lower())
    if found is None:
        return None
    sending = found["what"] == "publish"
    kind = _kind(found["subject"])
    does = "publish to" if sending else "subscribe to"
    message = f"our NATS login may not {does} {found['subject']}"
    return Trouble(Code.PERMISSION, message, f"allow it to {does} `{kind}`", f"{does} {kind}"), sending


def _kind(subject: str) -> str:
    """All subjects like this one, as a permission names them: those of other streams and types too."""
    parts = subject.split(".")
    for kind in ("frames", "events", "status", "control"):
        if kind in parts[1:-1]:
            return ".".join([*parts[: parts.index(kind, 1) + 1], ">"])
    if subject.startswith("$js.api"):
        return "$JS.API.>"
    return "_INBOX.>" if subject.startswith("_inbox") else subject.upper() if subject.startswith("$") else subject
