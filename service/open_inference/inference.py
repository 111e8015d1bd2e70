"""What an inference request does: encode, reconstruct, decode or generate, as `metadata` says."""

import time
from typing import Any, NamedTuple

from numpy.typing import NDArray

from service.dispatch import Dispatcher
from service.engine import ENCODE_OUTPUTS, GENERATE_OUTPUTS, Engine
from service.open_inference.parameters import SAMPLING
from service.open_inference.requests import InferenceRequest


class Inferred(NamedTuple):
    """The arrays by the names of outputs, and the seed that they were drawn with, if any was."""

    arrays: dict[str, NDArray[Any]]
    seed: int | None


async def infer(
    dispatcher: Dispatcher, engine: Engine, request: InferenceRequest, deadline: float | None = None
) -> Inferred:
    """The outputs that the request asks for, by `deadline` or its own timeout, whichever comes first.

    Raises InvalidFields, naming values by the tensor they are in, Overloaded, and DeadlineExceeded.
    """
    deadline = _earlier(deadline, request.parameters.timeout_seconds)
    given: dict[str, Any] = {
        name: value for name in SAMPLING if (value := getattr(request.parameters, name)) is not None
    }
    if request.input is None:
        return await _generate(dispatcher, engine, request, given, deadline)
    array = request.input.array
    match request.input.name:
        case "inputs":
            return await _encode(dispatcher, engine, request, array, given, deadline)
        case "codes":
            request.parameters.refuse_sampling("codes")
            return Inferred({"outputs": await dispatcher.decode(engine, array, deadline=deadline)}, None)
        case _:
            request.parameters.refuse_sampling("relaxed")
            return Inferred({"outputs": await dispatcher.decode_relaxed(engine, array, deadline=deadline)}, None)


def _earlier(deadline: float | None, timeout_seconds: float | None) -> float | None:
    if timeout_seconds is None:
        return deadline
    own = time.monotonic() + timeout_seconds
    return own if deadline is None else min(own, deadline)


async def _encode(
    dispatcher: Dispatcher,
    engine: Engine,
    request: InferenceRequest,
    inputs: NDArray[Any],
    given: dict[str, Any],
    deadline: float | None,
) -> Inferred:
    wanted = tuple(output.name for output in request.outputs if output.name in ENCODE_OUTPUTS)
    decoded: dict[str, NDArray[Any]] = {}
    if request.wants("outputs", "mean_squared_error"):
        found = await dispatcher.reconstruct(engine, inputs, outputs=wanted or ("codes",), deadline=deadline, **given)
        encoding = found.encoding
        decoded = {"outputs": found.outputs, "mean_squared_error": found.mean_squared_error}
    else:
        encoding = await dispatcher.encode(engine, inputs, outputs=wanted, deadline=deadline, **given)
    return Inferred(decoded | {name: getattr(encoding, name) for name in wanted}, encoding.seed)


async def _generate(
    dispatcher: Dispatcher,
    engine: Engine,
    request: InferenceRequest,
    given: dict[str, Any],
    deadline: float | None,
) -> Inferred:
    wanted = tuple(output.name for output in request.outputs if output.name in GENERATE_OUTPUTS)
    num_codes = given.pop("num_samples", 1)
    found = await dispatcher.generate(engine, num_codes, outputs=wanted or ("codes",), deadline=deadline, **given)
    return Inferred({"outputs": found.outputs} | {name: getattr(found, name) for name in wanted}, found.seed)
