"""What was found becomes a config that can be pasted, and nothing that a camera says can make it anything else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ingest.discovery import Found, at_address
from ingest.onvif import Described, Login, Profile
from publish.config import STREAM_ID
from tests.onvif_device import Offer, OnvifDevice
from vigil.cli import app
from vigil.discover import Camera, choose, entries, fragment, host, stream_id, to_json, with_login
from vigil.document import ConfigError
from vigil.load import parse

ROOT = Path(__file__).resolve().parents[2]
LOGIN = Login("viewer", "p@ss/w:rd%1")


def profile(
    height: int, url: str = "rtsp://10.0.0.12/1", source: str = "lens", encoding: str = "h264", name: str = "one"
) -> Profile:
    return Profile(f"t{height}", name, source, encoding, height * 16 // 9, height, 25, url)


def camera(*profiles: Profile, name: str | None = "Front Door", address: str = "10.0.0.12") -> Camera:
    found = Found(address, f"http://{address}/onvif/device_service", address, name, "P1375")
    return Camera(found, Described("AXIS", "P1375", "11.2", profiles))


@pytest.mark.parametrize(
    ("heights", "chosen"),
    [
        ([2160, 1080, 360], 1080),
        ([2160, 720, 360], 720),
        ([1080, 720], 1080),
        ([2160, 480], 480),
        ([1440, 360], 1440),
        ([360], 360),
        ([1081, 719], 1081),
        ([0, 576], 576),
    ],
)
def test_the_stream_to_analyse_is_nearest_to_720_to_1080_lines(heights: list[int], chosen: int) -> None:
    assert choose(profile(height) for height in heights)[0].height == chosen


def test_jpeg_is_taken_only_where_there_is_nothing_else() -> None:
    assert choose([profile(1080, encoding="jpeg"), profile(360)])[0].height == 360
    assert choose([profile(1080, encoding="jpeg")])[0].height == 1080


def test_a_recorder_is_one_stream_for_each_of_its_channels() -> None:
    recorder = camera(
        profile(1080, "rtsp://10.0.0.2/101", "channel1"), profile(1080, "rtsp://10.0.0.2/201", "channel2"),
        profile(360, "rtsp://10.0.0.2/102", "channel1"), profile(360, "rtsp://10.0.0.2/202", "channel2"),
        name="NVR",
    )  # fmt: skip
    ((_, streams),) = entries([recorder], None)
    assert [(entry.id, entry.url, entry.others[0][1]) for entry in streams] == [
        ("nvr", "rtsp://10.0.0.2/101", "rtsp://10.0.0.2/102"),
        ("nvr-2", "rtsp://10.0.0.2/201", "rtsp://10.0.0.2/202"),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("AXIS P1375", "axis-p1375"),
        ("Büro (Süd)", "buro-sud"),
        ("-_cam_1-", "cam_1"),
        ("前門", ""),
        ("x" * 99, "x" * 64),
    ],
)
def test_a_name_becomes_an_id(name: str, expected: str) -> None:
    assert stream_id(name) == expected


def test_a_camera_without_a_usable_name_is_called_by_what_else_is_known() -> None:
    nameless = [camera(profile(720), name=name) for name in (None, "前門", "P1375")]
    assert [streams[0].id for _, streams in entries(nameless, None)] == ["p1375", "p1375-2", "p1375-3"]


@given(st.lists(st.text(max_size=80), max_size=8))
def test_ids_are_valid_and_unique(names: list[str]) -> None:
    ids = [streams[0].id for _, streams in entries([camera(profile(720), name=name) for name in names], None)]
    assert len(set(ids)) == len(ids)
    assert all(re.match(STREAM_ID, name) and len(name) <= 64 for name in ids)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtsp://10.0.0.12/s1?x=1&y=a%20b", "rtsp://viewer:${CAM_PASSWORD}@10.0.0.12/s1?x=1&y=a%20b"),
        ("rtsp://10.0.0.12/a b", "rtsp://viewer:${CAM_PASSWORD}@10.0.0.12/a%20b"),
        ("rtsp://10.0.0.12/${HOME}", "rtsp://viewer:${CAM_PASSWORD}@10.0.0.12/%24%7BHOME%7D"),
        (
            "rtsp://10.0.0.12/x?user=viewer&password=12345&channel=1",
            "rtsp://viewer:${CAM_PASSWORD}@10.0.0.12/x?user=viewer&password=${CAM_PASSWORD}&channel=1",
        ),
        (
            "rtsp://10.0.0.12/user=viewer_password=tlJwpbo6_channel=1.sdp?real_stream",
            "rtsp://viewer:${CAM_PASSWORD}@10.0.0.12/user=viewer_password=${CAM_PASSWORD}_channel=1.sdp?real_stream",
        ),
        (
            "rtsp://10.0.0.12/x?key=p%40ss%2Fw%3Ard%251&n=2",
            "rtsp://viewer:${CAM_PASSWORD}@10.0.0.12/x?key=${CAM_PASSWORD}&n=2",
        ),
    ],
)
def test_a_url_has_references_where_the_password_was(url: str, expected: str) -> None:
    assert with_login(url, LOGIN) == expected


def test_a_user_name_with_special_characters_is_encoded() -> None:
    assert with_login("rtsp://h/1", Login("a@b:${c}", "x")) == "rtsp://a%40b%3A%24%7Bc%7D:${CAM_PASSWORD}@h/1"


def test_the_fragment_is_a_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CAM_PASSWORD", "s3cret")
    refusing = Camera(Found("10.0.0.9", "http://10.0.0.9/onvif", "x"), reason="auth", detail="it wants a password")
    cameras = [camera(profile(1080), profile(360, "rtsp://10.0.0.12/2")), refusing]
    text = fragment(cameras, LOGIN)
    config = parse(text, "found.yaml", tmp_path)
    assert {name: stream.url for name, stream in config.streams.items()} == {
        "front-door": "rtsp://viewer:s3cret@10.0.0.12/1"
    }
    assert "# one, 640x360 25 fps h264: rtsp://viewer:${CAM_PASSWORD}@10.0.0.12/2" in text
    assert "# 10.0.0.9 ONVIF device: auth: it wants a password" in text
    assert LOGIN.password not in text


def test_what_no_camera_gave_a_stream_for_is_comments_only() -> None:
    refusing = Camera(Found("10.0.0.9", "http://10.0.0.9/onvif", "x"), reason="auth", detail="it wants a password")
    assert fragment([refusing], None) == "# 10.0.0.9 ONVIF device: auth: it wants a password\n"
    assert fragment([], None) == ""


def test_a_cameras_name_does_not_end_its_comment() -> None:
    named = Camera(
        Found("10.0.0.12", "http://10.0.0.12/", "x", "a\nstreams: {b: {url: rtsp://evil/1}}\x1b[2J", "T"),
        Described("Maker\u2028x:", "T\x85y: 1", None, (profile(720, name="c\rd: 1"),)),
    )
    text = fragment([named], None)
    assert list(yaml.safe_load(text)["streams"]) == ["a-streams-b-url-rtsp-evil-1-2j"]
    assert all(character == "\n" or character.isprintable() for character in text)


hostile = st.text(
    st.one_of(st.characters(), st.sampled_from("\n\r\u2028\x85#:${}'\"%@/\\\x1b[]-")), min_size=0, max_size=40
)


@given(name=hostile, model=hostile, path=hostile, profile_name=hostile, detail=hostile)
def test_nothing_a_camera_says_becomes_more_than_a_url_or_a_comment(
    name: str, model: str, path: str, profile_name: str, detail: str
) -> None:
    from ingest.onvif import profile_of

    class Answer:
        """As the library reads a profile."""

        token, Name = "t", profile_name
        VideoEncoderConfiguration = object()

    read = profile_of(Answer(), f"rtsp://192.168.0.64/{path}", "10.0.0.12")
    good = read or profile(720)
    told = Described("Maker", model, None, (good,))
    cameras = [
        Camera(Found("10.0.0.12", "http://10.0.0.12/", "x", name, model), told),
        Camera(Found("10.0.0.9", "http://10.0.0.9/", "y", name, model), reason="corrupt", detail=detail),
    ]
    text = fragment(cameras, LOGIN)
    values = yaml.safe_load(text)
    assert list(values) == ["streams"]
    ((_, stream),) = values["streams"].items()
    assert list(stream) == ["url"]
    assert stream["url"].startswith("rtsp://viewer:${CAM_PASSWORD}@10.0.0.12")
    assert stream["url"].replace("${CAM_PASSWORD}", "").count("$") == 0
    assert all(character == "\n" or character.isprintable() for character in text)
    assert json.loads(to_json(cameras, LOGIN))[1]["ok"] is False
    try:
        parse(text.replace("${CAM_PASSWORD}", "x"), "x", ROOT)
    except ConfigError as error:
        raise AssertionError(f"{error}\n{text}") from None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("10.0.0.12", "http://10.0.0.12/onvif/device_service"),
        ("cam.lan:8080", "http://cam.lan:8080/onvif/device_service"),
        ("[fd00::7]:80", "http://[fd00::7]:80/onvif/device_service"),
        ("https://10.0.0.12/onvif/x", "https://10.0.0.12/onvif/x"),
    ],
)
def test_a_host_may_be_named_in_short(text: str, url: str) -> None:
    assert host(text).url == url
    assert at_address(url, host(text).address) == url


@pytest.mark.parametrize("text", ["", "http://", "rtsp://10.0.0.12/1", "10.0.0.12:99999", "admin:x@10.0.0.12"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        host(text)


def test_bad_input_is_exit_code_2_and_names_the_option() -> None:
    for arguments, words in (
        (("--interface", "eth77"), "'eth77' is no interface with an IPv4 address here"),
        (("--user", "viewer"), "give a user and a password (or --ask-password), or neither"),
        (("--timeout", "0"), "'--timeout': Input should be greater than or equal to 0.5"),
        (("--host", "rtsp://x"), "is not like 10.0.0.12"),
    ):
        done = CliRunner().invoke(app, ["discover", *arguments])
        assert (done.exit_code, done.stdout) == (2, "")
        assert words in " ".join(done.stderr.split())


def test_a_password_is_asked_for_without_an_echo() -> None:
    with OnvifDevice([Offer("main", 1280, 720, "rtsp://10.9.9.9/1")]) as device:
        typed = f"{device.password}\n"
        arguments = ["discover", "--host", device.host, "--user", device.user, "--ask-password"]
        done = CliRunner().invoke(app, arguments, input=typed)
    assert done.exit_code == 0
    assert "url: rtsp://viewer:${CAM_PASSWORD}@127.0.0.1/1" in done.stdout
    assert device.password not in done.output


def test_a_camera_that_refuses_is_listed_and_is_no_failure() -> None:
    with OnvifDevice([Offer("main", 1280, 720, "rtsp://10.9.9.9/1")]) as device:
        done = CliRunner().invoke(app, ["discover", "--host", device.host])
    assert done.exit_code == 0
    assert done.stdout.startswith("# 127.0.0.1 ONVIF device: auth: it wants a user and a password")
