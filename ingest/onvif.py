"""What an ONVIF device says of its video. Its answers are bounded in size and time, and not believed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import aiohttp
from onvif import ONVIFCamera, ONVIFError
from onvif.client import ONVIFService
from onvif.util import is_auth_error
from zeep.exceptions import Error as SoapError
from zeep.exceptions import Fault

from ingest.discovery import Found, at_address, legible
from ingest.errors import Reason, SourceError
from ingest.redact import redact

# The libraries log every malformed answer, and importing them sets up the root logger.
for _name in ("onvif", "zeep"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

MAX_ANSWER_BYTES = 1 << 20
# An NVR has two or three profiles for each of its channels.
MAX_PROFILES = 256
_MEDIA = "http://www.onvif.org/ver10/media/wsdl"


@dataclass(frozen=True, slots=True)
class Login:
    """Whom to say we are; the password is not in its repr."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login({self.user!r}, ***)"


@dataclass(frozen=True, slots=True)
class Profile:
    """One stream that a device offers. `source` tells which of its pictures it shows: an NVR's channel, a lens."""

    token: str
    name: str
    source: str
    encoding: str
    width: int
    height: int
    fps: float | None
    url: str


@dataclass(frozen=True, slots=True)
class Described:
    """What a device told."""

    manufacturer: str | None
    model: str | None
    firmware: str | None
    profiles: tuple[Profile, ...]


async def describe(found: Found, login: Login | None, timeout_s: float) -> Described:
    """The device's make and streams, within `timeout_s` seconds whatever it answers.

    Raises:
        SourceError: it does not tell; `reason` says why.
    """
    try:
        async with asyncio.timeout(timeout_s), _session(login) as session:
            camera = _Camera(found, login, session)
            try:
                return await _described(camera, found.address)
            finally:
                await camera.close()
    except SourceError:
        raise
    except TimeoutError:
        raise SourceError(Reason.TIMEOUT, f"no answer from {found.url} within {timeout_s:g} s") from None
    except aiohttp.ClientConnectorDNSError:
        raise SourceError(Reason.UNREACHABLE, f"the host name {found.address} is not known") from None
    except aiohttp.ClientConnectorError as error:
        raise SourceError(Reason.REFUSED, f"{found.url}: {error.os_error.strerror or error.os_error}") from None
    except Exception as error:  # what a hostile or broken device can make the libraries raise is not foreseeable
        raise _reason(error, login) from None


def _reason(error: Exception, login: Login | None) -> SourceError:
    words = legible(redact(str(error).removeprefix("Unknown error: "))) or type(error).__name__
    if is_auth_error(error):
        mend = "the user or password is wrong, or not one for ONVIF" if login else "it wants a user and a password"
        return SourceError(Reason.AUTH, f"{mend} ({words})")
    if isinstance(error, Fault):
        return SourceError(Reason.REFUSED, words)
    if isinstance(error, (SoapError, ONVIFError, aiohttp.ClientError)):
        return SourceError(Reason.CORRUPT, f"does not speak ONVIF as expected: {words}")
    return SourceError(Reason.CORRUPT, f"does not speak ONVIF as expected: {type(error).__name__}: {words}")


class _BoundedAnswer(aiohttp.ClientResponse):
    """An answer that is read up to MAX_ANSWER_BYTES."""

    async def read(self) -> bytes:
        if self.status in (401, 403):
            self.release()
            raise Fault(f"HTTP {self.status}", subcodes=["NotAuthorized"])  # as in SOAP, where most devices say so
        parts = bytearray()
        async for part in self.content.iter_chunked(1 << 16):
            parts += part
            if len(parts) > MAX_ANSWER_BYTES:
                self.close()
                raise aiohttp.ClientPayloadError(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        self.release()
        return bytes(parts)


def _session(login: Login | None) -> aiohttp.ClientSession:
    async def refuse(*_: object) -> None:
        raise aiohttp.ClientPayloadError("it redirects to elsewhere")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    # Cameras' certificates are their own; the password is never sent, only a digest of it.
    connector = aiohttp.TCPConnector(ssl=False)
    # WS-Security is ONVIF's own way to log in, HTTP's digest that of some devices.
    digest = [aiohttp.DigestAuthMiddleware(login.user, login.password)] if login else []
    return aiohttp.ClientSession(
        connector=connector, response_class=_BoundedAnswer, trace_configs=[trace], middlewares=digest
    )


class _Camera(ONVIFCamera):
    """The library's client, kept to the address that answered and to our session."""

    def __init__(self, found: Found, login: Login | None, session: aiohttp.ClientSession) -> None:
        user, password = (login.user, login.password) if login else ("", "")
        super().__init__(found.address, 80, user, password, no_cache=True, adjust_time=True)
        self._found = found
        self._ours = session
        self._anonymous = login is None

    def rewrite_url(self, url: str | None) -> str | None:
        return at_address(url, self._found.address) if url else url

    def get_definition(self, name: str, port_type: str | None = None) -> tuple[str, str, str]:
        url, wsdl, binding = super().get_definition(name, port_type)
        return self._found.url if name == "devicemgmt" else url, wsdl, binding

    async def create_onvif_service(self, *args: Any, **kwargs: Any) -> ONVIFService:
        service = await super().create_onvif_service(*args, **kwargs)
        service.transport.session = self._ours
        if self._anonymous:
            service.ws_client = service.ws_client_authless
        return service

    async def _adjust_time(self, devicemgmt: ONVIFService) -> ONVIFService:
        try:
            return await super()._adjust_time(devicemgmt)
        except (SoapError, ONVIFError, AttributeError, TypeError, ValueError):
            return devicemgmt  # a device without a usable clock may still take our time


async def _described(camera: _Camera, address: str) -> Described:
    await camera.update_xaddrs()
    device = await camera.create_devicemgmt_service()
    about = await device.GetDeviceInformation()
    camera.xaddrs.setdefault(_MEDIA, camera._found.url)  # small devices serve all under one URL and do not say so
    media = await camera.create_media_service()
    profiles = []
    for profile in list(await media.GetProfiles() or ())[:MAX_PROFILES]:
        try:
            uri = await media.GetStreamUri({
                "StreamSetup": {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}},
                "ProfileToken": profile.token,
            })  # fmt: skip
        except Fault as fault:
            if is_auth_error(fault):
                raise
            uri = None  # a profile without a stream, such as one for snapshots
        profiles.append(profile_of(profile, getattr(uri, "Uri", None), address))
    usable = tuple(profile for profile in profiles if profile is not None)
    if not usable:
        raise SourceError(Reason.NO_VIDEO, f"none of its {len(profiles)} profiles is video over RTSP")
    return Described(_text(about, "Manufacturer"), _text(about, "Model"), _text(about, "FirmwareVersion"), usable)


def profile_of(profile: Any, uri: Any, address: str) -> Profile | None:
    """A profile as the library read it; None when it is no video, or its URL cannot be used."""
    encoder = getattr(profile, "VideoEncoderConfiguration", None)
    if encoder is None or not isinstance(uri, str):
        return None
    try:
        url = at_address(uri.strip(), address)
    except ValueError:
        return None
    if not url.lower().startswith(("rtsp://", "rtsps://")) or not url.isprintable() or len(url) > 2000:
        return None
    size = getattr(encoder, "Resolution", None)
    limits = getattr(encoder, "RateControl", None)
    return Profile(
        token=str(profile.token),
        name=_text(profile, "Name") or str(profile.token),
        source=_text(getattr(profile, "VideoSourceConfiguration", None), "SourceToken") or "",
        encoding=(_text(encoder, "Encoding") or "").lower(),
        width=_number(size, "Width"),
        height=_number(size, "Height"),
        fps=_number(limits, "FrameRateLimit") or None,
        url=url,
    )


def _text(value: Any, name: str) -> str | None:
    found = getattr(value, name, None)
    return legible(str(found)) or None if found is not None else None


def _number(value: Any, name: str) -> int:
    found = getattr(value, name, None)
    return found if isinstance(found, int) and 0 <= found < 100_000 else 0
