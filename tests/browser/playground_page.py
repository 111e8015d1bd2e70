"""The playground as a person uses it, the models that the tests show on it, and what it copies."""

import json
from typing import Any
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Page, Request
from service_process import ServiceProcess
from tiny_models import TINY_MODELS, TinyModel

from models.manifest import ImageSpec

OF_THE_TESTS = "warning: Canvas2D: Multiple readback operations"
"""Said of `Playground.pixels`."""
QUIET_MS = 200
"""Longer than the page waits before it writes a request out."""
COLOUR = TinyModel("tiny-colour", "binary", 24, 2, (12, 20, 3), ImageSpec(mode="RGB", height=12, width=20))
PAPER = TinyModel("tiny-paper", "binary", 16, 2, (16, 16), ImageSpec(mode="L", height=16, width=16, invert=True))
MANY = TinyModel("tiny-many", "categorical", 6, 200, (8, 8), ImageSpec(mode="L", height=8, width=8))
MODELS = {model.name: model for model in (*TINY_MODELS, COLOUR, PAPER, MANY)}


class Playground:
    """The page, and what a person does with it."""

    def __init__(self, page: Page, service: ServiceProcess) -> None:
        self.page = page
        self.url = service.url
        self.hosts = {urlsplit(service.url).netloc}
        """Of the services that may be asked."""
        self.expected_problems: list[str] = []
        """Beginnings of messages on the console that a test brings about."""
        self._num_begun = 0
        self._under_way: set[Request] = set()
        page.on("request", self._begin)
        for ended in ("requestfinished", "requestfailed"):
            page.on(ended, lambda request: self._under_way.discard(request))

    def open(self, model: str = "mnist-binary") -> "Playground":
        """Wait until the model's first picture is encoded, and everything else is drawn."""
        self.page.goto(f"{self.url}/?model={model}")
        self.settle()
        return self

    def use(self, service: ServiceProcess) -> None:
        """Another service from now on; its host may be asked too."""
        self.url = service.url
        self.hosts.add(urlsplit(service.url).netloc)
        self.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=service.url)

    def settle(self) -> None:
        """Wait until nothing is asked or drawn any more."""
        self.page.wait_for_selector("#main[aria-busy=false]")
        begun = -1
        while self._under_way or begun != self._num_begun:
            begun = self._num_begun
            # By the page's own clock: what it was about to do by then, it has done, however slow it is.
            self.page.evaluate("quiet => new Promise(done => setTimeout(done, quiet))", QUIET_MS)

    def _begin(self, request: Request) -> None:
        self._num_begun += 1
        self._under_way.add(request)

    def cell(self, index: int) -> Any:
        """A cell of the grid, counted row by row."""
        return self.page.locator("#grid [role=gridcell]").nth(index)

    def code(self) -> str:
        """In hex."""
        return self.page.locator("#code-text").input_value()

    def text(self, selector: str) -> str:
        """What stands there."""
        return self.page.locator(selector).inner_text()

    def pixels(self, selector: str) -> list[list[list[int]]]:
        """Of a canvas: [H][W][red, green, blue]."""
        return self.page.locator(selector).first.evaluate(
            """canvas => {
                const { width, height } = canvas;
                const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
                return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) =>
                    [...data.slice(4 * (y * width + x), 4 * (y * width + x) + 3)]));
            }"""
        )

    def slide(self, selector: str, value: float) -> None:
        """Move a slider there, as a hand would in the end."""
        self.page.locator(selector).evaluate(
            """(slider, value) => {
                slider.value = value;
                slider.dispatchEvent(new Event('input', { bubbles: true }));
            }""",
            value,
        )

    def draw(self, *points: tuple[float, float]) -> None:
        """A stroke through points between 0 and 1, x before y."""
        self.page.locator("#pad").scroll_into_view_if_needed()
        box = self.page.locator("#pad").bounding_box()
        assert box is not None
        for index, (x, y) in enumerate(points):
            self.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=1 if not index else 6)
            if not index:
                self.page.mouse.down()
        self.page.mouse.up()

    def snippet(self, subject: str, language: str) -> str:
        """What the page copies."""
        self.page.select_option("#snippet-subject", subject)
        self.page.check(f"[name=language][value={language}]", force=True)
        self.page.evaluate("navigator.clipboard.writeText('')")
        self.page.click("#copy-snippet")
        while not (copied := self.page.evaluate("navigator.clipboard.readText()")):
            self.page.wait_for_timeout(20)
        assert isinstance(copied, str)
        return copied

    def post(self, model: str, operation: str, **body: Any) -> Any:
        """What the service itself says."""
        reply = httpx.post(f"{self.url}/v1/models/{model}/{operation}", json=body, timeout=30)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def decoded(self, model: str, hex_code: str) -> Any:
        """The output of a code."""
        return self.post(model, "decode", codes=[hex_code], code_format="hex")["outputs"][0]


def body_of(curl: str) -> dict[str, Any]:
    """The JSON that a copied command sends."""
    return json.loads(curl.split("--data '", 1)[1].rsplit("'", 1)[0])
