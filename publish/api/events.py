"""`/api/v1/events`: what has happened, newest first, as JetStream keeps it."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from ingest.errors import VigilError
from publish.config import STREAM_ID
from publish.past import Page, Wanted
from publish.problem import problem, problems
from publish.subjects import Subjects

MOST = 500
RETRY_AFTER_S = 2
# JetStream's filter is a list of subjects: each stream with each type.
MOST_NAMED = 16

StreamName = Annotated[str, StringConstraints(pattern=STREAM_ID, max_length=64)]
TypeName = Annotated[str, StringConstraints(pattern=r"^[a-z]+(\.[a-z]+)?$", max_length=64)]
Cursor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=64)]


class Events(BaseModel):
    events: list[dict[str, Any]] = Field(description="Event messages as on NATS, newest first.")
    next: str | None = Field(description="`cursor` of the next page; null: there are no older ones.")


class Remembering(Protocol):
    subjects: Subjects

    async def past(self, wanted: Wanted) -> Page:
        """VigilError: JetStream cannot be asked."""
        ...


def add_events_api(app: FastAPI, service: Remembering) -> None:
    router = APIRouter(prefix="/api/v1", tags=["Events"])

    @router.get(
        "/events", summary="Past events, newest first, a page at a time", response_model=Events,
        responses=problems(503),
    )  # fmt: skip
    async def events(
        stream: Annotated[list[StreamName], Query(max_length=MOST_NAMED, description="Of these streams only.")] = [],  # noqa: B006
        type: Annotated[
            list[TypeName],
            Query(
                max_length=MOST_NAMED, description="Of these types only: `zone.entered`, or `zone` for all of zones."
            ),
        ] = [],  # noqa: B006
        since: Annotated[AwareDatetime | None, Query(description="Stored by JetStream then or later.")] = None,
        until: Annotated[AwareDatetime | None, Query(description="Stored before then.")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 50,
        cursor: Annotated[Cursor | None, Query(description="`next` of the page before.")] = None,
    ) -> Response:
        """Times are those of storing: an event that waited for NATS in the outbox is stored after it happened. The
        events themselves say when that was."""
        below = None if cursor is None else _number(cursor)
        if cursor is not None and below is None:
            return problem(422, "events.cursor", "`cursor` is not the `next` of a page; leave it out to begin anew")
        subjects = _subjects(service.subjects, stream, type)
        try:
            page = await service.past(Wanted(subjects, since, until, below, limit))
        except VigilError as error:
            return problem(503, error.code, str(error), {"Retry-After": str(RETRY_AFTER_S)})
        return JSONResponse({"events": page.events, "next": None if page.below is None else _cursor(page.below)})

    app.include_router(router)


def _subjects(subjects: Subjects, streams: list[str], types: list[str]) -> list[str]:
    """Those that the events wanted were published on; none of them holds another."""
    whole = {kind for kind in types if "." not in kind}
    kinds = [f"{kind}.>" for kind in sorted(whole)]
    kinds += sorted(kind for kind in set(types) if "." in kind and kind.partition(".")[0] not in whole)
    return [subjects.event(stream, kind) for stream in sorted(set(streams)) or ["*"] for kind in kinds or [">"]]


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(b"events %d" % number).decode().rstrip("=")


def _number(cursor: str) -> int | None:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    kind, _, number = text.partition(" ")
    return int(number) if kind == "events" and number.isascii() and number.isdigit() and len(number) < 20 else None
