"""What an inference request does: encode, reconstruct, decode or generate, as `metadata` says, with an engine."""

from typing import Any, NamedTuple

from numpy.typing import NDArray

from service.engine import ENCODE_OUTPUTS, GENERATE_OUTPUTS, Engine
from service.open_inference.parameters import SAMPLING
from service.open_inference.requests import InferenceRequest


class Inferred(NamedTuple):
    """The arrays by the names of outputs, and the seed that they were drawn with, if any was."""

    arrays: dict[str, NDArray[Any]]
    seed: int | None


def infer(engine: Engine, request: InferenceRequest) -> Inferred:
    """The outputs that the request asks for. Raises InvalidFields, naming values by the tensor they are in."""
    given = {name: value for name in SAMPLING if (value := getattr(request.parameters, name)) is not None}
    if request.input is None:
        return _generate(engine, request, given)
    match request.input.name:
        case "inputs":
            return _encode(engine, request, request.input.array, given)
        case "codes":
            request.parameters.refuse_sampling("codes")
            return Inferred({"outputs": engine.decode(request.input.array)}, None)
        case _:
            request.parameters.refuse_sampling("relaxed")
            return Inferred({"outputs": engine.decode_relaxed(request.input.array)}, None)


def _encode(engine: Engine, request: InferenceRequest, inputs: NDArray[Any], given: dict[str, Any]) -> Inferred:
    wanted = tuple(output.name for output in request.outputs if output.name in ENCODE_OUTPUTS)
    decoded: dict[str, NDArray[Any]] = {}
    if request.wants("outputs", "mean_squared_error"):
        found = engine.reconstruct(inputs, outputs=wanted or ("codes",), **given)
        encoding = found.encoding
        decoded = {"outputs": found.outputs, "mean_squared_error": found.mean_squared_error}
    else:
        encoding = engine.encode(inputs, outputs=wanted, **given)
    return Inferred(decoded | {name: getattr(encoding, name) for name in wanted}, encoding.seed)


def _generate(engine: Engine, request: InferenceRequest, given: dict[str, Any]) -> Inferred:
    wanted = tuple(output.name for output in request.outputs if output.name in GENERATE_OUTPUTS)
    num_codes = given.pop("num_samples", 1)
    found = engine.generate(num_codes, outputs=wanted or ("codes",), **given)
    return Inferred({"outputs": found.outputs} | {name: getattr(found, name) for name in wanted}, found.seed)
