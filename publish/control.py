"""The NATS micro service `vigil`: what can be asked over `<prefix>.control.…`, found with `nats micro`.

| `<prefix>.control.…` | request                                    | answer                 |
|----------------------|--------------------------------------------|------------------------|
| `streams.list`       |                                            | every stream's state   |
| `streams.show`       | `{"id": …}`                                | one, with its settings |
| `streams.add`        | `{"id": …, "settings": {…}, "keep": true}` | the stream             |
| `streams.change`     | `{"id": …, "changes": {…}, "keep": true}`  | the stream             |
| `streams.remove`     | `{"id": …, "keep": true}`                  | `{}`                   |

A refusal has the headers `Nats-Service-Error-Code` and `Nats-Service-Error`; its body is `{code, detail, problems}`.
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
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from publish.admin import RefusedError, StreamAdmin
from publish.subjects import Subjects

log = structlog.get_logger()

SERVICE = "vigil"
REFUSED, FAILED = "400", "500"


class StreamRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    settings: dict[str, Any] = Field(default_factory=dict)
    changes: dict[str, Any] = Field(default_factory=dict)
    keep: bool = True


async def serve(client: Client, subjects: Subjects, admin: StreamAdmin, version: str) -> Service:
    """Answers until the returned service is stopped."""
    service = await nats.micro.add_service(
        client, ServiceConfig(name=SERVICE, version=version, description="Streaming video analytics")
    )

    async def add(asked: StreamRequest) -> Any:
        await admin.add(asked.id, asked.settings, asked.keep)
        return admin.stream(asked.id)

    async def change(asked: StreamRequest) -> Any:
        await admin.change(asked.id, asked.changes, asked.keep)
        return admin.stream(asked.id)

    async def remove(asked: StreamRequest) -> Any:
        await admin.remove(asked.id, asked.keep)
        return {}

    async def show(asked: StreamRequest) -> Any:
        await asyncio.sleep(0)
        return admin.stream(asked.id)

    async def listed(request: Request) -> None:
        await request.respond(json.dumps(admin.streams()).encode())

    handlers = {"show": show, "add": add, "change": change, "remove": remove}
    endpoints = {name: _answering(handler) for name, handler in handlers.items()}
    for name, handler in {"list": listed, **endpoints}.items():
        await service.add_endpoint(
            EndpointConfig(name=f"streams-{name}", subject=subjects.control(f"streams.{name}"), handler=handler)
        )
    return service


def _answering(handler: Callable[[StreamRequest], Awaitable[Any]]) -> Callable[[Request], Awaitable[None]]:
    async def answer(request: Request) -> None:
        try:
            body = json.dumps(await handler(StreamRequest.model_validate_json(request.data)))
        except RefusedError as refusal:
            await _refuse(request, REFUSED, refusal.told())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            await _refuse(request, REFUSED, {"code": "control.invalid", "detail": f"{where}: {first['msg']}"})
        except Exception as error:  # whatever goes wrong with one request is told to who asked, and to the log
            log.exception("control request failed", subject=request.subject)
            await _refuse(request, FAILED, {"code": "control.failed", "detail": type(error).__name__})
        else:
            await request.respond(body.encode())

    return answer


async def _refuse(request: Request, status: str, told: Mapping[str, Any]) -> None:
    await request.respond_error(status, str(told["code"]), json.dumps(told).encode())
