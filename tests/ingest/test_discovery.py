"""What answers a probe of the network, and what only pretends to."""

from __future__ import annotations

import asyncio
import socket
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.discovery import (
    GROUP,
    DiscoveryError,
    Found,
    at_address,
    interfaces,
    legible,
    parse,
    probe,
    search,
    service_url,
)
from tests.onvif_device import Offer, OnvifDevice

MATCH = (
    '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><s:Body><d:ProbeMatches><d:ProbeMatch>'
    "<a:EndpointReference><a:Address>urn:uuid:1</a:Address></a:EndpointReference><d:Types>{types}</d:Types>"
    "<d:Scopes>{scopes}</d:Scopes><d:XAddrs>{urls}</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
)
CAMERA = MATCH.format(
    types="dn:NetworkVideoTransmitter",
    scopes="onvif://www.onvif.org/name/AXIS%20P1375 onvif://www.onvif.org/hardware/P1375",
    urls="http://10.0.0.12/onvif/device_service",
)


def test_a_camera_is_found_with_what_it_calls_itself() -> None:
    assert parse(CAMERA.encode(), "10.0.0.12") == [
        Found("10.0.0.12", "http://10.0.0.12/onvif/device_service", "urn:uuid:1", "AXIS P1375", "P1375")
    ]


def test_printers_and_computers_are_no_cameras() -> None:
    answer = MATCH.format(types="wsdp:Device pub:Computer", scopes="ldap:///x", urls="http://10.0.0.3:5357/1")
    assert parse(answer.encode(), "10.0.0.3") == []


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        (["http://10.0.0.12/onvif/device_service"], "http://10.0.0.12/onvif/device_service"),
        (["http://[fe80::1]/onvif/x", "http://10.0.0.12:8080/onvif/y"], "http://10.0.0.12:8080/onvif/y"),
        (["http://192.168.0.64:81/onvif/device_service"], "http://10.0.0.12:81/onvif/device_service"),
        (["soap.udp://10.0.0.12:3702", "http://10.0.0.12:99999/"], "http://10.0.0.12/onvif/device_service"),
        ([], "http://10.0.0.12/onvif/device_service"),
    ],
)
def test_a_device_is_asked_at_the_address_that_answered(candidates: list[str], expected: str) -> None:
    assert service_url(candidates, "10.0.0.12") == expected


def test_a_url_moves_to_an_address_with_its_port_and_without_its_login() -> None:
    assert at_address("rtsp://a:b@192.168.0.64:8554/s1?x=1", "10.0.0.12") == "rtsp://10.0.0.12:8554/s1?x=1"
    assert at_address("rtsp://192.168.0.64/s1", "fd00::7") == "rtsp://[fd00::7]/s1"


@given(st.binary(max_size=2000))
def test_any_datagram_is_survived(datagram: bytes) -> None:
    assert parse(datagram, "10.0.0.12") == []


@given(st.data())
def test_a_damaged_answer_is_survived(data: st.DataObject) -> None:
    damaged = bytearray(CAMERA.encode())
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for found in parse(bytes(damaged), "10.0.0.12"):
        assert found.url.startswith(("http://10.0.0.12", "https://10.0.0.12"))


@given(types=st.text(max_size=60), scopes=st.text(max_size=200), urls=st.text(max_size=200))
def test_whatever_stands_in_the_fields_of_an_answer_is_survived(types: str, scopes: str, urls: str) -> None:
    answer = MATCH.format(
        types=escape(types), scopes="onvif://www.onvif.org/name/" + escape(scopes), urls=escape("http://" + urls)
    )
    for found in parse(answer.encode("utf-8", "surrogatepass"), "10.0.0.12"):
        assert found.name is None or (found.name.isprintable() and len(found.name) <= 80)
        assert found.url.startswith(("http://10.0.0.12", "https://10.0.0.12"))


def test_entities_are_not_expanded() -> None:
    small = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "urn:uuid:2">]>'
    assert parse((small + CAMERA.replace("urn:uuid:1", "&a;")).encode(), "10.0.0.12") == []
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    bomb += "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)) + "]>"
    assert parse((bomb + CAMERA.replace("urn:uuid:1", "&j;")).encode(), "10.0.0.12") == []
    outside = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    assert parse((outside + CAMERA.replace("urn:uuid:1", "&a;")).encode(), "10.0.0.12") == []


def test_deep_nesting_is_survived() -> None:
    assert parse(b"<a>" * 20_000, "10.0.0.12") == []
    assert parse(b"<a>" * 9_000 + b"</a>" * 9_000, "10.0.0.12") == []


def test_what_a_device_says_is_one_printable_line() -> None:
    assert legible("Front\x1b[2J\r\n door\u2028!") == "Front [2J door !"
    assert len(legible("x" * 500)) == 80


def test_an_interface_is_known_by_name_and_by_address() -> None:
    assert interfaces("lo") == interfaces("127.0.0.1") == ["127.0.0.1"]
    assert "127.0.0.1" not in interfaces()
    with pytest.raises(ValueError, match=r"'eth77' is no interface with an IPv4 address here; there are .*lo \(127"):
        interfaces("eth77")


def test_a_search_finds_each_camera_once_however_often_it_answers() -> None:
    heard: list[Found] = []
    with OnvifDevice([Offer("main", 1280, 720, "rtsp://127.0.0.1/1")], name="Gate", advertised_host="10.9.9.9") as one:
        found = asyncio.run(search(["127.0.0.1"], 1.2, heard.append))
    mine = [device for device in found if device.url == f"http://127.0.0.1:{one.port}/onvif/device"]
    assert [(device.address, device.name, device.hardware) for device in mine] == [("127.0.0.1", "Gate", "T1")]
    assert sorted(heard, key=lambda device: device.url) == sorted(found, key=lambda device: device.url)


def test_hostile_answers_do_not_hide_a_camera() -> None:
    """One answers with garbage as fast as it can, from before the camera's answer to after it."""
    heard: list[Found] = []

    async def main() -> list[Found]:
        loop = asyncio.get_running_loop()

        class Hostile(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                for garbage in (b"", b"<", b"\xff" * 60_000, b"<a>" * 20_000, CAMERA.replace("uuid", "\0").encode()):
                    transport.sendto(garbage, addr)
                for number in range(200):
                    transport.sendto(CAMERA.replace("urn:uuid:1", f"fake-{number}").encode(), addr)

        transport, _ = await loop.create_datagram_endpoint(Hostile, local_addr=("127.0.0.1", 0))
        listener = _group_member()
        loop.add_reader(listener, lambda: Hostile().datagram_received(*listener.recvfrom(65536)))
        try:
            return await search(["127.0.0.1"], 1.2, heard.append)
        finally:
            loop.remove_reader(listener)
            listener.close()
            transport.close()

    with OnvifDevice([Offer("main", 1280, 720, "rtsp://127.0.0.1/1")]) as camera:
        found = asyncio.run(main())
    assert f"http://127.0.0.1:{camera.port}/onvif/device" in [device.url for device in found]


def _group_member() -> socket.socket:
    member = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    member.bind(GROUP)
    member.setsockopt(
        socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP[0]) + socket.inet_aton("127.0.0.1")
    )
    return member


def test_a_network_that_cannot_be_searched_is_an_error() -> None:
    with pytest.raises(DiscoveryError, match="cannot search the network"):
        asyncio.run(search(["203.0.113.77"], 1.0, lambda _: None))
    with pytest.raises(DiscoveryError, match="there is no interface"):
        asyncio.run(search([], 1.0, lambda _: None))


def test_the_probe_is_what_cameras_look_for() -> None:
    """Our own parser would read anything: ONVIF's core specification prescribes action, addressee and types."""
    message = probe("1", "dn:NetworkVideoTransmitter", "http://www.onvif.org/ver10/network/wsdl").decode()
    for part in (
        "<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action>",
        "<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>",
        'xmlns:dn="http://www.onvif.org/ver10/network/wsdl"',
        "<d:Types>dn:NetworkVideoTransmitter</d:Types>",
    ):
        assert part in message
