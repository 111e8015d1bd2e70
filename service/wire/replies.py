"""What an operation answers, and how JSON spells it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from models import codes as code_layouts
from models.codes import Codes
from models.manifest import Manifest
from service.schemas import CodeFormat


class Reply(NamedTuple):
    """An answer, before it is bytes."""

    manifest: Manifest
    fields: dict[str, Any]
    """Everything the JSON reply holds, arrays as arrays."""
    array: str
    """Name of the field that a reply of a single array holds."""


def headers_of(reply: Reply) -> tuple[tuple[str, str], ...]:
    """What a reply of a single array says beside it: model, version, and the seed where there is one."""
    headers = (("Latent-Codes-Model", reply.manifest.name), ("Latent-Codes-Version", str(reply.manifest.version)))
    seed = reply.fields.get("seed")
    return headers if seed is None else (*headers, ("Latent-Codes-Seed", str(seed)))


def format_codes(array: Codes, code_format: CodeFormat, manifest: Manifest) -> Any:
    """Codes [..., N] as they are, or as nested lists [...] of strings. Inverse of `parse_codes`."""
    if code_format == "indices":
        return array
    spell = code_layouts.to_hex if code_format == "hex" else code_layouts.to_base64
    strings: Any = spell(array.reshape(-1, manifest.num_latents), manifest.layout)
    for length in reversed(array.shape[1:-1]):
        strings = [strings[start : start + length] for start in range(0, len(strings), length)]
    return strings


def to_json(reply: Mapping[str, Any]) -> bytes:
    """The reply; arrays become nested lists, float32 numbers the shortest decimals that read back as the same."""
    return orjson.dumps(
        {
            name: np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value
            for name, value in reply.items()
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
