"""Replies of the protocol: arrays to JSON, with the bytes of those that were asked for as binary data behind it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from models.manifest import Manifest
from service.open_inference.datatypes import DATATYPES, datatype_of
from service.open_inference.requests import InferenceRequest


class Reply(NamedTuple):
    """A body, and where the JSON in it ends when bytes follow."""

    content: bytes
    json_length: int | None


def write_reply(
    request: InferenceRequest, manifest: Manifest, arrays: Mapping[str, NDArray[Any]], *, seed: int | None
) -> Reply:
    """The arrays of the requested outputs, in the order they were asked for; JSON elements are flat, row-major."""
    described, chunks = [], []
    for output in request.outputs:
        array = arrays[output.name]
        datatype = datatype_of(array.dtype)
        tensor: dict[str, Any] = {"name": output.name, "datatype": datatype, "shape": list(array.shape)}
        if output.binary:
            content = np.ascontiguousarray(array, DATATYPES[datatype]).tobytes()
            tensor["parameters"] = {"binary_data_size": len(content)}
            chunks.append(content)
        else:
            tensor["data"] = np.ascontiguousarray(array).reshape(-1)
        described.append(tensor)
    reply: dict[str, Any] = {"model_name": manifest.name, "model_version": str(manifest.version)}
    if request.id is not None:
        reply["id"] = request.id
    if seed is not None:
        reply["parameters"] = {"seed": seed}
    reply["outputs"] = described
    text = orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
    return Reply(b"".join((text, *chunks)), len(text)) if chunks else Reply(text, None)
