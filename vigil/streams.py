"""`vigil streams`: asks a running service about its streams, and changes them, over NATS."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import nats.errors
from nats.micro.request import ERROR_CODE_HEADER

from ingest.errors import VigilError
from ingest.redact import redact
from publish.connection import connect
from vigil.subscribe import Address, SubscribeError

# Adding a stream may load a model.
ANSWER_S = 120.0


class StreamsError(VigilError):
    """The service refused; `code` is its reason."""

    def __init__(self, told: dict[str, Any]) -> None:
        lines = [f"{p['path']}: {p['message']}" + (f" (got {p['value']})" if p.get("value") else "")
                 + (f"\n    → {p['mend']}" if p.get("mend") else "") for p in told.get("problems", ())]  # fmt: skip
        super().__init__("\n  ".join([told["detail"]] if not lines else ["refused", *lines]))
        self.code = told["code"]


def ask(address: Address, endpoint: str, **request: Any) -> Any:
    """A service's answer.

    Raises:
        NatsError: NATS cannot be reached.
        SubscribeError: the service cannot.
        StreamsError: the service refuses.
    """
    return asyncio.run(_ask(address, endpoint, request))


async def _ask(address: Address, endpoint: str, request: dict[str, Any]) -> Any:
    client = await connect(address.config, address.url, "vigil streams", lasting=False)
    try:
        answer = await client.request(
            address.subjects.control(f"streams.{endpoint}"), json.dumps(request).encode(), timeout=ANSWER_S
        )
    except nats.errors.NoRespondersError:
        raise SubscribeError(f"no Vigil answers on {address.subjects.control('streams')}: is it running?") from None
    except (nats.errors.Error, TimeoutError) as error:
        raise SubscribeError(f"the service does not answer: {redact(str(error))}") from None
    finally:
        await client.close()
    body = json.loads(answer.data)
    if answer.headers and ERROR_CODE_HEADER in answer.headers:
        raise StreamsError(body)
    return body
