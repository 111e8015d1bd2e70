"""KServe's own REST client, as it is published, against the service: its answers are those of /v1.

It asks for an older protobuf than others of the tests' packages would have, so it is installed where torch is not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from service_process import ServiceProcess
from tiny_models import TinyModel

kserve = pytest.importorskip("kserve", reason="kserve is of the group test-kserve: `make test-torchless` has it")
infer_type = pytest.importorskip("kserve.protocol.infer_type")

pytestmark = [
    # Of packages that kserve brings.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

Result = TypeVar("Result")


def asked(ask: Callable[[Any], Awaitable[Result]]) -> Result:
    """What a client for version 2 of the protocol is answered; it is asynchronous only."""

    async def run() -> Result:
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", timeout=30))
        try:
            return await ask(client)
        finally:
            await client.close()

    return asyncio.run(run())


def infer(
    service: ServiceProcess,
    model: TinyModel,
    name: str,
    array: NDArray[Any],
    *outputs: str,
    is_binary: bool,
    request_id: str | None = None,
    **parameters: Any,
) -> Any:
    datatype = {"float32": "FP32", "uint8": "UINT8"}[array.dtype.name]
    tensor = kserve.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=is_binary)
    request = kserve.InferRequest(
        model.name,
        [tensor],
        request_id=request_id,
        parameters=parameters,
        request_outputs=[infer_type.RequestedOutput(output, {"binary_data": is_binary}) for output in outputs],
    )
    return asked(lambda client: client.infer(service.url, request, model_name=model.name))


def as_arrays(response: Any) -> dict[str, NDArray[Any]]:
    return {output.name: output.as_numpy() for output in response.outputs}


def v1(service: ServiceProcess, model: TinyModel, operation: str, **body: Any) -> dict[str, Any]:
    reply = httpx.post(f"{service.url}/v1/models/{model.name}/{operation}", json=body, timeout=30)
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_encoding_answers_as_v1_does(running_service: ServiceProcess, model: TinyModel, is_binary: bool) -> None:
    inputs = model.inputs(5)
    sampling = {"temperature": 0.7, "seed": 11}
    response = infer(running_service, model, "inputs", inputs, "codes", "margins", is_binary=is_binary, **sampling)
    found = as_arrays(response)
    expected = v1(running_service, model, "encode", inputs=inputs.tolist(), outputs=["codes", "margins"], **sampling)
    np.testing.assert_array_equal(found["codes"], expected["codes"])
    np.testing.assert_array_equal(found["margins"], np.float32(expected["margins"]))
    assert found["codes"].dtype == model.layout.dtype
    assert response.parameters == {"seed": 11}


def test_decoding_answers_as_v1_does(running_service: ServiceProcess, model: TinyModel, is_binary: bool) -> None:
    codes = model.codes(4)
    found = as_arrays(infer(running_service, model, "codes", codes, "outputs", is_binary=is_binary))
    expected = v1(running_service, model, "decode", codes=codes.tolist())
    np.testing.assert_array_equal(found["outputs"], np.float32(expected["outputs"]))


def test_without_outputs_all_that_there_are_come_back(running_service: ServiceProcess, model: TinyModel) -> None:
    inputs = model.inputs(2)
    found = as_arrays(infer(running_service, model, "inputs", inputs, is_binary=True))
    assert {"codes", "relaxed", "probabilities", "logits", "margins", "outputs"} <= found.keys()
    np.testing.assert_array_equal(found["codes"], model.encode(inputs).codes)


def test_the_request_id_comes_back_with_the_model(running_service: ServiceProcess, model: TinyModel) -> None:
    """The version comes back too, and this client does not keep it."""
    response = infer(running_service, model, "inputs", model.inputs(1), "codes", is_binary=False, request_id="mine")
    assert (response.id, response.model_name) == ("mine", model.name)


def test_an_error_says_what_was_expected(running_service: ServiceProcess, model: TinyModel) -> None:
    inputs = model.inputs(2)
    inputs[1] = 7.0
    with pytest.raises(httpx.HTTPStatusError, match=r"inputs\[1\].*expected a finite number from 0 to 1") as caught:
        infer(running_service, model, "inputs", inputs, "codes", is_binary=True)
    assert caught.value.response.status_code == 400


def test_health_and_readiness(running_service: ServiceProcess, model: TinyModel) -> None:
    assert asked(lambda client: client.is_server_live(running_service.url))
    assert asked(lambda client: client.is_server_ready(running_service.url))
    assert asked(lambda client: client.is_model_ready(running_service.url, model.name))
    assert not asked(lambda client: client.is_model_ready(running_service.url, "nothing"))
