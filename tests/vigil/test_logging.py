"""No line of a log holds a secret, wherever in the line it was."""

from __future__ import annotations

import io
import json
from typing import Any, Literal

import pytest
import structlog

from ingest.errors import Reason, SourceError
from vigil import logging

SECRET = "hunter2-Zq"
URL = f"rtsp://gate:{SECRET}@10.0.0.12/1?token={SECRET}"
REDACTED = "rtsp://gate:***@10.0.0.12/1?token=***"


def logged(style: Literal["console", "json"], *args: Any, **fields: Any) -> str:
    output = io.StringIO()
    logging.configure("info", style, output)
    structlog.get_logger().info(*args, **fields)
    return output.getvalue()


both_styles = pytest.mark.parametrize("style", ["console", "json"])


@both_styles
@pytest.mark.parametrize(
    "fields",
    [
        {"url": URL},
        {"urls": [URL, URL]},
        {"camera": {"url": URL}},
        {"camera": {"urls": (URL,)}},
        {"error": SourceError(Reason.AUTH, f"401 for {URL}")},
        {"error": OSError(f"no route to {URL}")},
    ],
    ids=["text", "list", "mapping", "nested", "own error", "other error"],
)
def test_secrets_in_fields_are_redacted(style: Literal["console", "json"], fields: dict[str, Any]) -> None:
    line = logged(style, "connecting", **fields)
    assert SECRET not in line
    assert "rtsp://gate:***@10.0.0.12/1" in line


@both_styles
def test_secrets_in_the_event_are_redacted(style: Literal["console", "json"]) -> None:
    line = logged(style, f"connecting to {URL}")
    assert SECRET not in line
    assert REDACTED in line


@both_styles
def test_secrets_in_tracebacks_are_redacted(style: Literal["console", "json"]) -> None:
    output = io.StringIO()
    logging.configure("info", style, output)
    try:
        raise RuntimeError(f"cannot open {URL}")
    except RuntimeError:
        structlog.get_logger().exception("reader broke")
    assert SECRET not in output.getvalue()
    assert "RuntimeError" in output.getvalue()


def test_secrets_bound_to_a_logger_are_redacted() -> None:
    output = io.StringIO()
    logging.configure("info", "json", output)
    structlog.get_logger().bind(url=URL).info("connecting")
    assert json.loads(output.getvalue())["url"] == REDACTED


def test_a_json_line_is_an_event_with_fields() -> None:
    line = json.loads(logged("json", "stream live", stream="gate", session=3, rate=25.0))
    assert (line["event"], line["stream"], line["session"], line["rate"]) == ("stream live", "gate", 3, 25.0)
    assert line["level"] == "info"
    assert line["timestamp"].endswith("Z")


def test_a_file_gets_json_and_levels_below_the_set_one_nothing() -> None:
    output = io.StringIO()
    logging.configure("warning", "auto", output)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [json.loads(line)["event"] for line in output.getvalue().splitlines()] == ["loud"]
