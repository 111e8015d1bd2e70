"""What a request gives to encode: rows, or images, which become rows before the engine sees them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.manifest import Manifest
from service import images, wire
from service.engine import Engine
from service.errors import invalid, shown
from service.images import Conversion, File
from service.schemas import EncodeRequest
from service.settings import Settings

TO_ENCODE = frozenset({"inputs", "images"})
TO_DECODE = frozenset({"codes", "relaxed"})
"""Fields of a request that hold its rows, which are read for themselves and not with its parameters."""
OF_WHAT_WAS_GIVEN = frozenset({"inputs", "conversions"})
"""Names in `outputs` that no engine answers."""


class Rows(NamedTuple):
    """Inputs [B, D] or [B, *input] as an array, and what images were converted to get there."""

    inputs: NDArray[Any]
    conversions: tuple[Conversion, ...] | None = None

    def fields(self, outputs: Sequence[str], manifest: Manifest) -> dict[str, Any]:
        """What `outputs` asks for of this, as a reply spells it."""
        fields: dict[str, Any] = {}
        if "inputs" in outputs:
            fields["inputs"] = self.inputs.reshape(-1, *manifest.input.shape).astype(np.float32)
        if "conversions" in outputs:
            fields["conversions"] = [conversion.to_dict() for conversion in self.conversions or ()]
        return fields


class Images(NamedTuple):
    """Files of images, not looked into yet."""

    files: Sequence[File]

    @property
    def seconds_to_read(self) -> float:
        """About how long decoding them takes."""
        return images.seconds_to_read(self.files)

    def rows(self, manifest: Manifest, settings: Settings) -> Rows:
        """The inputs that they hold. Raises InvalidFields."""
        found = images.read(self.files, manifest, max_pixels=settings.max_image_pixels)
        return Rows(found.inputs, found.conversions)


def read_given(given: Mapping[str, Any], request: EncodeRequest, engine: Engine, settings: Settings) -> Rows | Images:
    """What the request gives, of TO_ENCODE, beside its parameters. Raises InvalidFields."""
    if len(given) != 1:
        raise invalid("inputs", "exactly one of inputs and images", "both" if given else "nothing")
    if "images" in given:
        files = given["images"]
        if not (files and isinstance(files, list) and all(isinstance(image, File) for image in files)):
            files = images.unpack(files)
        limit_rows("images", files, request.num_samples, settings)
        return Images(files)
    if "conversions" in request.outputs:
        place = f"outputs[{request.outputs.index('conversions')}]"
        raise invalid(place, "conversions only of images", "inputs")
    inputs = given["inputs"]
    limit_rows("inputs", inputs, request.num_samples, settings)
    return Rows(wire.parse_numbers(inputs, "inputs", engine.manifest.input.shape))


def limit_rows(field: str, rows: Any, num_samples: int, settings: Settings) -> None:
    """Before anything of that size is made; what has no rows is refused where it is parsed."""
    num_rows = len(rows) * num_samples if isinstance(rows, list) or (isinstance(rows, np.ndarray) and rows.ndim) else 0
    if num_rows > settings.max_rows:
        expected = f"at most {settings.max_rows} rows times samples in a request"
        raise invalid(field, expected, f"{shown(num_rows)}; split the request")
