"""An image file is the same input for training and for the service, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import TinyModel

from models.manifest import ImageSpec
from service import images
from training.batches import TrainingBatches
from training.data import DataConfig, load

RNG = np.random.default_rng(12)
COLOUR = RNG.integers(0, 256, (40, 30, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def pictures() -> dict[str, tuple[Image.Image, dict[str, object]]]:
    """Files of every kind that both read, with the options they are saved with."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    grey = Image.fromarray(COLOUR[..., 0])
    transparent = Image.fromarray(np.dstack([COLOUR, COLOUR[..., :1]]))
    return {
        "colour.png": (Image.fromarray(COLOUR), {}),
        "grey.png": (grey, {}),
        "colour.jpg": (Image.fromarray(COLOUR), {"quality": 80}),
        "turned.jpg": (Image.fromarray(COLOUR), {"exif": exif}),
        "inks.jpg": (Image.fromarray(COLOUR).convert("CMYK"), {}),
        "transparent.png": (transparent, {}),
        "grey-transparent.png": (transparent.convert("LA"), {}),
        "palette.png": (Image.fromarray(COLOUR).convert("P"), {"transparency": 3}),
        "bits.png": (grey.convert("1"), {}),
        "deep.png": (Image.fromarray(RNG.integers(0, 65536, (40, 30)).astype(np.uint16)), {}),
    }


@pytest.mark.parametrize("name", pictures())
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(28, 28), (40, 30), (64, 17)], ids=["smaller", "as it is", "larger and narrower"])
def test_a_file_is_the_same_row_for_training_and_for_the_service(
    tmp_path: Path, name: str, mode: str, size: tuple[int, int]
) -> None:
    picture, options = pictures()[name]
    for copy in range(10):  # enough for three splits
        picture.save(tmp_path / f"{copy}-{name}", **options)
    dataset = load(
        DataConfig(name="folder", path=str(tmp_path), mode=mode, resize=size, binarization="none")  # type: ignore[arg-type]
    )
    batches = TrainingBatches(dataset, batch_size=1, seed=0, device=torch.device("cpu"))
    trained_on = batches.inputs(0, torch.Generator())

    spec = ImageSpec(mode=mode, height=size[0], width=size[1])  # type: ignore[arg-type]
    model = TinyModel("any", "binary", 4, 2, spec.shape, spec)
    manifest = model.manifest(dict.fromkeys(("encoder", "sampler", "decoder"), b"not read here"), num_golden=1)
    content = (tmp_path / f"0-{name}").read_bytes()
    served = images.read([images.File("body", content)], manifest, max_pixels=10_000)

    np.testing.assert_array_equal(served.inputs.reshape(1, -1), trained_on.numpy())
