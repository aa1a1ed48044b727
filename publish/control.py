"""The NATS micro service `vigil`: what can be asked over `<prefix>.control.…`, found with `nats micro`.

| `<prefix>.control.…` | request                                    | answer                 |
|----------------------|--------------------------------------------|------------------------|
| `streams.list`       |                                            | every stream's state   |
| `streams.show`       | `{"id": …}`                                | one, with its settings |
| `streams.add`        | `{"id": …, "settings": {…}, "keep": true}` | the stream             |
| `streams.change`     | `{"id": …, "changes": {…}, "keep": true}`  | the stream             |
| `streams.remove`     | `{"id": …, "keep": true}`                  | `{}`                   |
| `streams.pause`      | `{"id": …, "keep": true}`                  | the stream             |
| `streams.resume`     | `{"id": …, "keep": true}`                  | the stream             |
| `health`             |                                            | as `/health/ready`     |
| `snapshot`           | `{"id": …, "boxes": false, "max_side": 1920}` | the newest picture, a JPEG |

`publish/schema/control.py` has the fields. A refusal has the headers `Nats-Service-Error-Code` and
`Nats-Service-Error`; its body is `{code, detail, problems}`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import nats.micro
import structlog
from nats.aio.client import Client
from nats.micro.request import Request
from nats.micro.service import EndpointConfig, Service, ServiceConfig
from pydantic import ValidationError

from ingest.errors import VigilError
from publish.admin import RefusedError, StreamAdmin
from publish.health import Standing, health
from publish.media.still import Still, Stills
from publish.schema import SCHEMA_VERSION
from publish.schema.control import (
    ENDPOINTS,
    JPEG,
    Asked,
    Snapshot,
    StreamAdd,
    StreamChange,
    StreamPause,
    StreamRemove,
    StreamShow,
)
from publish.subjects import Subjects

log = structlog.get_logger()

SERVICE = "vigil"
REFUSED, FAILED = "400", "500"
Handler = Callable[[Any], Awaitable[Any]]
# Of a message, beside its body.
HEADERS_BYTES = 4096


async def serve(
    client: Client, subjects: Subjects, admin: StreamAdmin, standing: Standing, stills: Stills, version: str
) -> Service:
    """Answers until the returned service is stopped."""
    service = await nats.micro.add_service(
        client,
        ServiceConfig(
            name=SERVICE, version=version, description="Streaming video analytics",
            metadata={"prefix": subjects.prefix, "schema": SCHEMA_VERSION},
        ),
    )  # fmt: skip

    async def listed(_: None) -> Any:
        await asyncio.sleep(0)
        return admin.streams()

    async def show(asked: StreamShow) -> Any:
        await asyncio.sleep(0)
        return admin.stream(asked.id)

    async def add(asked: StreamAdd) -> Any:
        await admin.add(asked.id, asked.settings, asked.keep)
        return admin.stream(asked.id)

    async def change(asked: StreamChange) -> Any:
        await admin.change(asked.id, asked.changes, asked.keep)
        return admin.stream(asked.id)

    async def remove(asked: StreamRemove) -> Any:
        await admin.remove(asked.id, asked.keep)
        return {}

    async def pause(asked: StreamPause) -> Any:
        await admin.pause(asked.id, True, asked.keep)
        return admin.stream(asked.id)

    async def resume(asked: StreamPause) -> Any:
        await admin.pause(asked.id, False, asked.keep)
        return admin.stream(asked.id)

    async def healthy(_: None) -> Any:
        await asyncio.sleep(0)
        return health(standing)

    async def picture(asked: Snapshot) -> Still:
        admin.stream(asked.id)  # or it is not known
        return await stills.still(asked.id, asked.boxes, asked.max_side, client.max_payload - HEADERS_BYTES)

    handlers: dict[str, Handler] = {
        "streams.list": listed, "streams.show": show, "streams.add": add, "streams.change": change,
        "streams.remove": remove, "streams.pause": pause, "streams.resume": resume, "health": healthy,
        "snapshot": picture,
    }  # fmt: skip
    for name, endpoint in ENDPOINTS.items():
        handler = _answering(endpoint.request, handlers[name])
        told = {"description": endpoint.summary}
        if endpoint.request is not None:
            told["request_schema"] = json.dumps(endpoint.request.model_json_schema())
        await service.add_endpoint(
            EndpointConfig(
                name=name.replace(".", "-"), subject=subjects.control(name), handler=handler, metadata=told
            )
        )  # fmt: skip
    return service


def _answering(form: type[Asked] | None, handler: Handler) -> Callable[[Request], Awaitable[None]]:
    """Answers with what `handler` makes of a request: a picture, or what goes into JSON."""

    async def answer(request: Request) -> None:
        try:
            found = await handler(None if form is None else form.model_validate_json(request.data))
            is_picture = isinstance(found, Still)
            body = found.jpeg if is_picture else json.dumps(found).encode()
            headers = {**found.headers, "content-type": JPEG} if is_picture else None
        except RefusedError as refusal:
            await _refuse(request, REFUSED, refusal.told())
        except VigilError as error:
            await _refuse(request, REFUSED, {"code": error.code, "detail": str(error)})
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            await _refuse(request, REFUSED, {"code": "control.invalid", "detail": f"{where}: {first['msg']}"})
        except Exception as error:  # whatever goes wrong with one request is told to who asked, and to the log
            log.exception("control request failed", subject=request.subject)
            await _refuse(request, FAILED, {"code": "control.failed", "detail": type(error).__name__})
        else:
            await request.respond(body, headers=headers)

    return answer


async def _refuse(request: Request, status: str, told: Mapping[str, Any]) -> None:
    await request.respond_error(status, str(told["code"]), json.dumps(told).encode())
