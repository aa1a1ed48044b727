"""The JetStream streams that keep events and states: created when missing, never overwritten."""

from __future__ import annotations

import structlog
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import BadRequestError

from publish.config import NatsConfig
from publish.subjects import EVENTS_STREAM, STATUS_STREAM

log = structlog.get_logger()

# Longer than any replay after a reconnect can take, so that no event is stored twice.
DUPLICATE_WINDOW_S = 600.0
NAME_IN_USE = 10058


def wanted_streams(config: NatsConfig, prefix: str, site: str) -> list[StreamConfig]:
    """All sites with the usual prefix share the streams; a prefix of the user's own has subjects of its own."""
    root = "vigil.*" if prefix == f"vigil.{site}" else prefix
    return [
        StreamConfig(
            name=EVENTS_STREAM,
            subjects=[f"{root}.events.>"],
            retention=RetentionPolicy.LIMITS,
            max_age=config.events_max_age,
            max_bytes=config.events_max_bytes,
            discard=DiscardPolicy.OLD,
            duplicate_window=min(DUPLICATE_WINDOW_S, config.events_max_age),
        ),
        StreamConfig(name=STATUS_STREAM, subjects=[f"{root}.status.*"], max_msgs_per_subject=1),
    ]


async def ensure(jetstream: JetStreamContext, wanted: StreamConfig) -> None:
    """Creates the stream, or gives an existing one our subjects and leaves its other settings as they are.

    Raises:
        nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError: it could not be done now.
    """
    try:
        await jetstream.add_stream(wanted)
        return
    except BadRequestError as error:
        if error.err_code != NAME_IN_USE:
            raise
    assert wanted.name is not None
    existing = (await jetstream.stream_info(wanted.name)).config
    subjects = list(existing.subjects or [])
    missing = [subject for subject in wanted.subjects or [] if subject not in subjects]
    if missing:
        await jetstream.update_stream(existing, subjects=[*subjects, *missing])
        log.info("subjects added to JetStream stream", stream=wanted.name, subjects=missing)
    if existing.max_age != wanted.max_age or existing.max_bytes != wanted.max_bytes:
        log.warning(
            "JetStream stream keeps its own limits",
            stream=wanted.name, max_age_s=existing.max_age, max_bytes=existing.max_bytes,
        )  # fmt: skip
