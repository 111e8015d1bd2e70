"""Image files and images of Pillow: they become the inputs that the service makes of them, and bad ones are named."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from latent_codes_client import InvalidArgument, RequestRefused
from PIL import Image
from tiny_models import TINY_BINARY


def photo(seed: int, mode: str = "L") -> Image.Image:
    """Noise of another size than the model's."""
    shape = (9, 7, 3) if mode == "RGB" else (9, 7)
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


@pytest.fixture
def client(running_service: Any, make_client: Any) -> Any:
    return make_client(running_service.url, chunk_rows=2)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Five images; the last one lies on its side, and says so."""
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for number, path in enumerate(paths):
        photo(number, "RGB" if number % 2 else "L").save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(4).save(tmp_path / "4.jpg", exif=exif)
    return [*paths, tmp_path / "4.jpg"]


@pytest.fixture
def expected(files: list[Path], running_service: Any) -> Any:
    """The codes of the five, each sent to the service as it is."""
    codes = []
    for path in files:
        kind = "image/jpeg" if path.suffix == ".jpg" else "image/png"
        address = f"{running_service.url}/v1/models/{TINY_BINARY.name}/encode"
        reply = httpx.post(address, content=path.read_bytes(), headers={"Content-Type": kind})
        codes.extend(reply.json()["codes"])
    return np.array(codes)


def test_files_are_encoded_as_the_service_encodes_each(client: Any, files: list[Path], expected: Any) -> None:
    np.testing.assert_array_equal(client.encode(TINY_BINARY.name, files).codes, expected)
    np.testing.assert_array_equal(client.encode(TINY_BINARY.name, [str(path) for path in files]).codes, expected)
    np.testing.assert_array_equal(client.encode(TINY_BINARY.name, (path for path in files)).codes, expected)
    np.testing.assert_array_equal(client.encode(TINY_BINARY.name, files[0]).codes, expected[:1])
    np.testing.assert_array_equal(client.encode(TINY_BINARY.name, files[0].read_bytes()).codes, expected[:1])


def test_images_of_pillow_are_sent_without_a_loss_and_the_right_way_up(
    client: Any, files: list[Path], expected: Any
) -> None:
    images = [Image.open(io.BytesIO(path.read_bytes())) for path in files]
    np.testing.assert_array_equal(client.encode(TINY_BINARY.name, images).codes, expected)
    np.testing.assert_array_equal(client.reconstruct(TINY_BINARY.name, images[4]).codes, expected[4:])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GIF89a", "a GIF image"),
        (b"no image", "8 bytes of something else"),
        (b"\x89PNG\r\n\x1a\n", "cannot be decoded"),
    ],
    ids=["GIF", "text", "cut off"],
)
def test_a_file_that_the_service_cannot_read_is_named(
    client: Any, files: list[Path], tmp_path: Path, content: bytes, said: str
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(content)
    with pytest.raises(RequestRefused, match=rf"^HTTP 422: {bad}: images\[3\]: .*{said}") as refusal:
        client.encode(TINY_BINARY.name, [*files[:3], bad])
    assert (refusal.value.source, refusal.value.field) == (str(bad), "images[3]")


def test_what_is_no_file_of_an_image_is_not_sent(client: Any, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    for path, said in [
        (tmp_path / "empty.png", r"empty\.png: expected an image, the file is empty \(0 bytes\)"),
        (tmp_path / "nothing.png", r"nothing\.png: cannot be read: No such file"),
        (tmp_path, "expected a file, got a folder"),
    ]:
        with pytest.raises(InvalidArgument, match=said):
            client.encode(TINY_BINARY.name, [files[0], path])
