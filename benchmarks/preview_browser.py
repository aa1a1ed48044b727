"""What a real headless Chromium sees of a stream: how soon, and how old the pictures are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median
from typing import Any

import numpy as np

from benchmarks.clips import SIZE
from benchmarks.preview_cameras import BITS, SIDE, Cameras

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
         "--autoplay-policy=no-user-gesture-required"]  # fmt: skip
JOINS = 5
PATIENCE_S = 30.0
POLL_S = 0.05

PLAY = """
async ([stream, overlay, bits, side, width]) => {
  const began = performance.now(), shown = [], told = [];
  const connection = new RTCPeerConnection();
  const {receiver} = connection.addTransceiver("video", {direction: "recvonly"});
  const channel = connection.createDataChannel("tracks", {ordered: false, maxRetransmits: 0});
  channel.onmessage = ({data}) => { told.push(JSON.parse(data).rtp); if (told.length > 200) told.shift(); };
  const video = document.createElement("video");
  video.muted = video.autoplay = true;
  document.body.replaceChildren(video);
  connection.ontrack = ({track}) => { video.srcObject = new MediaStream([track]); };
  const canvas = new OffscreenCanvas(bits, 2), pixels = canvas.getContext("2d", {willReadFrequently: true});
  let first = null;
  const look = (now, frame) => {
    first ??= performance.now() - began;
    const square = side * frame.width / width;
    pixels.drawImage(video, 0, 0, square * bits, 2 * square, 0, 0, bits, 2);
    const rows = pixels.getImageData(0, 0, bits, 2).data;
    let number = 0;
    for (let bit = 0; bit < bits; bit++) {
      const white = rows[4 * bit] > 128;
      if (white === rows[4 * (bits + bit)] > 128) number = NaN;  // something is drawn over it
      number += white << bit;
    }
    shown.push([
      Number.isNaN(number) ? null : number,
      performance.timeOrigin + Math.max(frame.expectedDisplayTime, now), frame.rtpTimestamp,
    ]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
  await connection.setLocalDescription(await connection.createOffer());
  const answer = await fetch(`/whep/${stream}?overlay=${overlay}`, {
    method: "POST", headers: {"Content-Type": "application/sdp"}, body: connection.localDescription.sdp,
  });
  if (answer.status !== 201) throw new Error(await answer.text());
  await connection.setRemoteDescription({type: "answer", sdp: await answer.text()});
  window.player = {
    shown, told, first: () => first,
    stop: async () => { connection.close(); await fetch(answer.headers.get("Location"), {method: "DELETE"}); },
  };
}
"""

# Runs before the page's own scripts. Times are from the beginning of the navigation; what is found before a frame of
# the browser's is to be seen with it, a sixtieth of a second later at most. Zones and lines would be drawn without
# anything being seen: the stream must have none.
NOTICE = """
(() => {
  const small = new OffscreenCanvas(160, 90).getContext("2d", {willReadFrequently: true});
  const drawnOn = (canvas) => {
    if (!canvas?.width) return false;
    small.clearRect(0, 0, 160, 90);
    small.drawImage(canvas, 0, 0, 160, 90);
    return small.getImageData(0, 0, 160, 90).data.some((value, index) => index % 4 === 3 && value > 0);
  };
  window.noticed = {mode: null, picture: null, annotated: null};
  const look = () => {
    const place = document.querySelector(".picture");
    const mode = place?.dataset.mode ?? "waiting";
    if (mode !== "waiting") {
      noticed.mode = mode;
      noticed.picture ??= performance.now() / 1e3;
      if (mode === "burned" || drawnOn(place.querySelector("canvas"))) {
        noticed.annotated = performance.now() / 1e3;
        return;
      }
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium
        finally:
            await chromium.close()


async def play(url: str, cameras: Cameras, stream: str, mode: str, seconds: float) -> dict[str, Any]:
    """What a player sees in a mode: several short visits, and a long one."""
    firsts: list[float] = []
    ages: list[float] = []
    in_step = fps = 0.0
    async with browser() as chromium:
        for visit in range(JOINS):
            page = await chromium.new_page(bypass_csp=True)  # the script is ours, the page any of the service's origin
            await page.goto(url + "/health/live")
            await page.evaluate(PLAY, [stream, mode, BITS, SIDE, SIZE[0]])
            await page.wait_for_function("() => player.first() !== null")
            firsts.append(await page.evaluate("() => player.first() / 1e3"))
            if visit == JOINS - 1:
                await asyncio.sleep(seconds)
                shown, told = await page.evaluate("() => [player.shown, player.told]")
                cameras.follow()
                ages = [cameras.age_ms(number, at) for number, at, _ in shown if number is not None]
                fps = len(shown) / seconds
                times = {rtp for _, _, rtp in shown[-100:]}
                in_step = len(times & set(told)) / max(len(times), 1)
            await page.evaluate("() => player.stop()")
            await page.close()
    settled, half = ages[len(ages) // 4 :], len(ages) // 2
    return {
        "first_picture_s": round(median(firsts), 3), "first_picture_worst_s": round(max(firsts), 3),
        "delay_ms": round(median(settled)), "delay_p95_ms": round(float(np.percentile(settled, 95))),
        "delay_of_the_first_pictures_ms": round(median(ages[:10])),
        "delay_grows_ms": round(median(ages[half:]) - median(ages[len(ages) // 4 : half])),
        "shown_fps": round(fps, 1), "read": round(len(ages) / seconds / fps, 2), "told_of_shown": round(in_step, 2),
    }  # fmt: skip


async def open_page(url: str, mode: str, times: int) -> dict[str, Any]:
    """How long the service's page takes, opened by somebody who was never there, until it shows what is seen.

    Seconds from the beginning of the navigation to the first annotated frame. In the mode `client` that is the first
    with a box drawn over it; in `burned` the first one at all, as each has its own boxes in it.

    Raises:
        SystemExit: there was none in time, or the page showed the stream in another mode.
    """
    pictures: list[float] = []
    annotated: list[float] = []
    async with browser() as chromium:
        for _ in range(times):
            context = await chromium.new_context(viewport={"width": 1280, "height": 800})  # with an empty cache
            page = await context.new_page()
            await page.add_init_script(NOTICE)
            await page.goto(url)
            noticed = await _noticed(page)
            if noticed["mode"] != mode or noticed["annotated"] is None:
                raise SystemExit(
                    f"the page at {url} showed no annotated frame as {mode} in {PATIENCE_S:g} s: {noticed}"
                )
            pictures.append(noticed["picture"])
            annotated.append(noticed["annotated"])
            await context.close()
    return {
        "first_frame_s": round(median(annotated), 3), "first_frame_worst_s": round(max(annotated), 3),
        "first_frame_without_boxes_s": round(median(pictures), 3), "openings_s": [round(one, 3) for one in annotated],
    }  # fmt: skip


async def _noticed(page: Any) -> dict[str, Any]:
    """What `NOTICE` found; the page's own rules forbid Playwright's way of waiting for it, which is `eval`."""
    noticed: dict[str, Any] = {}
    for _ in range(round(PATIENCE_S / POLL_S)):
        noticed = await page.evaluate("() => window.noticed")
        if noticed["annotated"] is not None:
            break
        await asyncio.sleep(POLL_S)
    return noticed
