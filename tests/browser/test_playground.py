"""The playground as a person uses it, in a real browser: what is on the screen is what the service says."""

import base64
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import file_of
from PIL import Image
from playground_page import MODELS, Playground, body_of
from service_process import ServiceProcess

from models import codes as code_layouts
from models.codes import CodeLayout

BITS, SYMBOLS = CodeLayout(64, 2), CodeLayout(20, 10)
NUM_FLIPS = 20
ROOT = Path(__file__).parents[2]


def levels(outputs: Any) -> np.ndarray:
    """Outputs in [0, 1] as a canvas shows them: [H, W, 3]."""
    values = np.rint(np.asarray(outputs) * 255).astype(int)
    return values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=-1)


def assert_shows(playground: Playground, canvas: str, outputs: Any) -> None:
    # By one level: the page rounds halves up.
    np.testing.assert_allclose(playground.pixels(canvas), levels(outputs), atol=1)


def test_the_page_opens_with_a_drawing_its_code_and_its_reconstruction(playground: Playground) -> None:
    playground.open()
    assert playground.page.locator("#grid [role=gridcell]").count() == 64
    body = body_of(playground.snippet("encode", "curl"))
    reply = playground.post("mnist-binary", "reconstruct", images=body["images"], code_format="hex")
    assert playground.code() == reply["codes"][0]
    assert_shows(playground, "#output", reply["outputs"][0])
    shown = "".join(playground.page.locator("#grid [role=gridcell]").all_inner_texts())
    assert code_layouts.to_hex(np.array([list(shown)], np.uint8), BITS) == [playground.code()]


def test_what_is_drawn_is_what_the_model_sees_and_encodes(playground: Playground) -> None:
    playground.open()
    before = playground.code()
    playground.page.click("#clear")
    playground.settle()
    assert np.max(playground.pixels("#seen")) == 0
    playground.draw((0.5, 0.2), (0.5, 0.8))
    playground.settle()
    seen = np.array(playground.pixels("#seen"))[..., 0]
    assert seen.shape == (28, 28)
    assert seen[14, 12:16].max() > 200
    assert seen[:, :8].max() == seen[:, 20:].max() == 0
    reply = playground.post("mnist-binary", "encode", inputs=[(seen / 255).tolist()], code_format="hex")
    assert playground.code() == reply["codes"][0] != before
    playground.draw((0.2, 0.5), (0.8, 0.5))
    playground.settle()
    cross = playground.code()
    playground.page.click("#undo")
    playground.settle()
    assert playground.code() == reply["codes"][0] != cross


def test_flipping_a_bit_changes_the_reconstruction_and_undo_takes_it_back(playground: Playground) -> None:
    playground.open()
    before, picture = playground.code(), playground.pixels("#output")
    bit = int(playground.cell(9).inner_text())
    playground.cell(9).click()
    playground.settle()
    assert playground.cell(9).inner_text() == str(1 - bit)
    flipped = int(before, 16) ^ (1 << 63 - 9)
    assert playground.code() == f"{flipped:016x}"
    assert_shows(playground, "#output", playground.decoded("mnist-binary", playground.code()))
    assert playground.pixels("#output") != picture
    assert playground.pixels("#before") == picture
    assert playground.text("#change-count") == "1 bit changed"
    playground.cell(10).click()
    playground.page.click("#undo-flip")
    playground.page.click("#undo-flip")
    playground.settle()
    assert playground.code() == before
    assert playground.pixels("#output") == picture
    assert playground.page.locator("#undo-flip").is_disabled()


def test_an_answer_that_comes_after_a_newer_one_is_dropped(playground: Playground) -> None:
    playground.open()
    held = []

    def hold_first(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    playground.page.route("**/decode", hold_first)
    playground.cell(0).click()
    playground.cell(1).click()
    playground.page.wait_for_selector("#latency:has-text('ms')")
    newest = playground.pixels("#output")
    assert_shows(playground, "#output", playground.decoded("mnist-binary", playground.code()))
    held[0].continue_()
    playground.settle()
    assert playground.pixels("#output") == newest


def test_a_flip_is_shown_soon(playground: Playground, capsys: pytest.CaptureFixture[str]) -> None:
    """From the press to the picture, painted; printed, since how long it takes is the machine's affair."""
    playground.open()
    durations = playground.page.evaluate(
        """async numFlips => {
            const painted = () => new Promise(done => {
                const latency = document.getElementById('latency');
                const observer = new MutationObserver(() => { observer.disconnect(); requestAnimationFrame(done); });
                observer.observe(document.getElementById('error-of-output'), { childList: true });
            });
            const durations = [];
            for (let flip = 0; flip < numFlips; flip++) {
                const start = performance.now();
                const done = painted();
                document.querySelectorAll('#grid [role=gridcell]')[flip].click();
                await done;
                durations.push(performance.now() - start);
            }
            return durations;
        }""",
        NUM_FLIPS,
    )
    with capsys.disabled():
        print(
            f"\na flip is painted after {statistics.median(durations):.0f} ms in the median of {NUM_FLIPS}, "
            f"{max(durations):.0f} ms at most"
        )
    assert len(durations) == NUM_FLIPS


def test_another_category_can_be_chosen(playground: Playground) -> None:
    playground.open("mnist-categorical")
    before = playground.code()
    assert playground.page.locator("#grid [role=gridcell]").count() == 200
    assert playground.page.locator("#grid [aria-selected=true]").count() == 20
    chosen = (int(before[3], 16) + 4) % 10
    playground.cell(3 * 10 + chosen).click()
    playground.settle()
    assert playground.code() == before[:3] + f"{chosen:x}" + before[4:]
    assert playground.page.locator("#grid [aria-selected=true]").count() == 20
    assert_shows(playground, "#output", playground.decoded("mnist-categorical", playground.code()))
    assert "chosen" in playground.cell(3 * 10 + chosen).get_attribute("aria-label")


def test_a_code_can_be_written_and_a_category_outside_the_range_is_refused_in_words(playground: Playground) -> None:
    playground.open("mnist-categorical")
    before = playground.code()
    for written, sentence in (
        ("a" + before[1:], "Latent 1 of that code is 10; expected a category from 0 to 9."),
        (before[:-2], "A code of this model has 20 hex digits; these are 18."),
        ("x" + before[1:], "A code is written in hex digits, 0 to 9 and a to f; “x” is none."),
    ):
        playground.page.fill("#code-text", written)
        playground.page.press("#code-text", "Enter")
        assert playground.text("#code-problem") == sentence
    written = "0123456789" * 2
    playground.page.fill("#code-text", written)
    playground.page.click("#code-form button[type=submit]")
    playground.settle()
    assert playground.text("#code-problem") == ""
    assert_shows(playground, "#output", playground.decoded("mnist-categorical", written))
    np.testing.assert_array_equal(
        [int(cell.get_attribute("data-index")) % 10 for cell in playground.page.locator("#grid .on").all()],
        code_layouts.from_hex([written], SYMBOLS)[0],
    )


def test_many_categories_are_numbers_to_type(playground: Playground) -> None:
    playground.open("tiny-many")
    fields = playground.page.locator("#grid input")
    assert fields.count() == 6
    before = playground.code()
    fields.nth(1).fill("200")
    fields.nth(1).press("Enter")
    assert playground.text("#code-problem") == "Latent 2: expected a category from 0 to 199, got 200."
    assert playground.code() == before
    fields.nth(1).fill("199")
    fields.nth(1).press("Enter")
    playground.settle()
    assert playground.text("#code-problem") == ""
    assert playground.code() == before[:2] + "c7" + before[4:]
    assert_shows(playground, "#output", MODELS["tiny-many"].decode(typed_code(fields))[0])


def typed_code(fields: Any) -> np.ndarray:
    return np.array([[int(field.input_value()) for field in fields.all()]])


def maps_of(playground: Playground, kind: int) -> list[Any]:
    """The small maps of the samples: 0 their codes, 1 their relaxed values."""
    return [
        playground.pixels(f"#samples .picture:nth-child({sample}) .map:nth-child({kind + 2}) canvas")
        for sample in range(1, playground.page.locator("#samples .picture").count() + 1)
    ]


def test_temperature_spreads_samples_and_relaxation_temperature_sharpens_without_changing_a_code(
    playground: Playground,
) -> None:
    playground.open()
    assert playground.page.locator("#samples .picture").count() == 6
    seed = playground.page.input_value("#seed")
    playground.slide("#temperature", 2)
    playground.settle()
    assert playground.page.input_value("#seed") == seed
    codes, relaxed = maps_of(playground, 0), maps_of(playground, 1)
    assert len({str(code) for code in codes}) == 6
    playground.slide("#relaxation", 1)
    playground.settle()
    assert playground.text("#relaxation-value") == "10"
    assert maps_of(playground, 0) == codes
    assert maps_of(playground, 1) != relaxed
    playground.slide("#temperature", 0)
    playground.slide("#num-samples", 3)
    playground.settle()
    codes = maps_of(playground, 0)
    assert len(codes) == 3
    assert codes[0] == codes[1] == codes[2]
    labels = [picture.get_attribute("aria-label") for picture in playground.page.locator("#samples .picture").all()]
    assert labels == [f"Sample {sample}, 0 bits from the most probable code" for sample in (1, 2, 3)]


def test_the_seed_is_shown_can_be_set_kept_and_drawn_anew(playground: Playground) -> None:
    playground.open()
    first = playground.page.input_value("#seed")
    playground.page.click("#redraw")
    playground.settle()
    assert playground.page.input_value("#seed") != first
    playground.page.fill("#seed", "12")
    playground.page.press("#seed", "Enter")
    playground.settle()
    shown = maps_of(playground, 0)
    body = body_of(playground.snippet("samples", "curl"))
    assert body["seed"] == 12
    playground.slide("#temperature", 0.5)
    playground.slide("#temperature", 1)
    playground.settle()
    assert playground.page.input_value("#seed") == "12"
    assert maps_of(playground, 0) == shown
    playground.page.uncheck("#seed-fixed")
    playground.slide("#temperature", 1.5)
    playground.settle()
    assert playground.page.input_value("#seed") != "12"
    playground.page.fill("#seed", "-1")
    playground.page.press("#seed", "Enter")
    assert "expected a whole number" in playground.text("#seed-problem")


def test_a_sample_can_be_put_into_the_grid(playground: Playground) -> None:
    playground.open()
    playground.slide("#temperature", 2)
    playground.settle()
    body = body_of(playground.snippet("samples", "curl"))
    sampled = playground.post("mnist-binary", "reconstruct", **body | {"code_format": "hex"})
    playground.page.locator("#samples .picture").nth(2).click()
    assert playground.code() == sampled["codes"][0][2]
    assert playground.text("#code-source") == "sample 3"
    assert_shows(playground, "#output", sampled["outputs"][0][2])
    assert "probability" in playground.cell(0).get_attribute("aria-label")


def test_pictures_are_generated_from_the_prior_and_their_codes_can_be_changed(playground: Playground) -> None:
    playground.open()
    first = playground.text("#prior-seed")
    playground.page.click("#generate")
    playground.settle()
    assert playground.text("#prior-seed") != first
    body = body_of(playground.snippet("generate", "curl"))
    assert str(body["seed"]) == playground.text("#prior-seed")
    generated = playground.post("mnist-binary", "generate", **body | {"code_format": "hex"})
    assert playground.page.locator("#generated .picture").count() == len(generated["codes"]) == 12
    playground.page.locator("#generated .picture").nth(4).click()
    assert playground.code() == generated["codes"][4]
    assert_shows(playground, "#output", generated["outputs"][4])
    assert "probability" not in playground.cell(0).get_attribute("aria-label")
    playground.cell(0).click()
    playground.settle()
    assert_shows(playground, "#output", playground.decoded("mnist-binary", playground.code()))


@pytest.mark.parametrize("model", ["mnist-binary", "mnist-categorical"])
def test_a_way_from_one_code_to_another_changes_a_symbol_at_a_time(playground: Playground, model: str) -> None:
    playground.open(model)
    start = playground.code()
    playground.page.locator("#generated .picture").nth(1).click()
    end = playground.code()
    playground.page.click("#set-to")
    playground.settle()
    body = body_of(playground.snippet("interpolate", "curl"))
    layout = BITS if model == "mnist-binary" else SYMBOLS
    path = code_layouts.from_hex(body["codes"], layout)
    assert (body["codes"][0], body["codes"][-1]) == (start, end)
    assert ((path[1:] != path[:-1]).sum(axis=1) == 1).all()
    assert ((path == path[0]) | (path == path[-1])).all()
    playground.slide("#frame-slider", len(path) // 2)
    assert_shows(playground, "#frame", playground.decoded(model, body["codes"][len(path) // 2]))
    playground.page.locator("#frames .picture").last.click()
    assert_shows(playground, "#frame", playground.decoded(model, end))


@pytest.mark.parametrize("model", ["mnist-binary", "mnist-categorical"])
def test_a_relaxed_way_passes_through_values_that_no_code_has(playground: Playground, model: str) -> None:
    playground.open(model)
    playground.page.check("[name=way][value=relaxed]")
    playground.settle()
    relaxed = np.array(body_of(playground.snippet("interpolate", "curl"))["relaxed"])
    np.testing.assert_allclose(relaxed[4], 0.75 * relaxed[0] + 0.25 * relaxed[-1], atol=1e-9)
    playground.slide("#frame-slider", 4)
    assert playground.text("#frame-label") == "25 % of the way"
    assert_shows(playground, "#frame", playground.post(model, "decode", relaxed=relaxed[4:5].tolist())["outputs"][0])


def test_every_model_of_the_repository_can_be_chosen(playground: Playground) -> None:
    playground.open()
    for name, model in MODELS.items():
        playground.page.select_option("#model", name)
        playground.settle()
        assert playground.text("#problem-text") == ""
        expected = MODELS[name].decode(shown_code(playground, name))[0]
        if model.image is not None:
            assert np.shape(playground.pixels("#seen")) == (*model.input_shape[:2], 3)
            assert_shows(playground, "#output", expected)
        assert playground.page.locator("#generated .picture").count() == 12
        assert playground.page.locator("#samples .picture").count() == 6
        assert playground.text("#model-summary").startswith(" × ".join(map(str, model.input_shape)))


def shown_code(playground: Playground, name: str) -> np.ndarray:
    return code_layouts.from_hex([playground.code()], MODELS[name].layout)


def test_a_model_that_sees_dark_as_light_is_drawn_for_on_paper(playground: Playground) -> None:
    playground.open("tiny-paper")
    playground.page.uncheck("#centre")
    playground.page.click("#clear")
    playground.settle()
    assert np.min(playground.pixels("#pad")) == 255
    assert np.max(playground.pixels("#seen")) == 0
    playground.draw((0.1, 0.5), (0.9, 0.5))
    playground.settle()
    assert np.max(np.array(playground.pixels("#seen"))[8]) > 100
    body = body_of(playground.snippet("encode", "curl"))
    reply = playground.post(
        "tiny-paper", "encode", images=body["images"], outputs=["inputs", "codes"], code_format="hex"
    )
    assert_shows(playground, "#seen", reply["inputs"][0])
    assert playground.code() == reply["codes"][0]


def test_colour_is_drawn_in_colour(playground: Playground) -> None:
    playground.open("tiny-colour")
    playground.page.uncheck("#centre")
    playground.page.click("#clear")
    playground.page.locator("#ink").evaluate(
        "(input) => { input.value = '#ff0000'; input.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    playground.draw((0.2, 0.5), (0.8, 0.5))
    playground.settle()
    red, green, blue = np.array(playground.pixels("#seen"))[6, 10]
    assert red > 100
    assert green == blue == 0


def test_numbers_are_typed_and_shown_as_bars(playground: Playground) -> None:
    playground.open("tiny-categorical")
    assert playground.page.locator("#picture-tools").is_hidden()
    playground.page.fill("#numbers", "0, 0.1 0.2; 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9")
    playground.page.click("#numbers-apply")
    playground.settle()
    model = MODELS["tiny-categorical"]
    expected = model.encode(np.arange(10)[None] / 10).codes
    assert playground.code() == code_layouts.to_hex(expected, model.layout)[0]
    heights = (np.array(playground.pixels("#seen")).max(axis=-1) > 0).sum(axis=0)
    assert heights[40:620].argmax() > 500
    for written, sentence in (
        ("1, 2", "tiny-categorical takes 10 values; these are 2."),
        ("one, 2", "“one” is not a number."),
    ):
        playground.page.fill("#numbers", written)
        playground.page.click("#numbers-apply")
        assert playground.text("#problem-text") == sentence
    playground.expected_problems.append("error: Failed to load resource: the server responded with a status of 422")
    playground.page.fill("#numbers", "7, " * 10)
    playground.page.click("#numbers-apply")
    playground.page.wait_for_selector("#problem-text:has-text('a finite number from 0 to 1')")


def test_a_file_is_converted_by_the_service_and_the_page_says_how(playground: Playground) -> None:
    playground.open()
    content = file_of(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    playground.page.set_input_files("#file", {"name": "noise.png", "mimeType": "image/png", "buffer": content})
    playground.settle()
    expected = playground.post(
        "mnist-binary",
        "encode",
        images=[base64.b64encode(content).decode()],
        outputs=["codes", "inputs"],
        code_format="hex",
    )
    assert playground.code() == expected["codes"][0]
    assert_shows(playground, "#seen", expected["inputs"][0])
    said = "noise.png: PNG, 90 × 60 · colour to grey · resized from 90 x 60 to 28 x 28"
    assert playground.text("#conversions") == said
    assert playground.text("#input-source") == "your file"


def test_drawing_on_a_picture_that_was_chosen_begins_a_drawing(playground: Playground) -> None:
    playground.open()
    playground.page.locator("#examples button").first.click()
    playground.settle()
    assert playground.page.locator("#pad").is_hidden()
    playground.page.uncheck("#centre")
    playground.page.locator("#examples button").first.click()
    box = playground.page.locator("#upload-preview").bounding_box()
    assert box is not None
    playground.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.3 * box["height"])
    playground.page.mouse.down()
    playground.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.7 * box["height"], steps=4)
    playground.page.mouse.up()
    playground.settle()
    assert playground.page.locator("#pad").is_visible()
    seen = np.array(playground.pixels("#seen"))[..., 0]
    assert seen[14, 14] > 200
    assert seen[:, :10].max() == seen[:, 18:].max() == 0


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_and_pasted(playground: Playground, way: str) -> None:
    playground.open()
    content = file_of(np.full((28, 28), 90, np.uint8))
    playground.page.evaluate(
        """([way, content]) => {
            const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], `${way}.png`, { type: 'image/png' }));
            const event = way === 'drop'
                ? new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })
                : new ClipboardEvent('paste', { clipboardData: data, bubbles: true });
            document.body.dispatchEvent(event);
        }""",
        [way, base64.b64encode(content).decode()],
    )
    playground.settle()
    assert (np.array(playground.pixels("#seen")) == 90).all()
    assert playground.text("#conversions") == f"{way}.png: PNG, 28 × 28"


FRAMES = [Image.new("L", (4, 4), level) for level in (0, 255)]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.png", b"", "received no bytes at all"),
        ("holiday.png", file_of(np.zeros((4, 4), np.uint8), "GIF"), "received a GIF image"),
        ("broken.jpg", file_of(np.zeros((64, 64), np.uint8), "JPEG")[:200], "a JPEG file that cannot be decoded"),
        ("moving.png", file_of(FRAMES[0], save_all=True, append_images=FRAMES[1:]), "an animated PNG of 2 frames"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_words(
    playground: Playground, name: str, content: bytes, sentence: str
) -> None:
    playground.open()
    before = playground.code()
    playground.expected_problems.append("error: Failed to load resource: the server responded with a status of 422")
    playground.page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
    playground.page.wait_for_selector("#problem:visible")
    assert playground.text("#problem-text").startswith(f"{name}: ")
    assert sentence in playground.text("#problem-text")
    assert playground.code() == before
    playground.page.click("#problem-close")
    assert playground.page.locator("#problem").is_hidden()


def test_what_the_service_refuses_is_said_in_its_words(playground: Playground) -> None:
    playground.open()
    playground.expected_problems.append("error: Failed to load resource: the server responded with a status of 503")
    title, detail = "More requests wait than the service can answer soon", "expected at most 64 rows waiting"
    playground.page.route(
        "**/decode",
        lambda route: route.fulfill(
            status=503, headers={"Retry-After": "2"}, json={"title": title, "status": 503, "detail": detail}
        ),
    )
    playground.cell(0).click()
    playground.page.wait_for_selector("#problem:visible")
    assert playground.text("#problem-text") == f"{title}: {detail}. Try again in 2 seconds."


def test_a_service_that_is_gone_is_said_to_be(playground: Playground) -> None:
    playground.open()
    playground.expected_problems.append("error: Failed to load resource: net::ERR_CONNECTION_REFUSED")
    playground.page.route("**/decode", lambda route: route.abort("connectionrefused"))
    playground.cell(0).click()
    playground.page.wait_for_selector("#problem:visible")
    assert playground.text("#problem-text") == "The service does not answer. Is it still running?"


def test_a_server_that_asks_for_a_key_is_given_one(playground: Playground, tmp_path: Path) -> None:
    playground.expected_problems.append("error: Failed to load resource: the server responded with a status of 401")
    page, key = playground.page, "open-sesame-open-sesame"
    with ServiceProcess([ROOT / "models" / "shipped"], log=tmp_path / "log", api_keys=f"somebody:{key}") as service:
        playground.use(service)
        page.goto(service.url)
        page.wait_for_selector("#key-form:visible")
        assert "expected a key" in playground.text("#problem-text")
        page.fill("#key", "another-key-than-that")
        page.press("#key", "Enter")
        page.wait_for_selector("#key-form:visible")
        page.fill("#key", key)
        page.press("#key", "Enter")
        playground.settle()
        assert page.locator("#problem").is_hidden()
        assert page.locator("#grid [role=gridcell]").count() == 64
        page.reload()
        playground.settle()
        copied = playground.snippet("decode", "curl")
        assert '"Authorization: Bearer $LATENT_CODES_API_KEY"' in copied
        assert key not in copied
        page.goto("about:blank")


def test_everything_can_be_done_by_keyboard(playground: Playground) -> None:
    playground.open()
    page = playground.page
    page.focus("#pad")
    page.keyboard.press("Delete")
    page.keyboard.press("Space")
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    playground.settle()
    assert np.max(playground.pixels("#seen")) > 200
    before = playground.code()
    page.focus("#grid [tabindex='0']")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.dataset.index") == "10"
    assert page.locator("#grid [tabindex='0']").count() == 1
    assert playground.text("#cell-sentence").startswith("Bit 11 is ")
    page.keyboard.press("Enter")
    playground.settle()
    assert playground.code() == f"{int(before, 16) ^ (1 << 63 - 10):016x}"
    assert page.evaluate("document.activeElement.dataset.index") == "10"
    page.keyboard.press("Control+z")
    playground.settle()
    assert playground.code() == before
    page.keyboard.press("Home")
    assert page.evaluate("document.activeElement.dataset.index") == "8"
    page.keyboard.press("Control+End")
    assert page.evaluate("document.activeElement.dataset.index") == "63"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#grid')") is None


def test_every_control_and_picture_has_a_name_for_those_who_cannot_see_it(playground: Playground) -> None:
    playground.open()
    nameless = playground.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, [role=img], [role=grid], section')]
            .filter(element => element.offsetParent !== null)
            .filter(element => !(element.getAttribute('aria-label')
                || document.getElementById(element.getAttribute('aria-labelledby'))?.textContent.trim()
                || element.labels?.[0]?.textContent.trim()
                || element.textContent.trim()))
            .map(element => element.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
    rows = playground.page.locator("#grid > [role=row]")
    assert rows.count() == 8
    assert playground.page.locator("#grid > [role=row] > [role=gridcell][aria-label^='Bit']").count() == 64


def test_copying_is_confirmed(playground: Playground) -> None:
    playground.open()
    for _ in range(2):
        playground.page.click("#copy-code")
        playground.page.wait_for_selector("#code-copied:has-text('Copied.')")
    assert playground.page.evaluate("navigator.clipboard.readText()") == playground.code()
    playground.page.wait_for_selector("#code-copied:has-text('Copied.')", state="hidden")


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_colours_follow_the_system_until_they_are_chosen(
    new_playground: Callable[..., Playground], scheme: str, is_dark: bool
) -> None:
    playground = new_playground(color_scheme=scheme).open()

    def background() -> int:
        colour = playground.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))

    assert (background() < 200) == is_dark
    for label, dark in (("Light", False), ("Dark", True), ("Auto", is_dark)):
        playground.page.click("#theme")
        assert playground.text("#theme") == label
        assert (background() < 200) == dark


def test_a_phone_shows_the_picture_beside_the_grid_and_nothing_sticks_out(
    new_playground: Callable[..., Playground],
) -> None:
    playground = new_playground(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True).open()
    assert playground.page.evaluate("document.documentElement.scrollWidth") <= 360
    playground.cell(20).tap()
    playground.settle()
    box = playground.page.locator("#output").bounding_box()
    cell = playground.cell(20).bounding_box()
    assert box is not None
    assert cell is not None
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 740
    assert cell["width"] >= 30
    playground.page.select_option("#model", "mnist-categorical")
    playground.settle()
    assert playground.page.evaluate("document.documentElement.scrollWidth") <= 360
