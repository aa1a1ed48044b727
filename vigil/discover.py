"""`vigil discover`: the ONVIF cameras of this network as a config to paste."""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from ingest import discovery
from ingest.discovery import Found, printable
from ingest.errors import SourceError
from ingest.onvif import Described, Login, Profile, describe

# Enough for people and cars at some distance; a model's input is smaller still.
ANALYSIS_HEIGHTS = (720, 1080)
PASSWORD = "CAM_PASSWORD"  # noqa: S105 - the name of a variable
ASKED_AT_ONCE = 16
MAX_ID = 64
NONE_FOUND = (
    "No ONVIF camera answered. Is ONVIF switched on in the cameras (often under network or integration settings)? Are "
    "they in the same network as this machine (same VLAN; a container needs the host's network)? Does the switch or "
    "access point pass multicast (239.255.255.250, UDP 3702)? Cameras that multicast does not reach can be named: "
    "--host 10.0.0.12"
)


@dataclass(frozen=True, slots=True)
class Camera:
    """A device that was found, and what it told or why it did not."""

    found: Found
    told: Described | None = None
    reason: str | None = None
    detail: str | None = None

    @property
    def title(self) -> str:
        """Make, model and name, as far as they are known."""
        parts = [self.told.manufacturer, self.told.model] if self.told else [self.found.hardware]
        if self.found.name and self.found.name.lower() not in " ".join(filter(None, parts)).lower():
            parts.append(f"({self.found.name})" if any(parts) else self.found.name)
        return " ".join(filter(None, parts)) or "ONVIF device"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream of a config: the profile to analyse, and the others that show the same picture."""

    id: str
    url: str
    profile: Profile
    others: tuple[tuple[Profile, str], ...]


def host(text: str) -> Found:
    """A device named by the user: `10.0.0.12`, `cam.lan:8080` or the URL of its ONVIF service.

    Raises:
        ValueError: it is none of these.
    """
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or parts.username:
        raise ValueError(f"{text!r} is not like 10.0.0.12, 10.0.0.12:8080 or http://10.0.0.12/onvif/device_service")
    path = parts.path if parts.path not in ("", "/") else "/onvif/device_service"
    return Found(parts.hostname, parts._replace(path=path).geturl(), url)


async def discover(
    addresses: Sequence[str], hosts: Sequence[Found], login: Login | None, timeout_s: float, tell: Callable[[str], None]
) -> list[Camera]:
    """Searches from our `addresses`, unless there are `hosts`, and asks what was found; `tell` hears of the progress.

    Raises:
        DiscoveryError: the network cannot be searched.
    """
    heard: list[Found] = []

    def answered(found: Found) -> None:
        heard.append(found)
        tell(f"searching: {len(heard)} answered, the latest at {found.address}")

    tell("searching")
    devices = list(hosts) or await discovery.search(addresses, timeout_s, answered)
    done = 0
    room = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(found: Found) -> Camera:
        nonlocal done
        async with room:
            try:
                camera = Camera(found, await describe(found, login, timeout_s))
            except SourceError as error:
                camera = Camera(found, reason=error.reason.value, detail=error.detail)
        done += 1
        tell(f"asking for streams: {done} of {len(devices)}")
        return camera

    return await asyncio.gather(*(ask(found) for found in devices))


# -- choosing


def choose(profiles: Iterable[Profile]) -> list[Profile]:
    """The profiles that show one picture, the one to analyse first.

    That is the one whose height is nearest to 720 to 1080 lines, the larger of equals; JPEG, which takes many times
    the bandwidth, only where there is nothing else.
    """
    lowest, highest = ANALYSIS_HEIGHTS

    def rank(profile: Profile) -> tuple[bool, int, int]:
        away = max(lowest - profile.height, profile.height - highest, 0)
        return profile.encoding in ("jpeg", "mjpeg"), away, -profile.height

    return sorted(profiles, key=rank)


def entries(cameras: Iterable[Camera], login: Login | None) -> list[tuple[Camera, list[Entry]]]:
    """The streams of each camera: one for each of its pictures, with ids that are unique among all."""
    taken: set[str] = set()
    result = []
    for camera in cameras:
        found: list[Entry] = []
        profiles = sorted(camera.told.profiles, key=lambda profile: profile.source) if camera.told else []
        for _, same_picture in groupby(profiles, key=lambda profile: profile.source):
            best, *others = choose(same_picture)
            name = _id(camera, taken)
            taken.add(name)
            urls = tuple((other, with_login(other.url, login)) for other in others)
            found.append(Entry(name, with_login(best.url, login), best, urls))
        result.append((camera, found))
    return result


def _id(camera: Camera, taken: set[str]) -> str:
    told = camera.told
    names = (camera.found.name, camera.found.hardware, told.model if told else None, f"cam-{camera.found.address}")
    base = next(filter(None, (stream_id(name) for name in names if name)), "camera")
    candidates = (base if number == 1 else f"{base[: MAX_ID - 6]}-{number}" for number in range(1, 100_000))
    return next(candidate for candidate in candidates if candidate not in taken)


def stream_id(name: str) -> str:
    """The name as a stream id, `""` when nothing of it can be one: `Büro (Süd)` becomes `buro-sud`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")[:MAX_ID].strip("-_")


_PASSWORD_VALUE = re.compile(r"(?i)(?P<key>(?:pass|passwd|password|pwd)=)[^&;_/?#]*")


def with_login(url: str, login: Login | None) -> str:
    """The URL as a config has it: the user's name percent-encoded, the password a reference, nothing else filled in.

    A dollar sign of the device's is encoded, so that it can refer to nothing of ours; a password that the device put
    into the URL becomes the reference, too.
    """
    parts = urlsplit(quote(url, safe=":/?#[]@!&'()*+,;=%-._~"))
    reference = f"${{{PASSWORD}}}"
    path = _PASSWORD_VALUE.sub(rf"\g<key>{reference}", parts.path)
    query = _PASSWORD_VALUE.sub(rf"\g<key>{reference}", parts.query)
    userinfo = ""
    if login is not None:
        userinfo = f"{quote(login.user, safe='')}:{reference}@"
        for secret in {login.password, quote(login.password, safe="")} - {""}:
            query = re.sub(rf"(?<==){re.escape(secret)}(?=&|$)", lambda _: reference, query)
    return parts._replace(netloc=userinfo + parts.netloc, path=path, query=query).geturl()


# -- telling


def fragment(cameras: Sequence[Camera], login: Login | None) -> str:
    """The cameras as YAML: `streams`, and in comments what is no stream."""
    lines, silent = [], []
    for camera, streams in entries(cameras, login):
        if not streams:
            silent.append(f"# {camera.found.address} {camera.title}: {camera.reason}: {camera.detail}")
        for entry in streams:
            lines += [
                f"  # {camera.title} at {camera.found.address}: {_picture(entry.profile)}",
                f"  {_scalar(entry.id)}:",
                f"    url: {_scalar(entry.url)}",
            ]
            lines += [f"    # {_picture(other)}: {url}" for other, url in entry.others]
    head = []
    if lines:
        head.append("# Found by `vigil discover`: of each camera the stream for analysis, its others in comments.")
        if any(PASSWORD in line for line in lines):
            head.append(
                f"# Set {PASSWORD} in the environment, percent-encoded (@ is %40, / is %2F, : is %3A, % is %25)."
            )
        head.append("streams:")
    return "".join(f"{_one_line(line)}\n" for line in [*head, *lines, *silent])


def _one_line(line: str) -> str:
    """Nothing a camera says ends a comment or moves a terminal's cursor."""
    return line[: len(line) - len(line.lstrip())] + printable(line)


def _picture(profile: Profile) -> str:
    rate = f" {profile.fps:g} fps" if profile.fps else ""
    return f"{profile.name}, {profile.width}x{profile.height}{rate} {profile.encoding}"


def _scalar(text: str) -> str:
    """On one line, quoted where YAML wants it."""
    return yaml.safe_dump(text, width=100_000, allow_unicode=True).removesuffix("\n").removesuffix("\n...")


def to_json(cameras: Sequence[Camera], login: Login | None) -> str:
    told: list[dict[str, Any]] = []
    for camera, streams in entries(cameras, login):
        about = camera.told
        told.append({
            "address": camera.found.address,
            "service": camera.found.url,
            "name": camera.found.name,
            "hardware": camera.found.hardware,
            "manufacturer": about.manufacturer if about else None,
            "model": about.model if about else None,
            "firmware": about.firmware if about else None,
            "ok": about is not None,
            "reason": camera.reason,
            "detail": camera.detail,
            "streams": [
                {
                    "id": entry.id,
                    "url": entry.url,
                    "profile": _profile(entry.profile),
                    "others": [{"url": url, "profile": _profile(other)} for other, url in entry.others],
                }
                for entry in streams
            ],
        })  # fmt: skip
    return json.dumps(told, indent=2)


def _profile(profile: Profile) -> dict[str, Any]:
    return {key: value for key, value in asdict(profile).items() if key != "url"}
