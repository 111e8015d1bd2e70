"""Triton's own client, as it is published, against the service: its answers are those of /v1."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from service_process import ServiceProcess
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TinyModel
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from service.open_inference.metadata import OUTPUTS

Arrays = dict[str, NDArray[Any]]
Infer = Callable[..., "Result"]


class Result:
    """What either client returned."""

    def __init__(self, result: Any, names: Sequence[str]) -> None:
        self.response: dict[str, Any] = result.get_response()
        self.arrays: Arrays = {name: result.as_numpy(name) for name in names}


def infer_with_sync(url: str, model: str, inputs: list[Any], names: Sequence[str], **rest: Any) -> Result:
    with triton.InferenceServerClient(url, network_timeout=30) as client:
        return Result(client.infer(model, inputs, **rest), names)


def infer_with_async_infer(url: str, model: str, inputs: list[Any], names: Sequence[str], **rest: Any) -> Result:
    """The other way of the synchronous client: greenlets."""
    with triton.InferenceServerClient(url, concurrency=2) as client:
        return Result(client.async_infer(model, inputs, **rest).get_result(timeout=30), names)


def infer_with_asyncio(url: str, model: str, inputs: list[Any], names: Sequence[str], **rest: Any) -> Result:
    async def infer() -> Result:
        async with triton_aio.InferenceServerClient(url) as client:
            return Result(await client.infer(model, inputs, **rest), names)

    return asyncio.run(infer())


class Service:
    """The running service, and both ways to call it."""

    def __init__(self, process: ServiceProcess, client: httpx.Client, model: TinyModel, infer: Infer, is_binary: bool):
        self.address = f"127.0.0.1:{process.port}"
        self._client = client
        self.model = model
        self._infer = infer
        self._is_binary = is_binary

    def v1(self, operation: str, **body: Any) -> dict[str, Any]:
        reply = self._client.post(f"/v1/models/{self.model.name}/{operation}", json=body)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def v2(self, tensors: Mapping[str, NDArray[Any]], *names: str, **rest: Any) -> Result:
        inputs = []
        for name, array in tensors.items():
            tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array, binary_data=self._is_binary)
            inputs.append(tensor)
        outputs = [triton.InferRequestedOutput(name, binary_data=self._is_binary) for name in names]
        return self._infer(self.address, self.model.name, inputs, names, outputs=outputs, **rest)


WAYS = [infer_with_sync, infer_with_async_infer, infer_with_asyncio]


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def service(
    request: pytest.FixtureRequest, running_service: ServiceProcess, model: TinyModel, is_binary: bool
) -> Iterator[Service]:
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield Service(running_service, client, model, request.param, is_binary)


@pytest.fixture
def triton_client(running_service: ServiceProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{running_service.port}") as client:
        yield client


def assert_equal(found: Arrays, expected: Mapping[str, Any], *names: str) -> None:
    """To the last bit: JSON spells numbers so that they read back as the same."""
    for name in names:
        np.testing.assert_array_equal(found[name], np.asarray(expected[name], found[name].dtype), err_msg=name)


def test_encoding_answers_as_v1_does(service: Service) -> None:
    inputs = service.model.inputs(5)
    found = service.v2({"inputs": inputs}, "codes")
    assert_equal(found.arrays, service.v1("encode", inputs=inputs.tolist()), "codes")
    np.testing.assert_array_equal(found.arrays["codes"], service.model.encode(inputs).codes)
    assert found.arrays["codes"].dtype == service.model.layout.dtype
    assert "parameters" not in found.response


@pytest.mark.parametrize("num_samples", [1, 3])
def test_every_output_of_a_sampled_encoding_is_that_of_v1(service: Service, num_samples: int) -> None:
    inputs = service.model.inputs(4)
    names = ("margins", "codes", "relaxed", "probabilities", "logits", "outputs", "mean_squared_error")
    parameters = {
        "temperature": 0.7,
        "relaxation_temperature": 0.25,
        "seed": 11,
        "num_samples": num_samples,
        "first_row": 3,
    }
    found = service.v2({"inputs": inputs}, *names, parameters=parameters)
    expected = service.v1("reconstruct", inputs=inputs.tolist(), outputs=list(names[:5]), **parameters)
    assert_equal(found.arrays, expected, *names)
    assert [output["name"] for output in found.response["outputs"]] == list(names)
    assert found.response["parameters"] == {"seed": 11}
    samples = () if num_samples == 1 else (num_samples,)
    assert found.arrays["codes"].shape == (4, *samples, service.model.num_latents)
    assert found.arrays["outputs"].shape == (4, *samples, *service.model.input_shape)


def test_a_seed_that_the_server_drew_repeats_the_codes(service: Service) -> None:
    inputs = service.model.inputs(6)
    first = service.v2({"inputs": inputs}, "codes", parameters={"temperature": 1.0})
    seed = first.response["parameters"]["seed"]
    again = service.v2({"inputs": inputs}, "codes", parameters={"temperature": 1.0, "seed": seed})
    np.testing.assert_array_equal(again.arrays["codes"], first.arrays["codes"])
    assert_equal(first.arrays, service.v1("encode", inputs=inputs.tolist(), temperature=1.0, seed=seed), "codes")


def test_decoding_answers_as_v1_does(service: Service) -> None:
    codes = service.model.codes(4)
    expected = service.v1("decode", codes=codes.tolist())
    for dtype in (codes.dtype, np.dtype(np.int64)):
        assert_equal(service.v2({"codes": codes.astype(dtype)}, "outputs").arrays, expected, "outputs")


def test_decoding_relaxed_codes_answers_as_v1_does(service: Service) -> None:
    relaxed = service.model.encode(service.model.inputs(4), temperature=1.0).relaxed.astype(np.float32)
    found = service.v2({"relaxed": relaxed}, "outputs")
    assert_equal(found.arrays, service.v1("decode", relaxed=relaxed.tolist()), "outputs")


def test_generating_answers_as_v1_does(service: Service) -> None:
    found = service.v2({}, "codes", "relaxed", "outputs", parameters={"num_samples": 5, "seed": 3})
    expected = service.v1("generate", num_samples=5, seed=3, outputs=["codes", "relaxed"])
    assert_equal(found.arrays, expected, "codes", "relaxed", "outputs")


def test_without_outputs_all_that_there_are_come_back(running_service: ServiceProcess, model: TinyModel) -> None:
    """The client asks for binary data then."""
    inputs = model.inputs(2)
    tensor = triton.InferInput("inputs", list(inputs.shape), "FP32")
    tensor.set_data_from_numpy(inputs)
    found = infer_with_sync(f"127.0.0.1:{running_service.port}", model.name, [tensor], OUTPUTS)
    assert all(array is not None for array in found.arrays.values())
    np.testing.assert_array_equal(found.arrays["codes"], model.encode(inputs).codes)


def test_the_request_id_comes_back(service: Service) -> None:
    found = service.v2({"inputs": service.model.inputs(1)}, "codes", request_id="ä request, with spaces")
    assert found.response["id"] == "ä request, with spaces"
    assert found.response["model_name"] == service.model.name
    assert found.response["model_version"] == "1"
    assert "id" not in service.v2({"inputs": service.model.inputs(1)}, "codes").response


def test_a_version_can_be_asked_for(service: Service) -> None:
    found = service.v2({"inputs": service.model.inputs(1)}, "codes", model_version="1")
    assert found.response["model_version"] == "1"
    with pytest.raises(InferenceServerException, match="no version 2") as caught:
        service.v2({"inputs": service.model.inputs(1)}, "codes", model_version="2")
    assert caught.value.status() == "404"


def test_an_error_of_a_value_names_its_place(service: Service) -> None:
    inputs = service.model.inputs(2)
    inputs[1] = 7.0
    with pytest.raises(InferenceServerException, match=r"inputs\[1\].*expected a finite number from 0 to 1"):
        service.v2({"inputs": inputs}, "codes")


def test_a_deadline_that_passes_is_an_error(service: Service) -> None:
    with pytest.raises(InferenceServerException, match="deadline") as caught:
        service.v2({"inputs": service.model.inputs(64)}, "codes", timeout=1)
    assert caught.value.status() == "504"


def test_sequences_are_refused(service: Service) -> None:
    with pytest.raises(InferenceServerException, match="sequence_id"):
        service.v2({"inputs": service.model.inputs(1)}, "codes", sequence_id=5, sequence_start=True)


def test_health_and_readiness(triton_client: triton.InferenceServerClient) -> None:
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    assert triton_client.is_model_ready("tiny-binary")
    assert triton_client.is_model_ready("tiny-binary", "1")
    assert not triton_client.is_model_ready("tiny-binary", "2")
    assert not triton_client.is_model_ready("nothing")


def test_server_metadata(triton_client: triton.InferenceServerClient) -> None:
    found = triton_client.get_server_metadata()
    assert found["name"] == "latent-codes"
    assert set(found["extensions"]) >= {"binary_tensor_data", "parameters"}
    assert "model_repository" not in found["extensions"]


def test_model_metadata_is_enough_to_encode_with(triton_client: triton.InferenceServerClient, model: TinyModel) -> None:
    """As a client does that knows nothing else of the model."""
    found = triton_client.get_model_metadata(model.name)
    assert triton_client.get_model_metadata(model.name, "1") == found
    assert (found["name"], found["versions"], found["platform"]) == (model.name, ["1"], "onnxruntime_onnx")
    tensors = {tensor["name"]: tensor for tensor in found["inputs"]}
    inputs = model.inputs(3)
    assert tensors["inputs"]["shape"] == [-1, *model.input_shape]
    tensor = triton.InferInput("inputs", [3, *tensors["inputs"]["shape"][1:]], tensors["inputs"]["datatype"])
    tensor.set_data_from_numpy(inputs)
    result = triton_client.infer(model.name, [tensor])
    for output in found["outputs"]:
        described = result.get_output(output["name"])
        assert described["datatype"] == output["datatype"]
        assert described["shape"] == [3, *output["shape"][1:]]


@pytest.mark.parametrize("name", ["nothing", "../v1", "tiny-binary/..", "ä"])
def test_a_model_that_is_not_there_is_404(triton_client: triton.InferenceServerClient, name: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        triton_client.get_model_metadata(name)
    assert caught.value.status() == "404"


def test_many_requests_at_once_get_their_own_answers(running_service: ServiceProcess) -> None:
    async def run() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{running_service.port}") as client:

            async def encode(number: int) -> None:
                model = (TINY_BINARY, TINY_CATEGORICAL)[number % 2]
                inputs = model.inputs(1 + number % 5, seed=number)
                tensor = triton_aio.InferInput("inputs", list(inputs.shape), "FP32")
                tensor.set_data_from_numpy(inputs)
                parameters = {"temperature": 0.9, "seed": number}
                result = await client.infer(model.name, [tensor], request_id=str(number), parameters=parameters)
                assert result.get_response()["id"] == str(number)
                expected = model.encode(inputs, temperature=0.9, seed=number).codes
                np.testing.assert_array_equal(result.as_numpy("codes"), expected)

            tasks: list[Awaitable[None]] = [encode(number) for number in range(60)]
            await asyncio.gather(*tasks)

    asyncio.run(run())
