"""Image files to inputs of a model: the service's own rule, whoever does the encoding."""

from typing import Any

from numpy.typing import NDArray

from service import images
from service.cli.backends import ModelFacts
from service.datasets.images import ToInput
from service.errors import FileRefused, InvalidFields

MAX_PIXELS = 1 << 28
"""Of one image: files of this machine's owner may be larger than those of strangers. Decoded it takes up to 1 GiB."""


def input_reader(model: ModelFacts) -> ToInput:
    """Reads an image as an input of that model."""

    def to_input(content: bytes) -> NDArray[Any]:
        try:
            found = images.read([images.File("image", content)], model, max_pixels=MAX_PIXELS)
        except InvalidFields as error:
            refused = error.errors[0]
            raise FileRefused(f"expected {refused.expected}, got {refused.received}") from error
        one: NDArray[Any] = found.inputs[0]
        return one

    return to_input
