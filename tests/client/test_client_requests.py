"""What the clients send, and what they refuse to send."""

import inspect
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from latent_codes_client import AsyncLatentCodesClient, ClientError, InvalidArgument, LatentCodesClient

ROWS = [[0.0, 0.5], [1.0, 0.25]]


@pytest.fixture
def sent(answered_by: Any) -> Any:
    """A client whose requests come back: `sent(lambda client: ...)` is the request that the call sends."""

    def send(call: Any, **kwargs: Any) -> httpx.Request:
        requests: list[httpx.Request] = []

        def answer(request: httpx.Request) -> httpx.Response:
            requests.append(request)
            return httpx.Response(500)

        with pytest.raises(ClientError):
            call(answered_by(answer, **kwargs))
        (request,) = requests
        return request

    return send


def rows_of(request: httpx.Request) -> np.ndarray:
    """The array that a binary body holds."""
    assert request.headers["content-type"] == "application/x-npy"
    return np.load(io.BytesIO(request.content), allow_pickle=False)


def test_the_plainest_encode_leaves_to_the_service_what_it_does_not_say(sent: Any) -> None:
    request = sent(lambda client: client.encode("tiny", ROWS))
    assert (request.method, request.url.path) == ("POST", "/v1/models/tiny/encode")
    assert rows_of(request).tolist() == ROWS
    assert dict(request.url.params) == {
        "temperature": "0.0",
        "num_samples": "1",
        "outputs": "codes",
        "code_format": "indices",
    }
    assert request.headers["accept"] == "application/x-npy"


@pytest.mark.parametrize("method", ["encode", "reconstruct"])
def test_every_parameter_is_sent_under_its_own_name(sent: Any, method: str) -> None:
    parameters = {
        "temperature": 0.7,
        "relaxation_temperature": 0.5,
        "seed": 2**63 - 1,
        "num_samples": 3,
        "first_row": 9,
        "outputs": ["codes", "margins"],
        "code_format": "hex",
    }
    request = sent(lambda client: getattr(client, method)("tiny", ROWS, version=12, **parameters))
    assert request.url.path == f"/v1/models/tiny/versions/12/{method}"
    assert rows_of(request).tolist() == ROWS
    spelt = {name: str(value) for name, value in parameters.items()} | {"outputs": "codes,margins"}
    assert dict(request.url.params) == spelt
    # Two arrays have no place in one .npy.
    assert request.headers["accept"] == "application/json"


@pytest.mark.parametrize(
    ("arguments", "accept"),
    [
        ({"outputs": ["relaxed"]}, "application/x-npy"),
        ({"outputs": ["codes"], "code_format": "base64"}, "application/json"),
        ({"outputs": ["codes", "logits"]}, "application/json"),
    ],
    ids=["one array", "codes as text", "two arrays"],
)
def test_a_reply_is_asked_for_in_binary_where_it_is_one_array(sent: Any, arguments: Any, accept: str) -> None:
    assert sent(lambda client: client.encode("tiny", ROWS, **arguments)).headers["accept"] == accept


@pytest.mark.parametrize("value", [1e30, 1e-30, 0.1 + 0.2, 7], ids=str)
def test_numbers_in_the_query_read_back_as_they_were(sent: Any, value: float) -> None:
    request = sent(lambda client: client.encode("tiny", ROWS, temperature=value))
    assert json.loads(request.url.params["temperature"]) == value


def test_every_parameter_of_generate_is_sent_under_its_own_name(sent: Any) -> None:
    parameters = {
        "temperature": 0.7,
        "relaxation_temperature": 0.5,
        "seed": 5,
        "first_row": 3,
        "outputs": ["relaxed"],
        "code_format": "base64",
    }
    request = sent(lambda client: client.generate("tiny", 4, version=2, **parameters))
    assert request.url.path == "/v1/models/tiny/versions/2/generate"
    assert json.loads(request.content) == {"num_samples": 4, **parameters}


@pytest.mark.parametrize(
    ("codes", "dtype"),
    [([[1, 0]], np.int64), (np.array([[1, 300]], np.uint16), np.uint16), (np.array([[True, False]]), np.uint8)],
    ids=["lists", "integers", "booleans"],
)
def test_decode_sends_codes_as_integers(sent: Any, codes: Any, dtype: Any) -> None:
    request = sent(lambda client: client.decode("tiny", codes))
    assert (request.url.path, request.headers["accept"]) == ("/v1/models/tiny/decode", "application/x-npy")
    assert rows_of(request).dtype == dtype
    np.testing.assert_array_equal(rows_of(request), codes)


@pytest.mark.parametrize("code_format", ["hex", "base64"])
def test_decode_sends_codes_of_a_text_format_as_json(sent: Any, code_format: str) -> None:
    for codes in (["ab", "cd"], np.array(["ab", "cd"])):
        request = sent(lambda client, codes=codes: client.decode("tiny", codes, code_format=code_format))
        assert json.loads(request.content) == {"codes": ["ab", "cd"], "code_format": code_format}


@pytest.mark.parametrize(
    "relaxed", [[[0.25, 0.75]], [[0, 1]], np.array([[True, False]])], ids=["floats", "ints", "bools"]
)
def test_relaxed_codes_are_sent_as_floats_lest_they_are_taken_for_codes(sent: Any, relaxed: Any) -> None:
    rows = rows_of(sent(lambda client: client.decode("tiny", relaxed=relaxed)))
    assert rows.dtype.kind == "f"
    np.testing.assert_array_equal(rows, relaxed)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4", np.uint8, np.int64, bool], ids=str
)
def test_numbers_of_every_real_dtype_arrive_exactly(sent: Any, dtype: Any) -> None:
    inputs = (np.arange(12).reshape(2, 3, 2) / 7).astype(dtype)
    rows = rows_of(sent(lambda client: client.encode("tiny", inputs)))
    np.testing.assert_array_equal(rows.astype(dtype), inputs)
    assert rows.dtype.kind in "iuf"
    assert rows.dtype.itemsize <= 8


def test_numpy_scalars_are_as_good_as_numbers(sent: Any) -> None:
    request = sent(
        lambda client: client.encode(
            "tiny",
            ROWS,
            temperature=np.float32(0.5),
            relaxation_temperature=np.int8(1),
            seed=np.uint64(7),
            num_samples=np.int64(2),
            version=np.int32(3),
        )
    )
    names = ("temperature", "relaxation_temperature", "seed", "num_samples")
    assert [request.url.params[name] for name in names] == ["0.5", "1.0", "7", "2"]
    assert "/versions/3/" in request.url.path


def test_descriptions_and_probes_are_asked_for_at_their_paths(sent: Any) -> None:
    assert sent(lambda client: client.models()).url.path == "/v1/models"
    assert sent(lambda client: client.model("tiny")).url.path == "/v1/models/tiny"
    assert sent(lambda client: client.model("tiny", 3)).url.path == "/v1/models/tiny/versions/3"
    assert sent(lambda client: client.is_live()).url.path == "/v2/health/live"
    assert sent(lambda client: client.is_ready()).url.path == "/v2/health/ready"


@pytest.mark.parametrize("name", ["../admin", "a/b", "a b", "a?b=c", "a#b", "%2e%2e", "ä"])
def test_a_name_stays_one_part_of_the_path(sent: Any, name: str) -> None:
    path = sent(lambda client: client.model(name)).url.raw_path.decode()
    assert path.startswith("/v1/models/")
    assert path.count("/") == 3
    assert not {"?", "#"} & set(path)


def test_headers_go_with_every_request_and_the_address_may_have_a_path(make_client: Any) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"live": True})

    client = make_client(
        "https://host.test/latent/", headers={"X-API-Key": "secret"}, transport=httpx.MockTransport(answer)
    )
    assert client.is_live()
    assert str(seen[0].url) == "https://host.test/latent/v2/health/live"
    assert seen[0].headers["X-API-Key"] == "secret"


RAGGED = [[0.0, 1.0], [0.0]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.array([[1j]]), r"inputs: expected an array of real numbers, got complex128 of shape \[1, 1\]"),
        (np.array([[None, 1.0]]), "inputs: .* got object"),
        ([["0.5"]], "inputs: expected an array of real numbers, got <U3"),
        (np.array([["2026-01-01"]], "datetime64[D]"), "inputs: .* got datetime64"),
        (RAGGED, "inputs: expected an array: .*inhomogeneous"),
        ([0.0, 1.0], r"inputs: expected rows, .* got float64 of shape \[2\]; a single one is given as inputs\[None\]"),
        (0.5, "inputs: expected rows"),
        (np.zeros((0, 784)), r"inputs: expected at least one row, got float64 of shape \[0, 784\]"),
        ([[0.0, 1.0], [0.5, float("nan")]], r"inputs: expected finite numbers, got nan at \[1, 1\]"),
        ([[float("-inf")]], r"inputs: expected finite numbers, got -inf at \[0, 0\]"),
    ],
)
@pytest.mark.parametrize("method", ["encode", "reconstruct"])
def test_inputs_that_no_service_could_accept_are_not_sent(
    answered_by: Any, method: str, inputs: Any, message: str
) -> None:
    client = answered_by(lambda request: pytest.fail("something was sent"))
    with pytest.raises(InvalidArgument, match=message):
        getattr(client, method)("tiny", inputs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected either codes or relaxed, got neither"),
        ({"codes": [[1]], "relaxed": [[0.5]]}, "expected either codes or relaxed, got both"),
        ({"codes": [[0.5]]}, r"codes: expected integers \[B, N\] .* got float64"),
        ({"codes": [1, 0]}, r"codes: expected integers \[B, N\] .* got int64 of shape \[2\]"),
        ({"codes": [[[1]]]}, "codes: expected integers"),
        ({"codes": ["ab"]}, "codes: expected integers .* code_format 'hex' or 'base64'"),
        ({"codes": [[1]], "code_format": "hex"}, r"codes: expected strings \[B\], as code_format is 'hex', got int64"),
        ({"codes": "abcd", "code_format": "hex"}, r"codes: expected strings \[B\]"),
        ({"codes": ["ab", None], "code_format": "hex"}, "codes: expected strings .* got object"),
        ({"codes": np.zeros((0, 3), int)}, "codes: expected at least one row"),
        ({"relaxed": [[float("nan")]]}, "relaxed: expected finite numbers"),
        ({"relaxed": [0.5]}, "relaxed: expected rows"),
        ({"relaxed": [[0.5]], "code_format": "hex"}, "code_format: expected none with relaxed codes, got 'hex'"),
    ],
)
def test_codes_that_no_service_could_accept_are_not_sent(
    answered_by: Any, arguments: dict[str, Any], message: str
) -> None:
    client = answered_by(lambda request: pytest.fail("something was sent"))
    with pytest.raises(InvalidArgument, match=message):
        client.decode("tiny", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": float("nan")}, "temperature: expected a finite number, got nan"),
        ({"temperature": "warm"}, "temperature: expected a number, got 'warm'"),
        ({"temperature": None}, "temperature: expected a number, got None"),
        ({"temperature": 10**400}, "temperature: expected a number, got 1000"),
        ({"relaxation_temperature": float("inf")}, "relaxation_temperature: expected a finite number, got inf"),
        ({"seed": 1.5}, "seed: expected an integer, got 1.5"),
        ({"seed": True}, "seed: expected an integer, got True"),
        ({"num_samples": "2"}, "num_samples: expected an integer, got '2'"),
        ({"version": "latest"}, "version: expected an integer, got 'latest'"),
        ({"outputs": "codes"}, "outputs: expected a sequence of names, got the string 'codes'"),
    ],
)
def test_parameters_that_no_service_could_accept_are_not_sent(
    answered_by: Any, arguments: dict[str, Any], message: str
) -> None:
    client = answered_by(lambda request: pytest.fail("something was sent"))
    with pytest.raises(InvalidArgument, match=message):
        client.encode("tiny", ROWS, **arguments)


@pytest.mark.parametrize("name", ["", ".", "..", None, 3])
def test_what_is_no_name_of_a_model_is_not_sent(answered_by: Any, name: Any) -> None:
    client = answered_by(lambda request: pytest.fail("something was sent"))
    with pytest.raises(InvalidArgument, match="model: expected the name of a model"):
        client.model(name)


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:8000", "ftp://host", "http://", "/v1", "http://host/?a=b", "http://host:port", None]
)
def test_what_is_no_address_is_refused_at_once(make_client: Any, address: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"base_url: expected an address such as http://127\.0\.0\.1:8000"):
        make_client(address)


def test_invalid_arguments_are_value_errors() -> None:
    assert issubclass(InvalidArgument, ValueError)


@pytest.mark.parametrize("key", ["", "two words", "käse", "a\nb"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_repeated(make_client: Any, key: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^api_key: expected printable ASCII without spaces$"):
        make_client("http://service.test", api_key=key)


def test_a_key_goes_with_every_request(sent: Any) -> None:
    request = sent(lambda client: client.encode("tiny", ROWS), api_key="s3cret")
    assert request.headers["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("method", ["encode_stream", "decode_stream"])
def test_both_clients_stream_with_the_same_arguments(method: str) -> None:
    sync, asynchronous = getattr(LatentCodesClient, method), getattr(AsyncLatentCodesClient, method)
    assert inspect.signature(sync).parameters == inspect.signature(asynchronous).parameters
    assert inspect.isasyncgenfunction(asynchronous)


@pytest.mark.parametrize("method", ["encode", "decode", "reconstruct", "generate", "models", "model", "is_ready"])
def test_both_clients_have_the_same_methods(method: str) -> None:
    sync, awaited = getattr(LatentCodesClient, method), getattr(AsyncLatentCodesClient, method)
    assert inspect.signature(sync) == inspect.signature(awaited)
    assert inspect.iscoroutinefunction(awaited)
    public = [
        {name for name in vars(kind) if not name.startswith("_")}
        for kind in (LatentCodesClient, AsyncLatentCodesClient)
    ]
    assert public[0] == public[1]
