"""What a request gives to encode: rows, or images, which become rows before the engine sees them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import Manifest
from service import images, wire
from service.dispatch import Dispatcher
from service.engine import Engine
from service.errors import invalid, shown
from service.images import Conversion, File
from service.schemas import EncodeRequest
from service.settings import Settings

OF_WHAT_WAS_GIVEN = frozenset({"inputs", "conversions"})
"""Names in `outputs` that no engine answers."""


@dataclass(frozen=True)
class Rows:
    """Inputs [B, D] or [B, *input] as an array, and what images were converted to get there."""

    inputs: NDArray[Any]
    input_shape: tuple[int, ...]
    conversions: tuple[Conversion, ...] | None

    def fields(self, outputs: Sequence[str]) -> dict[str, Any]:
        """What `outputs` asks for of this, as a reply spells it."""
        fields: dict[str, Any] = {}
        if "inputs" in outputs:
            fields["inputs"] = self.inputs.reshape(-1, *self.input_shape).astype(np.float32)
        if "conversions" in outputs:
            fields["conversions"] = [conversion.to_dict() for conversion in self.conversions or ()]
        return fields


@dataclass(frozen=True)
class Given:
    """Rows, or the files of images, neither looked into yet."""

    manifest: Manifest
    max_pixels: int
    inputs: NDArray[Any] | None = None
    files: Sequence[File] = ()

    async def rows(self, dispatcher: Dispatcher, deadline: float | None) -> Rows:
        """The inputs; images are decoded here, beside the event loop where that may take long. Raises InvalidFields."""
        shape = self.manifest.input.shape
        if self.inputs is not None:
            return Rows(self.inputs, shape, None)
        found = await dispatcher.run(
            lambda: images.read(self.files, self.manifest, max_pixels=self.max_pixels),
            images.seconds_to_read(self.files),
            deadline,
        )
        return Rows(found.inputs, shape, found.conversions)


def read_given(request: EncodeRequest, engine: Engine, settings: Settings) -> Given:
    """What the request gives. Raises InvalidFields."""
    given = request.model_fields_set & {"inputs", "images"}
    if len(given) != 1:
        raise invalid("inputs", "exactly one of inputs and images", "both" if given else "nothing")
    if "images" in given:
        is_file = isinstance(request.images, list) and all(isinstance(image, File) for image in request.images)
        files = request.images if is_file and request.images else images.unpack(request.images)
        limit_rows("images", files, request.num_samples, settings)
        return Given(engine.manifest, settings.max_image_pixels, files=files)
    if "conversions" in request.outputs:
        place = f"outputs[{request.outputs.index('conversions')}]"
        raise invalid(place, "conversions only of images", "inputs")
    limit_rows("inputs", request.inputs, request.num_samples, settings)
    inputs = wire.parse_numbers(request.inputs, "inputs", engine.manifest.input.shape)
    return Given(engine.manifest, settings.max_image_pixels, inputs=inputs)


def limit_rows(field: str, rows: Any, num_samples: int, settings: Settings) -> None:
    """Before anything of that size is made; what has no rows is refused where it is parsed."""
    num_rows = len(rows) * num_samples if isinstance(rows, list) or (isinstance(rows, np.ndarray) and rows.ndim) else 0
    if num_rows > settings.max_rows:
        expected = f"at most {settings.max_rows} rows times samples in a request"
        raise invalid(field, expected, f"{shown(num_rows)}; split the request")
