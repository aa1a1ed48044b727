"""The JetStream streams that keep events and states: made where missing, looked at, and never overwritten."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from ingest.redact import redact
from publish.config import NatsConfig
from publish.subjects import EVENTS_STREAM, STATUS_STREAM
from publish.trouble import FAILURES, Code, NatsError, Trouble, Troubles

log = structlog.get_logger()

# Longer than any replay after a reconnect can take, so that no event is stored twice.
DUPLICATE_WINDOW_S = 600.0
RETRY_S = 0.5
# How often streams that are not as configured are looked at again.
LOOK_S = 30.0
NAME_IN_USE, SUBJECTS_OVERLAP, NOT_ENABLED = 10058, 10065, (10039, 10076)
STREAM_CODES = (
    Code.NO_JETSTREAM, Code.NO_ANSWER, Code.STREAM_DIFFERS, Code.STREAM_REFUSED, Code.SUBJECTS_TAKEN,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a JetStream stream that matters to us: how `nats stream edit` changes it, if it can, and our own
    setting of it, if there is one."""

    name: str
    edit: str | None = None
    ours: str | None = None


SETTINGS = (
    Setting("retention"),
    Setting("storage", ours="nats.storage"),
    Setting("num_replicas", "--replicas={}", "nats.replicas"),
    Setting("max_age", "--max-age={}s", "nats.events_max_age"),
    Setting("max_bytes", "--max-bytes={}", "nats.events_max_bytes"),
    Setting("max_msgs", "--max-msgs={}"),
    Setting("max_msgs_per_subject", "--max-msgs-per-subject={}"),
    Setting("max_msg_size", "--max-msg-size={}"),
    Setting("max_consumers"),
    Setting("discard", "--discard={}"),
    Setting("duplicate_window", "--dupe-window={}s"),
    Setting("no_ack", "--ack"),
    Setting("sealed"),
)


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not as we would have made it."""

    setting: Setting
    theirs: str | None
    ours: str | None

    def __str__(self) -> str:
        return f"{self.setting.name} is {self.theirs or 'not set'}, and {self.ours or 'nothing'} is configured"


def wanted_streams(config: NatsConfig, prefix: str, site: str) -> list[StreamConfig]:
    """All sites with the usual prefix share the streams; a prefix of the user's own has subjects of its own."""
    root = "vigil.*" if prefix == f"vigil.{site}" else prefix
    kept: dict[str, Any] = {"storage": StorageType(config.storage), "num_replicas": config.replicas}
    return [
        StreamConfig(
            name=EVENTS_STREAM,
            subjects=[f"{root}.events.>"],
            retention=RetentionPolicy.LIMITS,
            max_age=config.events_max_age,
            max_bytes=config.events_max_bytes,
            discard=DiscardPolicy.OLD,
            duplicate_window=min(DUPLICATE_WINDOW_S, config.events_max_age),
            **kept,
        ),
        StreamConfig(
            name=STATUS_STREAM,
            subjects=[f"{root}.status.*"],
            retention=RetentionPolicy.LIMITS,
            max_msgs_per_subject=1,
            **kept,
        ),
    ]


def differences(theirs: StreamConfig, ours: StreamConfig) -> list[Difference]:
    """Every setting that matters and is not ours; subjects are not among them."""
    pairs = [(setting, _plain(theirs, setting.name), _plain(ours, setting.name)) for setting in SETTINGS]
    return [
        Difference(setting, their, our)
        for setting, their, our in pairs
        if their != our and not (our is None and setting.name == "duplicate_window")  # the server's own default
    ]


def _plain(config: StreamConfig, name: str) -> str | None:
    """A setting in words; None where there is none."""
    value = getattr(config, name)
    if value is None or value is False or (isinstance(value, int | float) and value <= 0):
        return None
    return f"{value:g}" if isinstance(value, float) else str(getattr(value, "value", value))


def of_difference(stream: str, difference: Difference) -> Trouble:
    setting = difference.setting
    mends = []
    if setting.edit:
        mends.append(f"`nats stream edit {stream} {setting.edit.format(difference.ours or -1)}`")
    if setting.ours and difference.theirs and not (stream == STATUS_STREAM and setting.ours.startswith("nats.events_")):
        mends.append(f"`{setting.ours}: {difference.theirs}` in the config")
    if not setting.edit:
        mends.append(f"`nats stream rm {stream}`, with all that is in it, and it is made anew")
    message = f"JetStream stream {stream} is left as it is: {difference}"
    return Trouble(Code.STREAM_DIFFERS, message, " or ".join(mends), f"{stream} {setting.name}")


async def ensure(jetstream: JetStreamContext, wanted: StreamConfig) -> list[Difference]:
    """Creates the stream, or gives an existing one our subjects and leaves its other settings as they are.

    Returns:
        What those are that are not ours.

    Raises:
        NatsError: it cannot be done now, and why.
    """
    assert wanted.name is not None
    try:
        existing = await _look(jetstream, wanted.name)
        if existing is None:
            try:
                existing = (await jetstream.add_stream(wanted)).config
            except APIError as error:
                if error.err_code != NAME_IN_USE:
                    raise
                existing = (await jetstream.stream_info(wanted.name)).config  # another process was faster
        subjects = list(existing.subjects or [])
        missing = [subject for subject in wanted.subjects or [] if subject not in subjects]
        if missing:
            await jetstream.update_stream(existing, subjects=[*subjects, *missing])
            log.info("subjects added to JetStream stream", stream=wanted.name, subjects=missing)
        return differences(existing, wanted)
    except FAILURES as error:
        raise NatsError(await of_jetstream(error, jetstream, wanted)) from None


async def look(jetstream: JetStreamContext, wanted: StreamConfig) -> list[Difference] | None:
    """As `ensure`, but changes nothing: None when there is no such stream yet.

    Raises:
        NatsError
    """
    assert wanted.name is not None
    try:
        existing = await _look(jetstream, wanted.name)
        if existing is None and (taken := await _taker(jetstream, wanted)):
            raise NatsError(_taken(wanted, taken))
    except FAILURES as error:
        raise NatsError(await of_jetstream(error, jetstream, wanted)) from None
    return None if existing is None else differences(existing, wanted)


async def _look(jetstream: JetStreamContext, name: str) -> StreamConfig | None:
    try:
        return (await jetstream.stream_info(name)).config
    except NotFoundError:
        return None


async def _taker(jetstream: JetStreamContext, wanted: StreamConfig) -> str | None:
    """Another stream that takes messages of our subjects."""
    for subject in wanted.subjects or []:
        try:
            name = await jetstream.find_stream_name_by_subject(subject)
        except FAILURES:
            continue
        if name != wanted.name:
            return name
    return None


def _taken(wanted: StreamConfig, by: str) -> Trouble:
    subjects = ", ".join(wanted.subjects or [])
    message = f"JetStream stream {wanted.name} cannot be made: another stream, {by}, already takes {subjects}"
    mend = f"take them out of {by} (`nats stream edit {by} --subjects=…`), or set another `nats.prefix`"
    return Trouble(Code.SUBJECTS_TAKEN, message, mend, str(wanted.name))


async def of_jetstream(error: Exception, jetstream: JetStreamContext, wanted: StreamConfig) -> Trouble:
    """Why a stream could not be looked at or made."""
    name = str(wanted.name)
    enable = "start it with `-js`, or enable JetStream for our account"
    match error:
        case nats.errors.NoRespondersError():
            return Trouble(Code.NO_JETSTREAM, "the NATS server has no JetStream, which keeps the events", enable)
        case APIError(err_code=code) if code in NOT_ENABLED:
            return Trouble(Code.NO_JETSTREAM, "JetStream is not enabled for our NATS account", enable)
        case APIError(err_code=code) if code == SUBJECTS_OVERLAP:
            return _taken(wanted, await _taker(jetstream, wanted) or "one that we may not see")
        case ServiceUnavailableError(err_code=None):
            return Trouble(Code.NO_JETSTREAM, "the NATS server has no JetStream, which keeps the events", enable)
        case APIError():
            message = f"JetStream stream {name} cannot be made: {error.description} ({error.err_code})"
            mend = "see `nats.replicas`, `nats.storage`, `nats.events_max_bytes` and the server's limits"
            return Trouble(Code.STREAM_REFUSED, message, mend, name)
    words = redact(str(error)).removeprefix("nats: ") or type(error).__name__
    mend = "it is tried again; our login needs $JS.API.> and _INBOX.>"
    return Trouble(Code.NO_ANSWER, f"JetStream does not answer: {words}", mend)


class Streams:
    """The streams of one site, and what is wrong with them. Lives in one asyncio loop."""

    def __init__(self, client: Client, config: NatsConfig, prefix: str, site: str, troubles: Troubles) -> None:
        self._client = client
        self._jetstream = client.jetstream()
        self._wanted = wanted_streams(config, prefix, site)
        self._troubles = troubles

    async def prepare(self) -> None:
        """Returns when all of them are there, however long that takes."""
        while not await self._all():
            await asyncio.sleep(RETRY_S)

    async def watch(self) -> None:
        """Looks again at what was not as it should be; runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            if any(trouble.code in STREAM_CODES for trouble in self._troubles.now()):
                await self._all()

    async def _all(self) -> bool:
        # Without a connection there is no answer either, which is told of the connection.
        return all([self._client.is_connected and await self._one(wanted) for wanted in self._wanted])

    async def _one(self, wanted: StreamConfig) -> bool:
        name = str(wanted.name)
        try:
            found = await ensure(self._jetstream, wanted)
        except NatsError as error:
            self._troubles.over(*(code for code in STREAM_CODES if code is not error.trouble.code), about=name)
            self._troubles.begin(error.trouble)
            return False
        self._troubles.over(Code.NO_JETSTREAM, Code.NO_ANSWER)
        self._troubles.over(Code.STREAM_REFUSED, Code.SUBJECTS_TAKEN, about=name)
        troubles = [of_difference(name, difference) for difference in found]
        for setting in SETTINGS:
            about = f"{name} {setting.name}"
            if about not in [trouble.about for trouble in troubles]:
                self._troubles.over(Code.STREAM_DIFFERS, about=about)
        for trouble in troubles:
            self._troubles.begin(trouble)
        return True
