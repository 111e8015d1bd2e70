"""Takes the pictures of the playground that the documents show: `make screenshots`."""

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from chromium import find, flags
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from service_process import ServiceProcess

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "figures"
COLOURS = 255


def flip_the_most_telling(page: Page) -> None:
    """Flip the bit that changes the picture most, as somebody does who looks for it."""
    cells = page.locator("#grid [role=gridcell]")
    effects = []
    for bit in range(cells.count()):
        cells.nth(bit).click()
        page.wait_for_timeout(100)
        effects.append(float(page.locator("#change").evaluate(STRENGTH)))
        page.click("#undo-flip")
    page.wait_for_timeout(500)
    cells.nth(int(np.argmax(effects))).click()
    page.wait_for_timeout(500)


STRENGTH = """canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data
    .reduce((sum, value, index) => sum + (index % 4 === 3 ? value : 0), 0)"""


def flipped(page: Page, top: str) -> bytes:
    """The screen after a flip, scrolled to an element."""
    page.wait_for_timeout(1500)
    flip_the_most_telling(page)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.evaluate(f"document.querySelector('{top}').scrollIntoView()")
    page.wait_for_timeout(300)
    return page.screenshot()


DESK = {"viewport": {"width": 1240, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True}
SHOTS: dict[str, tuple[dict[str, Any], str]] = {
    # name: options of the browser, what to scroll to
    "playground": (DESK, "body"),
    "playground-dark": (DESK | {"color_scheme": "dark"}, "body"),
    "playground-phone": (PHONE, "#code-card"),
}


def write(name: str, screenshot: bytes) -> None:
    """With few colours: a page has few, and a picture of it should load at once."""
    path = FOLDER / f"{name}.png"
    image = Image.open(io.BytesIO(screenshot)).convert("RGB")
    image.quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True)
    sys.stdout.write(f"{path.relative_to(ROOT)}: {image.width} x {image.height}, {path.stat().st_size // 1024} KiB\n")


def take(browser: Browser, url: str) -> None:
    for name, (options, top) in SHOTS.items():
        context = browser.new_context(**options)
        page = context.new_page()
        page.goto(f"{url}/?model=mnist-binary")
        write(name, flipped(page, top))
        context.close()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    log = Path(tempfile.mkdtemp()) / "log"
    with ServiceProcess([ROOT / "models" / "shipped"], log=log) as service, sync_playwright() as playwright:
        take(playwright.chromium.launch(executable_path=find(), args=flags()), service.url)


if __name__ == "__main__":
    main()
