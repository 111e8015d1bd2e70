"""Image files in and PNG out: every file is read or refused in words, bombs before they are unpacked."""

import base64
import io
import time
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from image_files import bomb, file_of
from models_of_images import spec_of
from PIL import Image
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, manifest_of

from models.manifest import ImageSpec, Manifest
from service import images
from service.errors import InvalidFields

PIXELS = np.random.default_rng(1).integers(0, 256, (4, 4), dtype=np.uint8)
LIMIT = 1_000_000


GREY = manifest_of(TINY_BINARY)
COLOUR = manifest_of(replace(TINY_BINARY, input_shape=(4, 4, 3), image=ImageSpec(mode="RGB", height=4, width=4)))
NUMBERS = manifest_of(TINY_CATEGORICAL)


def read(*contents: bytes, manifest: Manifest = GREY, max_pixels: int = LIMIT) -> images.Images:
    files = [images.File(f"images[{index}]", content) for index, content in enumerate(contents)]
    return images.read(files, manifest, max_pixels=max_pixels)


def refusal(*contents: bytes, **options: Any) -> str:
    with pytest.raises(InvalidFields) as raised:
        read(*contents, **options)
    return str(raised.value)


def test_images_become_rows_in_their_order_with_what_was_done_to_each() -> None:
    second = file_of(np.full((8, 6, 3), 200, np.uint8), "JPEG")
    found = read(file_of(PIXELS), second)
    assert found.inputs.shape == (2, 4, 4)
    np.testing.assert_array_equal(found.inputs[0], PIXELS / np.float32(255))
    np.testing.assert_allclose(found.inputs[1], 200 / 255, atol=0.01)
    assert [conversion.to_dict() for conversion in found.conversions] == [
        {"format": "PNG", "width": 4, "height": 4, "steps": []},
        {
            "format": "JPEG",
            "width": 6,
            "height": 8,
            "steps": ["colour to grey", "resized from 6 x 8 to 4 x 4"],
        },
    ]


@pytest.mark.parametrize("content", [file_of(PIXELS), file_of(PIXELS, file_format="JPEG")], ids=["PNG", "JPEG"])
def test_a_colour_model_takes_grey_files(content: bytes) -> None:
    assert read(content, manifest=COLOUR).inputs.shape == (1, 4, 4, 3)


def test_a_jpeg_of_several_pictures_is_its_first_one() -> None:
    several = file_of(
        Image.fromarray(PIXELS), "MPO", save_all=True, append_images=[Image.new("L", (4, 4))], quality=100
    )
    found = read(several)
    assert found.conversions[0].format == "JPEG"
    np.testing.assert_allclose(found.inputs[0] * 255, PIXELS, atol=4)


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"", "no bytes at all"),
        (b"hello", "5 bytes of something else"),
        (file_of(PIXELS, file_format="GIF"), "a GIF image"),
        (file_of(PIXELS, file_format="BMP"), "a BMP image"),
        (file_of(PIXELS, file_format="TIFF"), "a TIFF image"),
        (file_of(PIXELS, file_format="WEBP"), "a WebP image"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "a HEIC, AVIF or MP4 file"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x93NUMPY\1\0", "a .npy array"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "41 bytes of something else"),
    ],
    ids=["nothing", "text", "GIF", "BMP", "TIFF", "WebP", "HEIC", "PDF", "npy", "SVG"],
)
def test_a_file_of_another_kind_is_named_by_its_bytes(content: bytes, received: str) -> None:
    expected = f"images[1]: expected a PNG or JPEG image, received {received}"
    assert refusal(file_of(PIXELS), content) == expected


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [9, 30, 60, 0.5, 0.9])
def test_a_file_that_breaks_off_is_refused(file_format: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = file_of(noise, file_format)
    content = whole[: kept if isinstance(kept, int) else int(kept * len(whole))]
    assert f"a {file_format} file that cannot be decoded" in refusal(content)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_a_file_with_flipped_bytes_is_read_or_refused_and_nothing_else(file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    whole = file_of(noise, file_format)
    rng = np.random.default_rng(4)
    outcomes = set()
    for _ in range(400):
        content = bytearray(whole)
        for place in rng.integers(8, len(content), 3):
            content[place] = rng.integers(0, 256)
        try:
            outcomes.add(read(bytes(content)).inputs.shape)
        except InvalidFields as error:
            outcomes.add(str(error).partition(", received")[0].partition(": expected ")[2][:12])
    assert outcomes <= {(1, 4, 4), "a PNG or JPE", "at most 1000", "an image tha"}
    assert "a PNG or JPE" in outcomes


def test_an_animated_png_is_refused() -> None:
    frames = [Image.new("L", (4, 4), level) for level in (10, 200, 90)]
    content = file_of(frames[0], save_all=True, append_images=frames[1:])
    assert refusal(content) == "images[0]: expected an image that does not move, received an animated PNG of 3 frames"


def test_pixels_are_counted_over_all_images_of_a_request() -> None:
    assert len(read(*[file_of(PIXELS)] * 5, max_pixels=80).inputs) == 5
    message = refusal(*[file_of(PIXELS)] * 6, max_pixels=80)
    expected = "at most 80 pixels in the images of a request, received 4 x 4, which makes 96"
    assert message == f"images[5]: expected {expected}"


@pytest.mark.parametrize("size", [(2000, 2000), (9000, 9000), (50_000, 50_000)], ids=str)
def test_a_bomb_is_refused_by_its_header_in_milliseconds(size: tuple[int, int]) -> None:
    content = bomb(2000, 2000, promised=size)
    start = time.thread_time()  # of the processor: others may have it meanwhile
    message = refusal(content)
    assert time.thread_time() - start < 0.05
    assert message.startswith("images[0]: expected at most 1000000 pixels in the images of a request, received ")


def test_a_model_of_numbers_says_that_it_takes_no_images() -> None:
    expected = (
        "images[0]: expected numbers: rows of shape [10], which is what tiny-categorical takes, received an image"
    )
    assert refusal(file_of(PIXELS), manifest=NUMBERS) == expected


def test_files_are_unpacked_from_base64() -> None:
    content = file_of(PIXELS)
    assert images.unpack([base64.b64encode(content).decode()]) == [images.File("images[0]", content)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("AAAA", "images: expected a list of PNG or JPEG images in base64, received 'AAAA'"),
        ([], "images: expected at least one image, received an empty list"),
        ([7], "images[0]: expected a PNG or JPEG image in base64, received 7"),
        (["AAAA", "=?"], "images[1]: expected a PNG or JPEG image in base64, received no base64: '=?'"),
        (["data:image/png;base64,AAAA"], "images[0]: expected a PNG or JPEG image in base64, received no base64: "),
        (["é"], "images[0]: expected a PNG or JPEG image in base64, received no base64: "),
    ],
)
def test_what_is_no_base64_is_named(given: Any, message: str) -> None:
    with pytest.raises(InvalidFields) as raised:
        images.unpack(given)
    assert str(raised.value).startswith(message)


def test_only_a_small_png_is_said_to_be_read_soon() -> None:
    def seconds(content: bytes) -> float:
        return images.seconds_to_read([images.File("body", content)])

    assert seconds(file_of(PIXELS)) < 1e-3
    assert seconds(bomb(2000, 2000)) > 50e-3
    assert seconds(file_of(PIXELS, file_format="JPEG")) == float("inf")
    assert seconds(b"") == 0


def picture(outputs: np.ndarray, mode: Literal["L", "RGB"] = "L") -> np.ndarray:
    height, width = outputs.shape[-3:-1] if mode == "RGB" else outputs.shape[-2:]
    image = Image.open(io.BytesIO(images.to_png(outputs, spec_of(mode, height, width))))
    assert image.mode == mode
    return np.asarray(image)


def test_one_output_is_one_picture_and_reads_back_as_itself() -> None:
    values = PIXELS[None] / np.float32(255)
    np.testing.assert_array_equal(picture(values), PIXELS)
    np.testing.assert_array_equal(read(images.to_png(values, GREY.input)).inputs, values)


def test_several_outputs_fill_a_square_sheet_line_by_line() -> None:
    levels = np.arange(1, 6) * 40
    outputs = np.repeat(levels, 12).reshape(5, 4, 3).astype(np.float32) / 255
    sheet = picture(outputs)
    assert sheet.shape == (2 * 6 + 2, 3 * 5 + 2)
    assert [sheet[2 + line * 6, 2 + column * 5] for line, column in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]] == [
        40,
        80,
        120,
        160,
        200,
    ]
    assert (sheet[:2] == 128).all()
    assert (sheet[8:, 12:] == 128).all()


def test_samples_stand_in_the_line_of_their_row() -> None:
    outputs = np.arange(10, dtype=np.float32).reshape(2, 5, 1, 1).repeat(3, 2).repeat(3, 3) * 20 / 255
    sheet = picture(outputs)
    assert sheet.shape == (2 * 5 + 2, 5 * 5 + 2)
    assert [int(sheet[2, 2 + 5 * sample]) for sample in range(5)] == [0, 20, 40, 60, 80]
    assert [int(sheet[7, 2 + 5 * sample]) for sample in range(5)] == [100, 120, 140, 160, 180]


def test_colour_outputs_make_colour_pictures() -> None:
    outputs = np.zeros((1, 2, 2, 3), np.float32)
    outputs[..., 0] = 1
    np.testing.assert_array_equal(picture(outputs, "RGB")[0, 0], [255, 0, 0])
