"""Signatures as Standard Webhooks 1.0 has them: https://www.standardwebhooks.com."""

from __future__ import annotations

import base64
import hashlib
import hmac


def signed(key: bytes, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of a message sent at `timestamp`, seconds since the epoch: its id, that time, and both signed."""
    content = b".".join([event_id.encode(), str(timestamp).encode(), body])
    code = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {**unsigned(event_id, timestamp), "webhook-signature": f"v1,{code}"}


def unsigned(event_id: str, timestamp: int) -> dict[str, str]:
    return {"webhook-id": event_id, "webhook-timestamp": str(timestamp)}
