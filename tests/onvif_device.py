"""An ONVIF camera of the tests' own: answers WS-Discovery and, by HTTP, the calls of the device and media services.

It checks WS-Security's password digest as cameras do, and says how it was asked.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

GROUP, PORT = "239.255.255.250", 3702
ENVELOPE = (
    '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:tds="http://www.onvif.org/ver10/device/wsdl" xmlns:trt="http://www.onvif.org/ver10/media/wsdl" '
    'xmlns:tt="http://www.onvif.org/ver10/schema" xmlns:ter="http://www.onvif.org/ver10/error">'
    "<s:Body>{}</s:Body></s:Envelope>"
)
NOT_AUTHORIZED = (
    "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:NotAuthorized</s:Value></s:Subcode></s:Code>"
    '<s:Reason><s:Text xml:lang="en">Sender not Authorized</s:Text></s:Reason></s:Fault>'
)


@dataclass(frozen=True)
class Offer:
    """One profile of the camera."""

    token: str
    width: int
    height: int
    url: str
    encoding: str = "H264"
    source: str = "lens"


@dataclass
class OnvifDevice:
    """A context manager; `answers` replaces what a call is answered with, `clock` is how far its clock is off."""

    offers: list[Offer]
    user: str = "viewer"
    password: str = "p@ss/w:rd%1"
    name: str = "Front%20Door"
    clock: timedelta = timedelta()
    advertised_host: str = "127.0.0.1"
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[str] = field(default_factory=list)

    def __enter__(self) -> OnvifDevice:
        device = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                device.serve(self)

            def log_message(self, *_: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_port
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._udp.bind((GROUP, PORT))
        membership = struct.pack("4s4s", socket.inet_aton(GROUP), socket.inet_aton("127.0.0.1"))
        self._udp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        self._threads = [
            threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True),
            threading.Thread(target=self._answer_probes, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._over = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            waker.sendto(b"over", (GROUP, PORT))
        for thread in self._threads:
            thread.join(5)
        self._udp.close()

    _over = False

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    # -- WS-Discovery

    def _answer_probes(self) -> None:
        while not self._over:
            data, sender = self._udp.recvfrom(65536)
            question = re.search(rb"MessageID>([^<]+)<", data)
            if b"NetworkVideoTransmitter" in data and question:
                self._udp.sendto(self.probe_match(question[1].decode()).encode(), sender)

    def probe_match(self, question: str) -> str:
        return (
            '<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
            'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
            'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
            'xmlns:dn="http://www.onvif.org/ver10/network/wsdl"><s:Header>'
            f"<a:RelatesTo>{question}</a:RelatesTo>"
            "<a:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/ProbeMatches</a:Action></s:Header><s:Body>"
            "<d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:camera-"
            f"{self.port}</a:Address></a:EndpointReference><d:Types>dn:NetworkVideoTransmitter</d:Types>"
            f"<d:Scopes>onvif://www.onvif.org/type/video onvif://www.onvif.org/name/{self.name} "
            "onvif://www.onvif.org/hardware/T1</d:Scopes>"
            f"<d:XAddrs>http://{self.advertised_host}:{self.port}/onvif/device</d:XAddrs>"
            "<d:MetadataVersion>1</d:MetadataVersion></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
        )

    # -- SOAP

    def serve(self, http: BaseHTTPRequestHandler) -> None:
        body = http.rfile.read(int(http.headers["Content-Length"])).decode()
        self.bodies.append(body)
        call = next(name for name in CALLS if re.search(rf"<(\w+:)?{name}[ />]", body))
        self.asked.append(call)
        if call in self.answers:
            self.answers[call](http)
        elif call != "GetSystemDateAndTime" and not self._authorized(body):
            reply(http, ENVELOPE.format(NOT_AUTHORIZED), 400)
        else:
            reply(http, ENVELOPE.format(getattr(self, f"_{call}")(body)))

    def _authorized(self, body: str) -> bool:
        def value(tag: str) -> str:
            found = re.search(rf"<(?:\w+:)?{tag}(?: [^>]*)?>([^<]*)<", body)
            return found[1] if found else ""

        created = value("Created")
        if value("Username") != self.user or not created.endswith("Z"):
            return False
        if abs(datetime.fromisoformat(created) - datetime.now(UTC) - self.clock) > timedelta(seconds=30):
            return False
        text = base64.b64decode(value("Nonce")) + created.encode() + self.password.encode()
        return value("Password") == base64.b64encode(hashlib.sha1(text).digest()).decode()

    def _GetSystemDateAndTime(self, _: str) -> str:  # noqa: N802
        now = datetime.now(UTC) + self.clock
        return (
            "<tds:GetSystemDateAndTimeResponse><tds:SystemDateAndTime><tt:DateTimeType>Manual</tt:DateTimeType>"
            "<tt:DaylightSavings>false</tt:DaylightSavings><tt:UTCDateTime>"
            f"<tt:Time><tt:Hour>{now.hour}</tt:Hour><tt:Minute>{now.minute}</tt:Minute>"
            f"<tt:Second>{now.second}</tt:Second></tt:Time>"
            f"<tt:Date><tt:Year>{now.year}</tt:Year><tt:Month>{now.month}</tt:Month><tt:Day>{now.day}</tt:Day>"
            "</tt:Date></tt:UTCDateTime></tds:SystemDateAndTime></tds:GetSystemDateAndTimeResponse>"
        )

    def _GetServices(self, _: str) -> str:  # noqa: N802
        services = "".join(
            f"<tds:Service><tds:Namespace>http://www.onvif.org/ver10/{kind}/wsdl</tds:Namespace>"
            f"<tds:XAddr>http://{self.advertised_host}:{self.port}/onvif/{kind}</tds:XAddr>"
            "<tds:Version><tt:Major>2</tt:Major><tt:Minor>4</tt:Minor></tds:Version></tds:Service>"
            for kind in ("device", "media")
        )
        return f"<tds:GetServicesResponse>{services}</tds:GetServicesResponse>"

    def _GetDeviceInformation(self, _: str) -> str:  # noqa: N802
        return (
            "<tds:GetDeviceInformationResponse><tds:Manufacturer>Tests</tds:Manufacturer><tds:Model>T1</tds:Model>"
            "<tds:FirmwareVersion>1.0</tds:FirmwareVersion><tds:SerialNumber>7</tds:SerialNumber>"
            "<tds:HardwareId>T1</tds:HardwareId></tds:GetDeviceInformationResponse>"
        )

    def _GetProfiles(self, _: str) -> str:  # noqa: N802
        profiles = "".join(
            f'<trt:Profiles token="{offer.token}" fixed="true"><tt:Name>{offer.token}</tt:Name>'
            '<tt:VideoSourceConfiguration token="s"><tt:Name>s</tt:Name><tt:UseCount>1</tt:UseCount>'
            f'<tt:SourceToken>{offer.source}</tt:SourceToken><tt:Bounds x="0" y="0" width="1" height="1"/>'
            '</tt:VideoSourceConfiguration><tt:VideoEncoderConfiguration token="e"><tt:Name>e</tt:Name>'
            f"<tt:UseCount>1</tt:UseCount><tt:Encoding>{offer.encoding}</tt:Encoding><tt:Resolution>"
            f"<tt:Width>{offer.width}</tt:Width><tt:Height>{offer.height}</tt:Height></tt:Resolution>"
            "<tt:Quality>1</tt:Quality><tt:RateControl><tt:FrameRateLimit>10</tt:FrameRateLimit>"
            "<tt:EncodingInterval>1</tt:EncodingInterval><tt:BitrateLimit>1024</tt:BitrateLimit></tt:RateControl>"
            "<tt:Multicast><tt:Address><tt:Type>IPv4</tt:Type></tt:Address><tt:Port>0</tt:Port><tt:TTL>1</tt:TTL>"
            "<tt:AutoStart>false</tt:AutoStart></tt:Multicast><tt:SessionTimeout>PT60S</tt:SessionTimeout>"
            "</tt:VideoEncoderConfiguration></trt:Profiles>"
            for offer in self.offers
        )
        return f"<trt:GetProfilesResponse>{profiles}</trt:GetProfilesResponse>"

    def _GetStreamUri(self, body: str) -> str:  # noqa: N802
        token = re.search(r"ProfileToken>([^<]*)<", body)
        assert token is not None
        offer = next(offer for offer in self.offers if offer.token == token[1])
        return (
            f"<trt:GetStreamUriResponse><trt:MediaUri><tt:Uri>{escape(offer.url)}</tt:Uri>"
            "<tt:InvalidAfterConnect>false</tt:InvalidAfterConnect><tt:InvalidAfterReboot>false</tt:InvalidAfterReboot>"
            "<tt:Timeout>PT0S</tt:Timeout></trt:MediaUri></trt:GetStreamUriResponse>"
        )


CALLS = ("GetSystemDateAndTime", "GetServices", "GetDeviceInformation", "GetProfiles", "GetStreamUri",
         "GetCapabilities")  # fmt: skip


def reply(http: BaseHTTPRequestHandler, body: str | bytes, status: int = 200) -> None:
    data = body.encode() if isinstance(body, str) else body
    http.send_response(status)
    http.send_header("Content-Type", "application/soap+xml; charset=utf-8")
    http.send_header("Content-Length", str(len(data)))
    http.end_headers()
    http.wfile.write(data)
