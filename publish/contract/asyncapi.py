"""The AsyncAPI 3.0 document: which message goes over which subject, which way, with which headers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import TypeAdapter

from publish.contract import examples
from publish.contract.schemas import bodies
from publish.headers import headers_schema
from publish.schema import MESSAGES, SCHEMA_VERSION
from publish.schema.control import ENDPOINTS, JPEG
from publish.schema.wire import JSON, MSGPACK
from publish.subjects import EVENTS_STREAM, STATUS_STREAM, Subjects
from tracking.events import CountType, EventType

SUBJECTS = Subjects("{prefix}")
PARAMETERS: dict[str, dict[str, Any]] = {
    "prefix": {
        "description": "`nats.prefix` of the config; `vigil.<site>` where there is none",
        "default": "vigil.local",
    },
    "stream": {"description": "The camera's name in the config"},
    "type": {
        "description": "The event's type, two tokens of the subject. Newer versions may have others: pass over what "
        "you do not know",
        "enum": sorted(kind.value for kinds in (EventType, CountType) for kind in kinds),
    },
}
QUEUE = "q"
"""The queue group of NATS micro services."""


def document() -> dict[str, Any]:
    schemas = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vigil",
            "version": SCHEMA_VERSION,
            "description": "What cameras saw and what happened in them, over NATS; and what Vigil can be asked. Within "
            "a major version fields and event types are only added: readers pass over what they do not know.",
            "license": {"name": "AGPL-3.0-only", "url": "https://www.gnu.org/licenses/agpl-3.0.html"},
        },
        "defaultContentType": JSON,
        "servers": {
            "embedded": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "Vigil's own NATS server, with `nats: {url: embedded, port: 4222}`; or one of yours",
            }
        },
        "channels": {**_sent_channels(), **_control_channels()},
        "operations": {**_sent_operations(), **_control_operations()},
        "components": {
            "messages": _messages(),
            "schemas": {name: _draft_07(schema) for name, schema in schemas.items()},
            "correlationIds": {
                "trace": {
                    "description": "The same in a frame's result and in the events of that frame",
                    "location": "$message.header#/traceparent",
                }
            },
        },
    }


def text() -> str:
    """The document as YAML."""
    return yaml.dump(document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


class _Dumper(yaml.SafeDumper):
    """Without anchors: what stands twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


# -- what Vigil sends by itself

_CHANNELS: Mapping[str, tuple[str, list[str], str]] = {
    "frames": (SUBJECTS.frames("{stream}"), ["frame", "frame.msgpack"],
               "What was seen in every analysed frame, on core NATS: who does not listen misses it."),
    "events": (SUBJECTS.event("{stream}", "{type}"), ["event", "count"],
               f"What happened, kept in the JetStream stream {EVENTS_STREAM}. Delivered at least once, in order for "
               "each camera; repeats have the same `Nats-Msg-Id`."),
    "status": (SUBJECTS.status("{stream}"), ["status"],
               f"How cameras are doing, told when it changes; the JetStream stream {STATUS_STREAM} keeps the last."),
}  # fmt: skip


def _sent_channels() -> dict[str, Any]:
    return {
        name: {
            "address": address,
            "description": told,
            "parameters": {key: value for key, value in PARAMETERS.items() if f"{{{key}}}" in address},
            "messages": {_key(message): _ref("messages", _key(message)) for message in messages},
        }
        for name, (address, messages, told) in _CHANNELS.items()
    }


def _sent_operations() -> dict[str, Any]:
    return {f"send{name.title()}": {"action": "send", "channel": {"$ref": f"#/channels/{name}"}} for name in _CHANNELS}


# -- what it is asked


def _control_channels() -> dict[str, Any]:
    channels: dict[str, Any] = {}
    for name, endpoint in ENDPOINTS.items():
        key, request = f"control.{name}", f"control.{name}.request"
        channels[_key(key)] = {
            "address": SUBJECTS.control(name),
            "description": f"{endpoint.summary}. An endpoint of the NATS micro service `vigil`.",
            "parameters": {"prefix": PARAMETERS["prefix"]},
            "messages": {_key(request): _ref("messages", _key(request))},
        }
        answers = [f"{key}.answer", "control.refusal"]
        channels[_key(f"{key}.reply")] = {
            "address": None,
            "description": "The inbox that the request names.",
            "messages": {_key(answer): _ref("messages", _key(answer)) for answer in answers},
        }
    return channels


def _control_operations() -> dict[str, Any]:
    return {
        _key(f"answer.{name}"): {
            "action": "receive",
            "summary": endpoint.summary,
            "channel": {"$ref": f"#/channels/{_key(f'control.{name}')}"},
            "reply": {"channel": {"$ref": f"#/channels/{_key(f'control.{name}.reply')}"}},
            "bindings": {"nats": {"queue": QUEUE}},
        }
        for name, endpoint in ENDPOINTS.items()
    }


# -- messages


def _messages() -> dict[str, Any]:
    shown = _examples()
    made: dict[str, Any] = {}
    for name in MESSAGES:
        made[name] = {
            "name": name,
            "title": _title(name),
            "contentType": JSON,
            "headers": _ref("schemas", _key(f"{name}.headers")),
            "payload": _ref("schemas", _key(name)),
            "examples": shown[name],
        }
        if name != "status":
            made[name]["correlationId"] = _ref("correlationIds", "trace")
    made[_key("frame.msgpack")] = {
        **{key: value for key, value in made["frame"].items() if key != "examples"},
        "title": "Frame result in MessagePack",
        "summary": "Instead of JSON, with `nats: {frames_format: msgpack}`; the same fields and values",
        "contentType": MSGPACK,
    }
    for name in bodies().keys() - MESSAGES.keys():
        payload = _ref("schemas", _key(name))
        made[_key(name)] = {"name": name, "title": _title(name), "contentType": JSON, "payload": payload,
                            "examples": shown[name]}  # fmt: skip
    for name, endpoint in ENDPOINTS.items():
        if endpoint.request is None:
            request = f"control.{name}.request"
            made[_key(request)] = {"name": request, "title": _title(request), "summary": "An empty body"}
        if endpoint.answer == JPEG:
            answer = f"control.{name}.answer"
            made[_key(answer)] = {"name": answer, "title": _title(answer), "contentType": JPEG,
                                  "summary": "The picture; `Vigil-…` in the headers say of which frame"}  # fmt: skip
    made[_key("control.refusal")]["headers"] = _ref("schemas", "refusalHeaders")
    return dict(sorted(made.items()))


def _examples() -> dict[str, list[dict[str, Any]]]:
    shown: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, body in examples.bodies():
        shown[name].append({"payload": body})
    seen: dict[str, int] = defaultdict(int)
    for name, head in examples.heads():
        example = shown[name][seen[name]]
        seen[name] += 1
        shown[name][seen[name] - 1] = {"name": head["ce-type"], "headers": head, **example}
    return shown


def _title(name: str) -> str:
    titles = {"frame": "Frame result", "event": "Event of a track", "count": "Counts", "status": "State of a camera"}
    return titles.get(name, name)


# -- schemas


def _schemas() -> dict[str, Any]:
    """Every body and header, and what they share, by its name in the document."""
    kinds = [(_key(name), mode, TypeAdapter(kind)) for name, (kind, mode) in bodies().items()]
    made, shared = TypeAdapter.json_schemas(kinds, ref_template="#/components/schemas/{model}")
    found = {**shared.get("$defs", {}), **{key: schema for (key, _), schema in made.items()}}
    found |= {_key(f"{name}.headers"): headers_schema(name) for name in MESSAGES}
    found["refusalHeaders"] = {
        "type": "object",
        "properties": {
            "Nats-Service-Error-Code": {"enum": ["400", "500"]},
            "Nats-Service-Error": {"type": "string", "description": "As `code`"},
        },
        "required": ["Nats-Service-Error-Code", "Nats-Service-Error"],
    }
    return dict(sorted(found.items()))


def _draft_07(schema: Any) -> Any:
    """A schema in the words of AsyncAPI's default dialect: tuples, and references that say more."""
    if isinstance(schema, list):
        return [_draft_07(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    told = {key: {name: _draft_07(one) for name, one in value.items()} if key == "properties" else _draft_07(value)
            for key, value in schema.items()}  # fmt: skip
    if "prefixItems" in told:
        told["items"] = told.pop("prefixItems")
        told["additionalItems"] = False
    if "$ref" in told and len(told) > 1:
        told["allOf"] = [{"$ref": told.pop("$ref")}]
    return told


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _key(name: str) -> str:
    """`control.streams.add` as the document's keys are written: `controlStreamsAdd`."""
    first, *rest = name.split(".")
    return first + "".join(part.title() for part in rest)
