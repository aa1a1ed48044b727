"""Events, states and counts of objects as MQTT topics, and cameras as devices of Home Assistant.

What stands on the retained topics is worked out anew whenever something happens (`publish/bridges/topics.py`), and what
differs from what was published on this connection is published. So nothing has to be remembered of a broker that forgot
everything, and a new connection begins with all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import ssl
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urlsplit

import aiomqtt
import structlog
from aiomqtt.exceptions import MqttConnectError
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from ingest.redact import redact
from publish.bridges.backoff import delay_s
from publish.bridges.config import MqttConfig
from publish.bridges.contract import Delivery, DeliveryError, RetryableError, Scene, Surroundings, Told
from publish.bridges.presence import PRESENCE_TYPES, Presence
from publish.bridges.selection import wanted_subjects, wants
from publish.bridges.store import PresenceStore
from publish.bridges.topics import OFFLINE, ONLINE, REFRESH_S, Topics, counts, device, discovery_topic, places, without
from publish.subjects import STATUS_STREAM
from publish.trouble import FAILURES

log = structlog.get_logger()

KEEPALIVE_S = 15
TICK_S = 1.0
# The last states are read again after so long, lest one was missed while NATS was away.
STATES_S = 10.0
# With NATS away for longer, what is on the topics may be wrong.
BLIND_S = 10.0
# Its warnings are of things that we tell better ourselves.
_QUIET = logging.getLogger("vigil.mqtt")
_QUIET.setLevel(logging.CRITICAL)


class Mqtt:
    def __init__(self, config: MqttConfig, surroundings: Surroundings) -> None:
        self._config = config
        self._around = surroundings
        self._topics = Topics(config.prefix or f"vigil/{surroundings.site}")
        self._store = PresenceStore(surroundings.nats, surroundings.site, surroundings.name)
        self._presences: dict[str, Presence] = {}
        self._states: dict[str, str] = {}
        self._published: dict[str, str] = {}  # on this connection: retained payloads by topic
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # by stream
        self._client: aiomqtt.Client | None = None
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()
        self._wake = asyncio.Event()
        self._last_nats = time.monotonic()
        self._rng = random.Random()
        self.trouble: DeliveryError | None = None
        self.subjects = wanted_subjects(config, surroundings.subjects, PRESENCE_TYPES)

    @property
    def peer(self) -> str:
        return self._config.url

    def wants(self, event: Told) -> bool:
        """All, as who is where is made of them; what is published is decided there."""
        return True

    # -- deliveries

    async def deliver(self, delivery: Delivery) -> None:
        event, stream = delivery.event, delivery.event.stream
        client = await self._await_client()
        async with self._locks[stream]:
            presence = await self._presence(stream)
            before = (presence.session, presence.counts())
            known_already = not presence.apply(event, delivery.sequence)
            try:
                if self._config.events and wants(self._config, event):
                    topic = self._topics.event(stream, event.type)
                    await client.publish(topic, delivery.body, qos=1, timeout=self._config.timeout)
                await self._sync(client, self._of_stream(stream))
            except aiomqtt.MqttError as error:
                self._broken.set()
                raise RetryableError("mqtt.lost", f"the broker did not take it: {_words(error)}") from None
            # What was known already may have been published, and not saved.
            if known_already or before != (presence.session, presence.counts()):
                await self._save(stream, presence)

    async def _await_client(self) -> aiomqtt.Client:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.timeout):
                await self._connected.wait()
        if self._client is None:
            raise self.trouble or RetryableError("mqtt.unreachable", "there is no connection to the broker")
        return self._client

    async def _presence(self, stream: str) -> Presence:
        if stream not in self._presences:
            try:
                self._presences[stream] = await self._store.load(stream)
            except FAILURES as error:
                raise RetryableError("bridge.nats", f"cannot read who is where: {redact(str(error))}") from None
        return self._presences[stream]

    async def _save(self, stream: str, presence: Presence) -> None:
        try:
            await self._store.save(stream, presence)
        except FAILURES as error:
            raise RetryableError("bridge.nats", f"cannot keep who is where: {redact(str(error))}") from None

    # -- the connection

    async def run(self) -> None:
        failures = 0
        subscription = await self._around.nats.subscribe(self._around.subjects.all_status, cb=self._hear_state)
        try:
            while True:
                try:
                    async with self._connection() as client:
                        failures, self.trouble = 0, None
                        await self._stay(client)
                except (aiomqtt.MqttError, OSError, ValueError) as error:
                    refused = isinstance(error, MqttConnectError)
                    self.trouble = RetryableError("mqtt.refused" if refused else "mqtt.unreachable", _words(error))
                failures += 1
                await asyncio.sleep(delay_s(failures, self._rng))
        finally:
            with contextlib.suppress(*FAILURES):
                await subscription.unsubscribe()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        """A connection on which everything has been published; it is `offline` for others when it ends."""
        config, url = self._config, urlsplit(self._config.url)
        tls = url.scheme == "mqtts"
        context = await asyncio.to_thread(ssl.create_default_context, cafile=config.ca) if tls else None
        password = config.password.get_secret_value() if config.password is not None else None
        async with aiomqtt.Client(
            url.hostname or "", url.port or (8883 if tls else 1883), username=config.username, password=password,
            identifier=f"vigil-{self._around.site}-{self._around.name}", keepalive=KEEPALIVE_S, tls_context=context,
            timeout=config.timeout, logger=_QUIET,
            will=aiomqtt.Will(self._topics.available, OFFLINE, qos=1, retain=True),
        ) as client:  # fmt: skip
            client.pending_calls_threshold = 1 << 16
            self._published.clear()
            self._broken.clear()
            if self._config.home_assistant.enabled:
                await client.subscribe(f"{config.home_assistant.prefix}/status", qos=1)
            await self._forget_the_gone(client)
            await self._tell_all(client)
            self._client = client
            self._connected.set()
            try:
                yield client
            finally:
                self._client = None
                self._connected.clear()
                with contextlib.suppress(aiomqtt.MqttError):
                    await client.publish(self._topics.available, OFFLINE, qos=1, retain=True, timeout=TICK_S)

    async def _stay(self, client: aiomqtt.Client) -> None:
        """Keeps the topics true; raises MqttError when the connection is lost."""
        listening = asyncio.create_task(self._listen(client))
        listening.add_done_callback(lambda task: task.cancelled() or task.exception())  # told below, or told already
        refreshed = states = time.monotonic()
        try:
            while not self._broken.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._wake.wait()
                self._wake.clear()
                if listening.done():
                    listening.result()
                now = time.monotonic()
                if now - refreshed > REFRESH_S:
                    refreshed = now
                    self._published.clear()
                if now - states > STATES_S:
                    states = now
                    await self._read_states()
                await self._tell_all(client)
        finally:
            listening.cancel()

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Home Assistant tells when it has started, and wants to be told everything then."""
        async for message in client.messages:
            if message.payload == ONLINE.encode():
                self._published.clear()
                self._wake.set()

    # -- what stands on the topics

    async def _tell_all(self, client: aiomqtt.Client) -> None:
        if self._around.nats.is_connected:
            self._last_nats = time.monotonic()
        seeing = time.monotonic() - self._last_nats < BLIND_S
        for stream in self._streams():
            async with self._locks[stream]:
                with contextlib.suppress(RetryableError):  # NATS is away; it is told when that is back
                    await self._presence(stream)
                    await self._sync(client, self._of_stream(stream))
        for stream in self._presences.keys() - self._streams():
            async with self._locks[stream]:
                await self._clear(client, stream)
        await self._sync(client, {self._topics.available: ONLINE if seeing else OFFLINE})

    def _streams(self) -> Mapping[str, Scene]:
        wanted = self._config.streams
        return {name: scene for name, scene in self._around.scenes().items() if wanted is None or name in wanted}

    def _of_stream(self, stream: str) -> dict[str, str]:
        """What is to be on its retained topics."""
        config, presence = self._config, self._presences[stream]
        scene = self._around.scenes().get(stream)
        if scene is None:
            return {}
        told = places(scene, presence.known, config.classes, config.zones)
        wanted: dict[str, str] = {}
        if config.home_assistant.enabled:
            described = device(self._topics, self._around.site, stream, told, self._around.version)
            topic = discovery_topic(config.home_assistant.prefix, self._around.site, stream)
            wanted[topic] = json.dumps(described)
        if stream in self._states:
            wanted[self._topics.state(stream)] = self._states[stream]
        there = counts(told, presence.counts())
        return wanted | {self._topics.count(stream, place): str(number) for place, number in there.items()}

    async def _sync(self, client: aiomqtt.Client, wanted: Mapping[str, str]) -> None:
        """Publishes what differs from what stands there."""
        fresh = {topic: payload for topic, payload in wanted.items() if self._published.get(topic) != payload}
        for topic in [topic for topic in fresh if topic.endswith("/config")]:
            if first := without(self._published.get(topic), json.loads(fresh[topic])):
                await self._retain(client, topic, json.dumps(first))
        await asyncio.gather(*(self._retain(client, topic, payload) for topic, payload in fresh.items()))
        self._published |= fresh

    async def _retain(self, client: aiomqtt.Client, topic: str, payload: str) -> None:
        await client.publish(topic, payload, qos=1, retain=True, timeout=self._config.timeout)

    async def _clear(self, client: aiomqtt.Client, stream: str) -> None:
        """The stream is no more: nothing is retained of it."""
        known, zones = self._presences[stream].known, {zone: () for zone, _ in self._presences[stream].known if zone}
        topics = {self._topics.count(stream, place) for place in places(Scene(zones=zones), known, None, None)}
        topics |= {topic for topic in self._published if topic.startswith(f"{self._topics.prefix}/{stream}/")}
        topics |= {self._topics.state(stream)}
        if self._config.home_assistant.enabled:
            topics.add(discovery_topic(self._config.home_assistant.prefix, self._around.site, stream))
        await asyncio.gather(*(self._retain(client, topic, "") for topic in topics))
        for topic in topics:
            self._published.pop(topic, None)
        with contextlib.suppress(*FAILURES):
            await self._store.forget(stream)
            del self._presences[stream]

    async def _forget_the_gone(self, client: aiomqtt.Client) -> None:
        """Streams that were removed while nobody was here."""
        with contextlib.suppress(RetryableError, *FAILURES):
            await self._read_states()
            for stream in set(await self._store.streams()) - self._streams().keys():
                await self._presence(stream)

    # -- the streams' states

    async def _hear_state(self, message: Msg) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            told = json.loads(message.data)
            self._states[message.subject.rpartition(".")[2]] = str(told["state"])
            self._wake.set()

    async def _read_states(self) -> None:
        jetstream = self._around.nats.jetstream()
        for stream in self._streams():
            with contextlib.suppress(ValueError, KeyError, TypeError, NotFoundError, *FAILURES):
                last = await jetstream.get_last_msg(STATUS_STREAM, self._around.subjects.status(stream))
                self._states[stream] = str(json.loads(last.data or b"")["state"])


def _words(error: Exception) -> str:
    return redact(str(error)) or type(error).__name__
