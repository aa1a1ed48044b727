"""`/docs`: the OpenAPI document as a page to read, without scripts and without anything from elsewhere.

What FastAPI brings for this loads its scripts from a public server: they would run with the rights of who is logged in
here, and many cameras' networks have no way there. Any OpenAPI tool takes `/openapi.json`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse, Response

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid; margin-top: 2rem; }
summary { cursor: pointer; padding: .3rem 0; }
code, b { font-family: ui-monospace, monospace; }
b { display: inline-block; min-width: 4.5rem; }
details > div { margin: 0 0 1rem 4.5rem; }
table { border-collapse: collapse; }
td, th { text-align: left; vertical-align: top; padding: .15rem .8rem .15rem 0; }
"""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def add_reference(app: FastAPI) -> None:
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def reference() -> Response:
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": POLICY})

    app.include_router(router)


def page(schema: dict[str, Any]) -> str:
    """The document as HTML."""
    info = schema["info"]
    body = [f"<h1>{escape(info['title'])} API</h1>", *_paragraphs(info["description"])]
    body.append('<p>For programs: <a href="openapi.json">openapi.json</a></p>')
    operations = list(_operations(schema))
    for tag in schema["tags"]:
        of_tag = [operation for operation in operations if tag["name"] in operation[2].get("tags", ())]
        if of_tag:
            body.append(f"<section><h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>")
            body += [part for operation in of_tag for part in _operation(*operation)]
            body.append("</section>")
    head = f'<meta charset="utf-8"><title>{escape(info["title"])} API</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>'


def _operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    summary = escape(operation.get("summary", ""))
    yield f"<details><summary><b>{method}</b> <code>{escape(path)}</code> – {summary}</summary><div>"
    yield from _paragraphs(operation["description"])
    rows = [
        (one["name"], f"{one['in']}{', needed' if one.get('required') else ''}", one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    rows += [("body", kind, "") for kind in operation.get("requestBody", {}).get("content", ())]
    rows += [
        (status, ", ".join(answer.get("content", ())), answer["description"])
        for status, answer in operation["responses"].items()
    ]
    yield "<table>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
    yield "</table></div></details>"


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        parts = [escape(part) for part in paragraph.split("`")]
        yield "<p>" + "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts)) + "</p>"
