"""The page as people use it: a real Chromium, a running service, a camera, and the mouse."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import rtsp_servers, services, subscriptions
from tests.e2e.real import Inbox, RtspServer, Running, wait_for
from tests.e2e.walker import BITS, FRAMES, SQUARE, STEP, WIDTH, left_of, record

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
# Of the picture's width; the walker makes 3 % of it in a frame.
BOX_WITHIN = 0.02
PATIENCE_MS = 45_000

# Of each frame that is shown: the number in its picture, and where boxes' sides are drawn on it, in camera pixels.
# It is asked after the page's own callback, and so sees what the page shows together with the frame.
SAMPLE = """
async ([count, bits, square]) => {
  const video = document.querySelector(".picture video");
  const overlay = document.querySelector(".picture canvas");
  const small = new OffscreenCanvas(video.videoWidth, square).getContext("2d", { willReadFrequently: true });
  const found = [];
  await new Promise((resolve) => {
    const look = (now, frame) => {
      small.drawImage(video, 0, 0);
      let number = 0;
      for (let bit = 0; bit < bits; bit += 1) {
        if (small.getImageData((bit + 0.5) * square, square / 2, 1, 1).data[0] > 127) number |= 1 << bit;
      }
      const { width, height } = overlay;
      const row = overlay.getContext("2d").getImageData(0, Math.round(height * 0.55), width, 1).data;
      const drawn = [];
      for (let x = 0; x < width; x += 1) if (row[4 * x + 3] > 127) drawn.push((x + 0.5) / width * video.videoWidth);
      found.push({ number, drawn, rtp: frame.rtpTimestamp });
      if (found.length < count) video.requestVideoFrameCallback(look); else resolve();
    };
    video.requestVideoFrameCallback(look);
  });
  return found.map((one) => ({ ...one, told: window.told?.get(one.rtp) }));
}
"""

# Which frame of which session each message was about, by RTP timestamp.
LISTEN = """
window.told = new Map();
const original = RTCPeerConnection.prototype.createDataChannel;
RTCPeerConnection.prototype.createDataChannel = function (...given) {
  const channel = original.apply(this, given);
  channel.addEventListener("message", ({ data }) => {
    const { rtp, session, seq } = JSON.parse(data);
    window.told.set(rtp, [session, seq]);
  });
  return channel;
};
"""


@dataclass
class Site:
    """A service with a camera, a subscriber to it, and a browser. All tests share it."""

    service: Running
    camera: RtspServer
    inbox: Inbox
    browser: Any
    street: Path
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str = "", script: str = "") -> Any:
        """A page of its own, which complains to us of whatever the console is told. `script` runs before its own."""
        page = self.browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.add_init_script(script)
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda told: told.type == "error" and self.complaints.append(f"{told.text} {told.location}"))
        page.goto(f"{self.service.addresses['http']}/{path}")
        return page

    def metric(self, name: str, **labels: str) -> float:
        """The sum over all series with these labels."""
        lines = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", self.service.get("/metrics"), re.MULTILINE)
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return sum(float(value) for given, value in lines if wanted <= set(given.split(",")))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, street: Path) -> Iterator[Site]:
    if not CHROMIUM.exists():
        pytest.skip("no browser: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: it is in the dev group")
    folder = tmp_path_factory.mktemp("page")
    walker = folder / "walker.mp4"
    record(walker)
    with ExitStack() as over:
        camera = over.enter_context(rtsp_servers(walker))()
        service = over.enter_context(services(folder))({"streams": {"gate": {"url": camera.url(), "snapshots": {}}}})
        inbox = over.enter_context(subscriptions())(service)
        started = over.enter_context(playwright.sync_playwright())
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS, headless=True)
        over.callback(browser.close)
        wait_for("the walker is seen", lambda: inbox.of("gate"))
        yield Site(service, camera, inbox, browser, street)


@pytest.fixture
def complaints(site: Site) -> Iterator[list[str]]:
    """What the console was told of while a test ran; there must be nothing."""
    site.complaints.clear()
    yield site.complaints
    for context in site.browser.contexts:
        context.close()
    assert not site.complaints


def playing(page: Any, mode: str = "client") -> None:
    page.wait_for_selector(f'.picture[data-mode="{mode}"]')
    wait_for("it plays", lambda: page.evaluate("document.querySelector('.picture video').currentTime > 0.5"))


def test_the_wall_plays_the_camera_and_leads_to_it(site: Site, complaints: list[str]) -> None:
    page = site.open()
    playing(page)
    tile = page.locator(".tile", has_text="gate")
    assert tile.locator(".state").inner_text() == "live"
    tile.get_by_text("person 1").wait_for()
    tile.get_by_text(re.compile(r"^(9|1\d)(\.\d)? fps$")).wait_for()
    tile.get_by_text(re.compile(r"^\d+ ms$")).wait_for()
    found = page.evaluate(SAMPLE, [12, BITS, SQUARE])
    assert len({one["number"] for one in found}) > 6, "the picture moves"
    tile.get_by_role("link").click()
    page.get_by_role("heading", name="gate").wait_for()
    assert "gate" in page.title()


def test_boxes_are_where_the_object_is_on_the_very_frame_that_is_shown(site: Site, complaints: list[str]) -> None:
    page = site.open("#/stream/gate", script=LISTEN)
    playing(page)

    def in_step() -> bool:
        shown = [one for one in page.evaluate(SAMPLE, [FRAMES, BITS, SQUARE]) if one["told"] and one["drawn"]]
        site.inbox.settle()
        results = {(frame["session"], frame["seq"]): frame["objects"] for frame in site.inbox.of("gate")}
        told = [
            (one, [seen["box"] for seen in results.get(tuple(one["told"]), []) if seen["track_id"] is not None])
            for one in shown
        ]
        tracked = [(one, boxes) for one, boxes in told if boxes]
        if len(tracked) <= 0.8 * FRAMES:
            return False
        # What was told of a frame is of the very picture that has this number in it…
        astray = [min(abs(box[0] - left_of(one["number"])) for box in boxes) for one, boxes in tracked]
        assert statistics.median(astray) < STEP / 2
        # … and is what is drawn while that picture is shown, where NATS says that it is.
        in_place = [all(drawn_at(one["drawn"], box) for box in boxes) for one, boxes in tracked]
        return sum(in_place) >= 0.9 * len(tracked)

    wait_for("boxes in step, once the page knows how long results take, if the machine has time for them", in_step)


def drawn_at(sides: list[float], box: list[float]) -> bool:
    """Whether both sides of a box are among those drawn."""
    return all(min(abs(x - side) for x in sides) < BOX_WITHIN * WIDTH for side in (box[0], box[2]))


def test_a_zone_that_is_drawn_with_the_mouse_tells_who_enters(site: Site, complaints: list[str]) -> None:
    page = site.open("#/stream/gate")
    playing(page)
    page.get_by_role("button", name="Zones and lines").click()
    page.get_by_role("button", name="New zone").click()
    place = page.locator("svg.drawing").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return place["x"] + x * place["width"], place["y"] + y * place["height"]

    for corner in ((0.5, 0.2), (0.95, 0.2), (0.95, 0.97), (0.5, 0.97)):
        page.mouse.click(*at(*corner))
    page.mouse.click(*at(0.5, 0.2))  # closes it
    name = page.get_by_label("Name of the zone")
    name.fill("right")
    name.press("Tab")
    page.get_by_role("button", name="Delete the zone").click()
    assert page.get_by_label("Name of the zone").count() == 0
    page.get_by_role("button", name="Undo").click()
    assert page.get_by_label("Name of the zone").input_value() == "right"
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").wait_for()
    settings = json.loads(site.service.get("/api/v1/streams/gate"))["settings"]
    corners = settings["zones"]["right"]["polygon"]
    drawn = [(0.5, 0.2), (0.95, 0.2), (0.95, 0.97), (0.5, 0.97)]
    assert list(chain(*corners)) == pytest.approx(list(chain(*drawn)), abs=0.01)
    entered = wait_for("zone.entered", lambda: [one for one in site.inbox.events if one["type"] == "zone.entered"])
    assert entered[0]["zone"] == "right"
    page.get_by_text(re.compile(r"person \d+ entered right")).first.wait_for()
    page.get_by_text("In right", exact=True).wait_for()  # its chart


def test_two_viewers_of_drawn_pictures_cost_one_encode(site: Site, complaints: list[str]) -> None:
    pages = [site.open("#/stream/gate") for _ in range(2)]
    for page in pages:
        page.get_by_label("How what was seen is drawn").select_option("burned")
        playing(page, "burned")
    wait_for("two viewers", lambda: site.metric("vigil_preview_viewers", stream="gate", overlay="burned") == 2)

    def counted() -> tuple[float, float]:
        encoded = site.metric("vigil_preview_frames_total", stream="gate", outcome="encoded")
        return encoded, site.metric("vigil_frames_total", stream="gate", outcome="decoded")

    before = counted()
    frames = [page.evaluate(SAMPLE, [15, BITS, SQUARE]) for page in pages]
    assert all(len({one["number"] for one in found}) > 4 for found in frames), "both play"
    wait_for("new counts", lambda: counted()[0] > before[0] + 10 and counted()[1] > before[1] + 10)
    after = counted()
    assert after[0] - before[0] <= 1.3 * (after[1] - before[1]) + 2


def test_a_camera_is_tried_and_added(site: Site, complaints: list[str]) -> None:
    page = site.open("#/add")
    page.get_by_label("Name").fill("yard")
    page.get_by_label("Address").fill("rtsp://127.0.0.1:1/none")
    page.get_by_role("button", name="Test").click()
    told = page.get_by_role("complementary", name="Test")
    told.get_by_text("refused", exact=True).wait_for()
    assert told.locator(".mend").inner_text()
    page.get_by_label("Address").fill(str(site.street))
    page.get_by_role("button", name="Test").click()
    told.get_by_text("It works").wait_for()
    assert page.evaluate("document.querySelector('.probe img').naturalWidth") > 0
    page.get_by_text("All other settings").click()
    page.get_by_label("As JSON").fill('{"loop": true, "nonsense": 1}')
    page.get_by_role("button", name="Add camera", exact=True).last.click()
    page.get_by_text(re.compile("streams.yard.nonsense")).wait_for()
    page.get_by_label("As JSON").fill('{"loop": true}')
    page.get_by_role("button", name="Add camera", exact=True).last.click()
    page.get_by_role("heading", name="yard").wait_for()
    playing(page)
    assert site.service.streams()["yard"]["state"] == "live"
    page.get_by_role("button", name="Remove the camera").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    wait_for("it is gone", lambda: "yard" not in site.service.streams())
    complaints[:] = [one for one in complaints if "422" not in one]  # the nonsense


NAMELESS = """
() => [...document.querySelectorAll("*")].filter((one) => one.checkVisibility()).flatMap((one) => {
  const found = [];
  if (one.tagName === "IMG" && !one.hasAttribute("alt")) found.push("an image without alt");
  if (one.id && document.querySelectorAll(`[id="${one.id}"]`).length > 1) found.push("an id that is there twice");
  for (const attribute of ["aria-labelledby", "aria-describedby", "for"]) {
    const ids = (one.getAttribute(attribute) ?? "").split(" ").filter(Boolean);
    if (ids.some((id) => !document.getElementById(id))) found.push(`${attribute} leads nowhere`);
  }
  return found.map((what) => `${what}: ${one.outerHTML.slice(0, 120)}`);
})
"""
CONTROLS = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "spinbutton", "img", "image", "dialog"}


def test_every_control_has_a_name_and_every_view_its_landmarks(site: Site, complaints: list[str]) -> None:
    page = site.open()
    playing(page)
    session = page.context.new_cdp_session(page)
    for view, heading in (
        ("", "Cameras"),
        ("stream/gate", "gate"),
        ("events", None),
        ("system", "System"),
        ("add", "Add a camera"),
    ):
        page.evaluate("path => { location.hash = `#/${path}`; }", view)
        page.locator("main > section").wait_for()
        if view == "stream/gate":
            page.get_by_role("button", name="Zones and lines").click()
            page.get_by_role("button", name="New line").wait_for()
        assert not page.evaluate(NAMELESS), view
        nodes = [node for node in session.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
        roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes]
        assert not [role for role, name in roles if role in CONTROLS and not name.strip()], view
        assert {"banner", "navigation", "main"} <= {role for role, _ in roles}, view
        levels = page.evaluate("[...document.querySelectorAll('h1')].filter((one) => one.checkVisibility()).length")
        assert levels == 1, view
        if heading:
            assert page.get_by_role("heading", level=1, name=heading).count() == 1


def test_everything_can_be_done_with_the_keyboard(site: Site, complaints: list[str]) -> None:
    page = site.open("#/stream/gate")
    playing(page)
    edit = page.get_by_role("button", name="Zones and lines")
    edit.focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="New line").focus()
    page.keyboard.press("Enter")
    for keys in (["Shift+ArrowLeft"] * 4, ["Space"], ["Shift+ArrowRight"] * 8, ["Space"]):
        for key in keys:
            page.keyboard.press(key)
    assert page.get_by_label("Name of the line").input_value() == "line-1"
    ends = page.locator("circle.corner")
    assert [ends.nth(index).get_attribute("aria-label") for index in range(2)] == [
        "Corner 1 of line-1, 30 % from the left, 50 % from the top",
        "Corner 2 of line-1, 70 % from the left, 50 % from the top",
    ]
    ends.nth(1).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert page.get_by_label("Name of the line").count() == 0
    page.get_by_role("button", name="Cancel").click()
    assert page.evaluate("document.activeElement.textContent") == "Zones and lines"


def test_a_camera_that_dies_is_told_of_and_comes_back(site: Site, complaints: list[str]) -> None:
    page = site.open()
    playing(page)
    tile = page.locator(".tile", has_text="gate")
    site.camera.kill()
    tile.locator('.state[data-state="backoff"]').wait_for()
    assert tile.locator(".state").inner_text() == "retrying"
    assert "trying again" in tile.locator(".picture-note").inner_text()
    site.camera.start()
    tile.locator('.state[data-state="live"]').wait_for()
    playing(page)
