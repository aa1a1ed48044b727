"""Takes the pictures of the page that README.md and docs/page.md show, from the running demo.

make demo
.venv/bin/python docs/page_pictures.py http://127.0.0.1:<port that the demo tells>
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
# Until charts have something to show, and boxes are in step.
SETTLE_MS = 12_000
# Name, view, theme, width and height.
PICTURES = (
    ("wall", "", "dark", 1280, 430),
    ("stream", "stream/street", "dark", 1280, 900),
    ("zones", "stream/stage", "light", 1280, 800),
    ("system", "system", "light", 1280, 800),
    ("phone", "", "dark", 390, 844),
)


def draw_zone(page: Any) -> None:
    """As somebody does who draws one."""
    page.get_by_role("button", name="Zones and lines").click()
    page.get_by_role("button", name="New zone").click()
    place = page.locator("svg.drawing").bounding_box()
    for x, y in ((0.55, 0.3), (0.95, 0.25), (0.97, 0.95), (0.6, 0.9), (0.55, 0.3)):
        page.mouse.click(place["x"] + x * place["width"], place["y"] + y * place["height"])


def main(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, view, theme, width, height in PICTURES:
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
            page = context.new_page()
            page.goto(f"{url.rstrip('/')}/#/{view}")
            page.wait_for_timeout(SETTLE_MS)
            if name == "zones":
                draw_zone(page)
            file = FOLDER / f"page-{name}.png"
            page.screenshot(path=file)
            # 256 colours: a third of the bytes, and nobody sees it.
            Image.open(file).convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(file, optimize=True)
            print(f"{file}: {file.stat().st_size // 1000} kB")
            context.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
