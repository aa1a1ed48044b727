"""Structured logs: for people on a terminal, JSON lines elsewhere; secrets are taken out of every line."""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal, TextIO

import structlog

from ingest.redact import redact


def configure(
    level: str = "info", style: Literal["auto", "console", "json"] = "auto", output: TextIO | None = None
) -> None:
    """Sets up this process's log, on standard error unless told otherwise."""
    output = output or sys.stderr
    if style == "auto":
        style = "console" if output.isatty() else "json"
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=output.isatty(), pad_event_to=28)
        if style == "console"
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if style == "console" else "iso", utc=style == "json"),
            structlog.processors.format_exc_info,
            lambda *event: redact(renderer(*event)),  # the finished line, as secrets may be nested in values
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(output),
        cache_logger_on_first_use=False,
    )
