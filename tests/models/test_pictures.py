"""Images to rows and back: what comes of colour, transparency, depth, orientation and size, and what is said of it."""

import io

import numpy as np
import pytest
from image_files import png_of_sixteen_bits
from models_of_images import spec_of
from PIL import Image

from models.manifest import InputSpec
from models.pictures import flattened, to_pixels, to_row

RNG = np.random.default_rng(3)
GREY = RNG.integers(0, 256, (6, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def stored(image: Image.Image, file_format: str = "PNG", **options: object) -> Image.Image:
    """The image as it is after it was written to a file and opened again."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return Image.open(buffer)


def test_a_grey_image_of_the_models_size_becomes_its_pixels_over_255_and_nothing_is_done_to_it() -> None:
    row = to_row(stored(Image.fromarray(GREY)), spec_of("L", 6, 4))
    np.testing.assert_array_equal(row.values, GREY / np.float32(255))
    assert row.values.dtype == np.float32
    assert row.steps == []


def test_a_colour_image_keeps_the_channels_of_a_pixel_together() -> None:
    row = to_row(stored(Image.fromarray(COLOUR)), spec_of("RGB", 6, 4))
    np.testing.assert_array_equal(row.values, COLOUR / np.float32(255))
    assert row.steps == []


def test_values_lie_in_the_models_range_whatever_it_is() -> None:
    spec = spec_of("L", 6, 4, minimum=-1.0, maximum=3.0)
    row = to_row(Image.fromarray(GREY), spec)
    np.testing.assert_allclose(row.values, -1 + GREY / 255 * 4, atol=1e-6)
    np.testing.assert_array_equal(to_pixels(row.values, spec), GREY)


def test_an_inverting_model_sees_dark_as_light_and_answers_in_the_files_own_polarity() -> None:
    spec = spec_of("L", 6, 4, invert=True)
    row = to_row(Image.fromarray(GREY), spec)
    np.testing.assert_array_equal(row.values, (255 - GREY) / np.float32(255))
    assert row.steps == ["inverted"]
    np.testing.assert_array_equal(to_pixels(row.values, spec), GREY)


def test_colour_becomes_grey_with_the_weights_of_itu_r_601() -> None:
    row = to_row(Image.fromarray(COLOUR), spec_of("L", 6, 4))
    np.testing.assert_allclose(row.values * 255, COLOUR @ [0.299, 0.587, 0.114], atol=0.51)
    assert row.steps == ["colour to grey"]


def test_grey_becomes_three_equal_channels() -> None:
    row = to_row(Image.fromarray(GREY), spec_of("RGB", 6, 4))
    np.testing.assert_array_equal(row.values, np.repeat(GREY[..., None], 3, axis=-1) / np.float32(255))
    assert row.steps == ["grey to colour"]


def test_halving_averages_what_a_triangle_of_two_pixels_reaches() -> None:
    """Against the definition: bilinear with antialiasing, as Pillow defines it, in numpy."""

    def weights(large: int, small: int) -> np.ndarray:
        scale = large / small
        centres = (np.arange(small)[:, None] + 0.5) * scale
        weight = np.maximum(0, 1 - np.abs(np.arange(large) + 0.5 - centres) / scale)
        return weight / weight.sum(axis=1, keepdims=True)

    large = RNG.integers(0, 256, (12, 8), dtype=np.uint8)
    row = to_row(Image.fromarray(large), spec_of("L", 6, 4))
    np.testing.assert_allclose(row.values * 255, weights(12, 6) @ large @ weights(8, 4).T, atol=1.01)
    assert row.steps == ["resized from 8 x 12 to 4 x 6"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int) -> None:
    turned = {
        1: GREY,
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        6: np.rot90(GREY),
        7: GREY[::-1, ::-1].T,
        8: np.rot90(GREY, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    row = to_row(stored(Image.fromarray(np.ascontiguousarray(turned)), exif=exif), spec_of("L", 6, 4))
    np.testing.assert_array_equal(row.values, GREY / np.float32(255))
    expected = [] if orientation == 1 else [f"turned upright, as EXIF orientation {orientation} says"]
    assert row.steps == expected


def test_transparent_pixels_are_laid_over_white() -> None:
    pixels = np.dstack([COLOUR, np.full((6, 4), 51, np.uint8)])
    row = to_row(stored(Image.fromarray(pixels)), spec_of("RGB", 6, 4))
    np.testing.assert_allclose(row.values * 255, 0.2 * COLOUR + 0.8 * 255, atol=1.01)
    assert row.steps == ["transparency laid over white"]


@pytest.mark.parametrize("mode", ["LA", "P"])
def test_transparency_of_other_modes_is_laid_over_white_too(mode: str) -> None:
    image = Image.new("RGBA", (4, 6), (0, 0, 0, 0)).convert("LA") if mode == "LA" else Image.new("P", (4, 6), 0)
    options = {} if mode == "LA" else {"transparency": 0}
    row = to_row(stored(image, **options), spec_of("L", 6, 4))
    assert (row.values == 1).all()
    assert "transparency laid over white" in row.steps


def test_of_sixteen_bits_the_upper_eight_remain_rounded() -> None:
    wide = RNG.integers(0, 65536, (6, 4)).astype(np.uint16)
    row = to_row(stored(Image.fromarray(wide)), spec_of("L", 6, 4))
    np.testing.assert_allclose(row.values * 255, wide / 257, atol=0.51)
    assert row.steps == ["16 bits a pixel to 8"]


def test_four_inks_become_colour() -> None:
    image = stored(Image.fromarray(np.full((6, 4, 3), (255, 0, 0), np.uint8)).convert("CMYK"), "JPEG", quality=100)
    assert image.mode == "CMYK"
    row = to_row(image, spec_of("RGB", 6, 4))
    np.testing.assert_allclose(row.values[0, 0], (1, 0, 0), atol=0.02)
    assert row.steps == ["CMYK to RGB"]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_mode_of_a_png_is_flattened_to_grey_or_colour(mode: str) -> None:
    assert flattened(stored(Image.new(mode, (4, 6)))).mode in ("L", "RGB")


def test_values_outside_of_the_range_are_clipped_in_a_picture() -> None:
    values = np.array([[-0.2, 0.0, 0.5, 1.0, 1.7]], np.float32)
    assert to_pixels(values, spec_of("L", 1, 5)).tolist() == [[0, 0, 128, 255, 255]]


def test_a_model_without_a_rule_for_images_takes_none() -> None:
    spec = InputSpec(shape=(10,), minimum=0, maximum=1)
    with pytest.raises(ValueError, match="does not say how an image becomes an input"):
        to_row(Image.fromarray(GREY), spec)


def test_of_sixteen_bits_of_colour_the_upper_eight_remain() -> None:
    wide = RNG.integers(0, 65536, (6, 4, 3)).astype(">u2")
    row = to_row(Image.open(io.BytesIO(png_of_sixteen_bits(wide))), spec_of("RGB", 6, 4))
    np.testing.assert_array_equal(row.values, (wide >> 8).astype(np.uint8) / np.float32(255))
