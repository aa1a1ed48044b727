"""Each event is an HTTP POST: its JSON, CloudEvents' headers, and a signature that says who sent it."""

from __future__ import annotations

import asyncio
import ssl
import time
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp

from publish.bridges.backoff import retry_after_s
from publish.bridges.config import WebhookConfig, key_of
from publish.bridges.contract import Delivery, DeliveryError, FinalError, RetryableError, Surroundings, Told
from publish.bridges.selection import wanted_subjects, wants
from publish.bridges.signature import signed, unsigned

# Refusals of now, not of the event: time-out, too early, too many requests (RFC 9110, 8470, 6585).
BUSY = (408, 425, 429)
# Of an answer's body so much is read, that the connection can be used again.
MAX_ANSWER_BYTES = 1 << 16
PASSED_ON = ("ce-", "content-type", "traceparent", "tracestate")


class Webhook:
    def __init__(self, config: WebhookConfig, surroundings: Surroundings) -> None:
        self._config = config
        self._url = config.url.get_secret_value()
        self._key = key_of(config.secret) if config.secret is not None else None
        self._headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        self._headers.setdefault("User-Agent", f"Vigil/{surroundings.version}")
        self._session: aiohttp.ClientSession | None = None
        self._open = asyncio.Event()
        self.trouble: DeliveryError | None = None  # it knows when it tries
        self.subjects = wanted_subjects(config, surroundings.subjects)

    @property
    def peer(self) -> str:
        """The host alone: paths are often the secret."""
        split = urlsplit(self._url)
        return f"{split.scheme}://{split.hostname}" + (f":{split.port}" if split.port else "")

    def wants(self, event: Told) -> bool:
        return wants(self._config, event)

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(limit=self._config.concurrency)
        timeout = aiohttp.ClientTimeout(total=self._config.timeout)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as self._session:
            self._open.set()
            await asyncio.Event().wait()

    async def deliver(self, delivery: Delivery) -> None:
        await self._open.wait()
        assert self._session is not None
        event_id, now = delivery.event.event_id, int(time.time())
        headers = {name: value for name, value in delivery.headers.items() if name.lower().startswith(PASSED_ON)}
        headers |= {"content-type": "application/json", "idempotency-key": event_id, **self._headers}
        headers |= signed(self._key, event_id, now, delivery.body) if self._key else unsigned(event_id, now)
        try:
            async with self._session.post(
                self._url, data=delivery.body, headers=headers, allow_redirects=False
            ) as answer:
                status, retry_after = answer.status, answer.headers.get("Retry-After")
                await answer.content.read(MAX_ANSWER_BYTES)
        except TimeoutError:
            raise RetryableError("webhook.timeout", f"no answer within {self._config.timeout:g} s") from None
        except (aiohttp.ClientSSLError, ssl.SSLError) as error:
            raise RetryableError("webhook.tls", _words(error)) from None
        except aiohttp.ClientConnectorError as error:
            raise RetryableError("webhook.unreachable", _words(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise RetryableError("webhook.lost", f"the connection broke: {type(error).__name__}") from None
        _judge(status, retry_after)


def _judge(status: int, retry_after: str | None) -> None:
    """Raises RetryableError, FinalError by an answer's status."""
    after_s = retry_after_s(retry_after, datetime.now(UTC))
    match status:
        case _ if 200 <= status < 300:
            return
        case _ if status in BUSY:
            raise RetryableError("webhook.busy", f"the peer answered {status}: not now", after_s)
        case _ if 300 <= status < 400:
            raise FinalError("webhook.redirect", f"the peer answered {status}: put the address it moved to into `url`")
        case _ if 400 <= status < 500:
            raise FinalError("webhook.refused", f"the peer answered {status}")
    raise RetryableError("webhook.server_error", f"the peer answered {status}", after_s)


def _words(error: Exception) -> str:
    """The system's words for it; aiohttp's own hold the address."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    return getattr(cause, "strerror", None) or getattr(cause, "verify_message", None) or type(cause).__name__
