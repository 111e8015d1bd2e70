"""What reading a source yields: its own splits, before missing ones are cut and the binarisation is decided."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.manifest import ImageSpec, InputSpec
from training.data.splits import Split, SplitName


@dataclass(frozen=True, eq=False)
class Material:
    """Rows as read. `splits` holds at least "train"; value = raw / `scale`.

    `origin` says where the rows come from and lists the files with their checksums, as JSON. `of` is the name of the
    user's own file or folder. `usual_fractions` are for the splits that the source lacks. `remarks` as in `Dataset`.
    """

    splits: Mapping[SplitName, Split]
    input: InputSpec
    scale: float
    origin: dict[str, Any]
    of: str | None = None
    usual_fractions: Mapping[SplitName, float] = field(default_factory=lambda: {"valid": 0.1, "test": 0.1})
    remarks: Mapping[SplitName, str] = field(default_factory=dict)


def input_spec(shape: tuple[int, ...]) -> InputSpec:
    """Inputs of that shape with values in [0, 1]; an image when it is (H, W) grey or (H, W, 3) colour."""
    image = None
    if len(shape) == 2:
        image = ImageSpec(mode="L", height=shape[0], width=shape[1])
    elif len(shape) == 3 and shape[2] == 3:
        image = ImageSpec(mode="RGB", height=shape[0], width=shape[1])
    return InputSpec(shape=shape, minimum=0.0, maximum=1.0, image=image)


def readable(name: str) -> str:
    """The name of a file as text that JSON can hold: bytes that are no UTF-8 become question marks."""
    return name.encode("utf-8", "replace").decode()
