import hashlib
import json
import os
import subprocess

import numpy as np
import pytest
from PIL import Image

from models.manifest import TrainingRecord
from training.data import DataConfig, load
from training.data.folder import read
from training.errors import DataError

GREY = np.random.default_rng(5).integers(0, 256, size=(12, 6, 4), dtype=np.uint8)
COLOUR = np.random.default_rng(6).integers(0, 256, size=(12, 6, 4, 3), dtype=np.uint8)


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def write_all(folder, pixels, pattern="{:02}.png"):
    for number, each in enumerate(pixels):
        write(folder / pattern.format(number), each)


def material(folder, **options):
    return read(DataConfig(name="folder", path=str(folder), **options))


def only_picture(folder, **options):
    """Pixels of the one image there, in the shape of an input."""
    found = material(folder, **options)
    return found.splits["train"].values[0].reshape(found.input.shape)


def test_grey_images_become_grey_rows_in_the_order_of_their_names(tmp_path):
    write_all(tmp_path, GREY)
    found = material(tmp_path)
    np.testing.assert_array_equal(found.splits["train"].values, GREY.reshape(12, 24))
    assert found.input.shape == (6, 4)
    assert found.input.image.mode == "L"
    assert found.scale == 255.0
    assert found.splits["train"].labels is None


def test_colour_images_become_rows_with_the_channels_of_a_pixel_together(tmp_path):
    write_all(tmp_path, COLOUR)
    found = material(tmp_path)
    np.testing.assert_array_equal(found.splits["train"].values, COLOUR.reshape(12, 72))
    assert found.input.shape == (6, 4, 3)
    assert found.input.image.mode == "RGB"


def test_one_coloured_pixel_makes_the_set_colour_and_its_mode_makes_it_grey(tmp_path):
    pixels = np.repeat(GREY[..., None], 3, axis=-1)
    pixels[11, 5, 3] = (10, 20, 30)
    write_all(tmp_path, pixels)
    assert material(tmp_path).input.shape == (6, 4, 3)
    assert material(tmp_path, mode="L").input.shape == (6, 4)


def test_grey_images_stored_as_colour_are_grey_and_their_mode_makes_them_colour(tmp_path):
    write_all(tmp_path, np.repeat(GREY[..., None], 3, axis=-1))
    np.testing.assert_array_equal(material(tmp_path).splits["train"].values, GREY.reshape(12, 24))
    assert material(tmp_path, mode="RGB").input.shape == (6, 4, 3)


def test_a_folder_of_images_loads_into_three_splits(tmp_path):
    write_all(tmp_path / "pictures", GREY)
    dataset = load(DataConfig(name="folder", path=str(tmp_path / "pictures")))
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 10, "valid": 1, "test": 1}
    assert dataset.protocol("test") == (
        "folder pictures test, 1 image, cut off the training rows with seed 0, "
        "one Bernoulli binarisation with seed 20181"
    )


def test_sub_folders_are_classes_at_any_depth(tmp_path):
    write_all(tmp_path / "cat/young", GREY[:4])
    write_all(tmp_path / "cat", GREY[4:6])
    write_all(tmp_path / "ant", GREY[6:])
    found = material(tmp_path)
    assert found.origin["classes"] == ["ant", "cat"]
    assert found.splits["train"].labels.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_array_equal(found.splits["train"].values[:6], GREY[6:].reshape(6, 24))


def test_names_that_are_no_text_can_still_be_written_as_json(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    except OSError:
        pytest.skip("this file system has names of UTF-8 only")
    write_all(tmp_path / os.fsdecode(b"caf\xe9"), GREY)
    provenance = load(DataConfig(name="folder", path=str(tmp_path))).provenance
    assert provenance["classes"] == ["caf?"]
    TrainingRecord(data=provenance, config={}, num_steps=0, duration_seconds=0, device="cpu").model_dump_json()


def test_an_image_outside_the_classes_means_there_are_none(tmp_path):
    write_all(tmp_path / "cat", GREY[:6])
    write_all(tmp_path, GREY[6:])
    found = material(tmp_path)
    assert found.origin["classes"] == []
    assert found.splits["train"].labels is None


def test_sub_folders_named_so_are_splits_and_share_their_classes(tmp_path):
    write_all(tmp_path / "train/b", GREY[:8])
    write_all(tmp_path / "train/a", GREY[8:10])
    write_all(tmp_path / "test/c", GREY[10:])
    found = material(tmp_path)
    assert list(found.splits) == ["train", "test"]
    assert found.origin["classes"] == ["a", "b", "c"]
    assert found.splits["train"].labels.tolist() == [0, 0] + [1] * 8
    assert found.splits["test"].labels.tolist() == [2, 2]
    np.testing.assert_array_equal(found.splits["test"].values, GREY[10:].reshape(2, 24))


def test_hidden_files_and_other_files_are_passed_over(tmp_path):
    write_all(tmp_path, GREY)
    write(tmp_path / ".thumbnails/0.png", COLOUR[0])
    (tmp_path / "._00.png").write_bytes(b"what macOS leaves behind")
    (tmp_path / "notes.txt").write_text("no image")
    assert len(material(tmp_path).splits["train"]) == 12


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.gif", "a.tif", "a.tiff", "a.pgm"])
def test_lossless_formats_keep_every_pixel(tmp_path, name):
    write(tmp_path / name, GREY[0])
    np.testing.assert_array_equal(only_picture(tmp_path), GREY[0])


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_lossy_formats_are_read(tmp_path, name):
    pixels = np.full((16, 16), 200, np.uint8)
    write(tmp_path / name, pixels)
    np.testing.assert_allclose(only_picture(tmp_path), pixels, atol=4)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda pixels: pixels),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (6, lambda pixels: pixels.T[:, ::-1]),
        (8, lambda pixels: pixels.T[::-1]),
    ],
)
def test_an_image_stands_upright_as_its_exif_orientation_says(tmp_path, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    write(tmp_path / "a.png", GREY[0], exif=exif)
    np.testing.assert_array_equal(only_picture(tmp_path), upright(GREY[0]))


def test_transparent_pixels_are_laid_over_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = (0, 255, 51)  # invisible, opaque and one fifth opaque black
    write(tmp_path / "a.png", pixels)
    assert only_picture(tmp_path).tolist() == [[255, 0, 204]]


def test_transparent_grey_stays_grey(tmp_path):
    image = Image.new("LA", (2, 1))
    image.putpixel((0, 0), (9, 0))
    image.putpixel((1, 0), (9, 255))
    write(tmp_path / "a.png", image)
    assert only_picture(tmp_path).tolist() == [[255, 9]]


def test_a_palette_becomes_the_colours_it_stands_for(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    write(tmp_path / "a.png", image)
    assert only_picture(tmp_path).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_a_transparent_entry_of_a_palette_is_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    write(tmp_path / "a.png", image, transparency=0)
    assert only_picture(tmp_path).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_print_colours_become_screen_colours(tmp_path):
    image = Image.new("CMYK", (1, 1), (0, 255, 255, 0))
    write(tmp_path / "a.tif", image)
    assert only_picture(tmp_path).tolist() == [[[255, 0, 0]]]


def test_black_and_white_bits_are_nothing_and_255(tmp_path):
    write(tmp_path / "a.png", GREY[0] > 127)
    np.testing.assert_array_equal(only_picture(tmp_path), (GREY[0] > 127) * 255)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, name):
    write(tmp_path / name, np.array([[0, 128, 129, 257 * 7, 65535]], np.uint16))
    assert only_picture(tmp_path).tolist() == [[0, 0, 1, 7, 255]]


def test_resizing_gives_every_image_the_height_and_width_asked_for(tmp_path):
    write(tmp_path / "a.png", np.full((6, 4), 50, np.uint8))
    write(tmp_path / "b.png", np.full((9, 2), 60, np.uint8))
    found = material(tmp_path, resize=(5, 3))
    assert found.input.shape == (5, 3)
    assert found.splits["train"].values.tolist() == [[50] * 15, [60] * 15]


def test_halving_is_the_bilinear_one_of_the_contract(tmp_path):
    # Pillow's bilinear filter at half the size: a triangle over four pixels, weights 1 3 3 1, cut off at the border.
    write(tmp_path / "a.png", np.array([[0, 80, 160, 240]], np.uint8))
    left = (3 * 0 + 3 * 80 + 1 * 160) / 7
    assert only_picture(tmp_path, resize=(1, 2)).tolist() == [[round(left), round(240 - left)]]


def test_mixed_sizes_are_refused_naming_two_files_and_the_option(tmp_path):
    write(tmp_path / "a.png", GREY[0])
    write(tmp_path / "b.png", GREY[1].T)
    with pytest.raises(
        DataError, match=r"a\.png of 6 x 4 and .*b\.png of 4 x 6 pixels .*set data\.resize = \[height, width\]"
    ):
        material(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(20)], ids=["empty", "text", "header-only"]
)
def test_an_unreadable_image_is_named(tmp_path, content):
    write_all(tmp_path, GREY)
    (tmp_path / "05.png").write_bytes(content)
    with pytest.raises(DataError, match=r"05\.png: cannot be read as an image .*repair or remove it"):
        material(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_a_torn_image_is_named(tmp_path, name):
    write(tmp_path / name, np.random.default_rng(0).integers(0, 256, size=(64, 64), dtype=np.uint8))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"{name}: cannot be read as an image"):
        material(tmp_path)


def test_an_image_that_unpacks_to_gigabytes_is_refused_unread(tmp_path):
    # One bit a pixel, 10,000 x 10,000: more than Pillow's limit, though a small file.
    write(tmp_path / "a.png", Image.new("1", (10_000, 10_000)))
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image \(Image size"):
        material(tmp_path)


def test_float_images_are_refused_with_the_way_out(tmp_path):
    write(tmp_path / "a.tif", np.zeros((2, 2), np.float32))
    with pytest.raises(DataError, match=r"a\.tif: .*pixels are floats; save them as an array"):
        material(tmp_path)


def test_what_calls_itself_an_image_but_is_postscript_is_not_run(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image"):
        material(tmp_path)


@pytest.mark.parametrize(("kind", "found"), [("absent", "nothing"), ("file", "a file")])
def test_a_path_that_is_no_folder_is_refused(tmp_path, kind, found):
    if kind == "file":
        (tmp_path / "pictures").write_bytes(b"")
    with pytest.raises(DataError, match=rf"data\.path: expected a folder of images, found {found} at '.*pictures'"):
        material(tmp_path / "pictures")


def test_a_folder_without_images_is_refused_naming_the_endings(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"")
    with pytest.raises(DataError, match=r"expected images \(\.png, \.jpg, .*found none"):
        material(tmp_path)


def test_images_beside_the_splits_are_refused(tmp_path):
    write_all(tmp_path / "train", GREY)
    write(tmp_path / "val/a.png", GREY[0])
    with pytest.raises(DataError, match=r"sub-folder train is a split, .*found also .*a\.png; move"):
        material(tmp_path)


def test_a_test_split_without_a_train_split_is_refused(tmp_path):
    write_all(tmp_path / "test", GREY)
    with pytest.raises(DataError, match=r"sub-folder test is a split, .*found no folder train; move"):
        material(tmp_path)


def test_an_empty_split_is_refused(tmp_path):
    write_all(tmp_path / "train", GREY)
    (tmp_path / "valid").mkdir()
    with pytest.raises(DataError, match=r"valid: expected images of the split valid, found none"):
        material(tmp_path)


def test_the_checksum_is_that_of_the_listing_that_sha256sum_prints(tmp_path):
    root = tmp_path / "pictures"
    write_all(root / "train/a", GREY[:10])
    write_all(root / "test/a", GREY[10:])
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    printed = subprocess.run(["sha256sum", *names], cwd=root, capture_output=True, check=True).stdout
    origin = material(root).origin
    assert origin["files"][0]["sha256"] == hashlib.sha256(printed).hexdigest()
    assert origin["files"][0]["file"] == "pictures"
    assert origin["files"][0]["num_images"] == 12
    assert str(tmp_path) not in json.dumps(origin)
