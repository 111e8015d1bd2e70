"""Bad requests: each gets a problem that names what was expected and what came, and the service goes on."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from service_process import ServiceProcess

from service.problems import MAX_PROBLEM_BYTES
from service.schemas import Problem

BINARY, CATEGORICAL = "/v1/models/tiny-binary", "/v1/models/tiny-categorical"
ROW = [0.5] * 16
VECTOR = [0.5] * 10
CODE = [0, 1, 2, 3, 4]


@pytest.fixture
def client(running_service: ServiceProcess) -> Iterator[httpx.Client]:
    """Checks, when the test is over, that the service still answers."""
    with httpx.Client(base_url=running_service.url, timeout=30) as client:
        yield client
        assert client.get("/v2/health/ready").json() == {"ready": True, "failed": [], "reasons": []}
        assert client.post(f"{BINARY}/encode", json={"inputs": [ROW]}).status_code == 200


def problem_of(reply: httpx.Response, status: int) -> dict[str, Any]:
    """The problem, held to the shape that all have."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.content) <= MAX_PROBLEM_BYTES
    problem: dict[str, Any] = reply.json()
    Problem.model_validate(problem)
    assert problem["status"] == status
    assert problem["type"].startswith("urn:latent-codes:problem:")
    assert problem["request_id"] == reply.headers["x-request-id"]
    assert ("field" in problem) == ("expected" in problem) == ("received" in problem)
    return problem


FIELDS: dict[str, tuple[str, Any, str, str]] = {
    # name: (path, body, field at fault, what was received)
    "inputs-missing": (f"{BINARY}/encode", {}, "inputs", "nothing"),
    "inputs-null": (f"{BINARY}/encode", {"inputs": None}, "inputs", "null"),
    "inputs-an-object": (f"{BINARY}/encode", {"inputs": {"0": ROW}}, "inputs", "an object"),
    "empty-batch": (f"{BINARY}/encode", {"inputs": []}, "inputs", "an empty list"),
    "row-empty": (f"{BINARY}/encode", {"inputs": [[]]}, "inputs[0]", "a list of 0"),
    "row-too-short": (f"{BINARY}/encode", {"inputs": [ROW, ROW[1:]]}, "inputs[1]", "a list of 15"),
    "row-too-long": (f"{BINARY}/encode", {"inputs": [[*ROW, 0]]}, "inputs[0]", "a list of 17"),
    "one-row-without-its-batch": (f"{BINARY}/encode", {"inputs": ROW}, "inputs[0]", "0.5"),
    "nested-row-of-another-shape": (f"{BINARY}/encode", {"inputs": [[[0.5] * 8] * 2]}, "inputs[0]", "a list of 2"),
    "ragged-nested-row": (
        f"{BINARY}/encode",
        {"inputs": [[[0.5] * 4, [0.5] * 4, [0.5] * 3, [0.5] * 4]]},
        "inputs[0][2]",
        "a list of 3",
    ),
    "flat-row-after-nested": (f"{BINARY}/encode", {"inputs": [[[0.5] * 4] * 4, ROW]}, "inputs[1]", "a list of 16"),
    "too-deep": (f"{CATEGORICAL}/encode", {"inputs": [[VECTOR] * 10]}, "inputs[0][0]", "a list of 10"),
    "string": (f"{BINARY}/encode", {"inputs": [ROW, [*ROW[1:], "0.5"]]}, "inputs[1][15]", "'0.5'"),
    "boolean": (f"{BINARY}/encode", {"inputs": [[True, *ROW[1:]]]}, "inputs[0][0]", "true"),
    "null": (f"{BINARY}/encode", {"inputs": [[*ROW[1:], None]]}, "inputs[0][15]", "null"),
    "above-the-range": (f"{BINARY}/encode", {"inputs": [[*ROW[1:], 255]]}, "inputs[0][15]", "255.0"),
    "above-the-range-nested": (
        f"{BINARY}/encode",
        {"inputs": [[[0.5] * 4, [0.5] * 4, [0.5, 1.5, 0.5, 0.5], [0.5] * 4]]},
        "inputs[0][2][1]",
        "1.5",
    ),
    "below-the-range": (f"{BINARY}/encode", {"inputs": [[-1e-9, *ROW[1:]]]}, "inputs[0][0]", "-1e-09"),
    "beyond-float32": (f"{BINARY}/encode", {"inputs": [[1e300, *ROW[1:]]]}, "inputs[0][0]", "1e+300"),
    "temperature-negative": (f"{BINARY}/encode", {"inputs": [ROW], "temperature": -1}, "temperature", "-1"),
    "temperature-too-large": (f"{BINARY}/encode", {"inputs": [ROW], "temperature": 1e31}, "temperature", "1e+31"),
    "temperature-string": (f"{BINARY}/encode", {"inputs": [ROW], "temperature": "1"}, "temperature", "'1'"),
    "temperature-boolean": (f"{BINARY}/encode", {"inputs": [ROW], "temperature": True}, "temperature", "true"),
    "temperature-null": (f"{BINARY}/encode", {"inputs": [ROW], "temperature": None}, "temperature", "null"),
    "temperature-list": (f"{BINARY}/encode", {"inputs": [ROW], "temperature": [1]}, "temperature", "a list of 1"),
    "relaxation-temperature-0": (
        f"{BINARY}/encode",
        {"inputs": [ROW], "relaxation_temperature": 0},
        "relaxation_temperature",
        "0",
    ),
    "relaxation-temperature-negative": (
        f"{BINARY}/reconstruct",
        {"inputs": [ROW], "relaxation_temperature": -0.5},
        "relaxation_temperature",
        "-0.5",
    ),
    "relaxation-temperature-denormal": (
        f"{BINARY}/encode",
        {"inputs": [ROW], "relaxation_temperature": 1e-40},
        "relaxation_temperature",
        "1e-40",
    ),
    "seed-negative": (f"{BINARY}/encode", {"inputs": [ROW], "seed": -1}, "seed", "-1"),
    "seed-too-large": (f"{BINARY}/encode", {"inputs": [ROW], "seed": 2**63}, "seed", str(2**63)),
    "first-row-negative": (f"{BINARY}/encode", {"inputs": [ROW], "first_row": -1}, "first_row", "-1"),
    "first-row-float": (f"{BINARY}/generate", {"first_row": 1.0}, "first_row", "1.0"),
    "seed-float": (f"{BINARY}/encode", {"inputs": [ROW], "seed": 1.0}, "seed", "1.0"),
    "num-samples-0": (f"{BINARY}/encode", {"inputs": [ROW], "num_samples": 0}, "num_samples", "0"),
    "num-samples-true": (f"{BINARY}/encode", {"inputs": [ROW], "num_samples": True}, "num_samples", "true"),
    "rows-times-samples": (
        f"{BINARY}/encode",
        {"inputs": [ROW, ROW], "num_samples": 2049},
        "inputs",
        "4098; split the request",
    ),
    "too-many-generated": (f"{BINARY}/generate", {"num_samples": 4097}, "num_samples", "4097"),
    "outputs-empty": (f"{BINARY}/encode", {"inputs": [ROW], "outputs": []}, "outputs", "a list of 0"),
    "outputs-unknown": (f"{BINARY}/encode", {"inputs": [ROW], "outputs": ["codes", "z"]}, "outputs[1]", "'z'"),
    "outputs-a-string": (f"{BINARY}/encode", {"inputs": [ROW], "outputs": "codes"}, "outputs", "'codes'"),
    "outputs-too-many": (f"{BINARY}/encode", {"inputs": [ROW], "outputs": ["codes"] * 99}, "outputs", "a list of 99"),
    "code-format-unknown": (f"{BINARY}/encode", {"inputs": [ROW], "code_format": "octal"}, "code_format", "'octal'"),
    "unknown-parameter": (f"{BINARY}/encode", {"inputs": [ROW], "temprature": 1}, "temprature", "an unknown name"),
    "encode-parameter-in-decode": (
        f"{CATEGORICAL}/decode",
        {"codes": [CODE], "temperature": 1},
        "temperature",
        "an unknown name",
    ),
    "body-a-list": (f"{BINARY}/encode", [ROW], "body", "a list of 1"),
    "body-null": (f"{BINARY}/encode", None, "body", "null"),
    "neither-codes-nor-relaxed": (f"{CATEGORICAL}/decode", {}, "codes", "neither"),
    "codes-and-relaxed": (f"{CATEGORICAL}/decode", {"codes": [CODE], "relaxed": [[[0.5] * 6] * 5]}, "codes", "both"),
    "codes-empty": (f"{CATEGORICAL}/decode", {"codes": []}, "codes", "an empty list"),
    "codes-null": (f"{CATEGORICAL}/decode", {"codes": None}, "codes", "null"),
    "code-too-short": (f"{CATEGORICAL}/decode", {"codes": [CODE, CODE[1:]]}, "codes[1]", "a list of 4"),
    "code-too-long": (f"{CATEGORICAL}/decode", {"codes": [[*CODE, 0]]}, "codes[0]", "a list of 6"),
    "code-of-K": (f"{CATEGORICAL}/decode", {"codes": [CODE, [0, 0, 0, 6, 0]]}, "codes[1][3]", "6"),
    "code-negative": (f"{CATEGORICAL}/decode", {"codes": [[-1, 0, 0, 0, 0]]}, "codes[0][0]", "-1"),
    "code-of-64-bits": (f"{CATEGORICAL}/decode", {"codes": [[0, 2**64 - 1, 0, 0, 0]]}, "codes[0][1]", str(2**64 - 1)),
    "code-a-float": (f"{CATEGORICAL}/decode", {"codes": [[1.0, 0, 0, 0, 0]]}, "codes[0][0]", "1.0"),
    "code-a-boolean": (f"{BINARY}/decode", {"codes": [[True] * 12]}, "codes[0][0]", "true"),
    "bit-of-2": (f"{BINARY}/decode", {"codes": [[2] * 12]}, "codes[0][0]", "2"),
    "hex-without-saying-so": (f"{BINARY}/decode", {"codes": ["0000"]}, "codes[0]", "'0000'"),
    "hex-too-short": (f"{BINARY}/decode", {"codes": ["000"], "code_format": "hex"}, "codes[0]", "'000'"),
    "hex-no-digits": (f"{BINARY}/decode", {"codes": ["0000", "00zz"], "code_format": "hex"}, "codes[1]", "'00zz'"),
    "hex-fill-bits": (f"{BINARY}/decode", {"codes": ["0001"], "code_format": "hex"}, "codes[0]", "'0001'"),
    "hex-of-a-value-beyond-K": (
        f"{CATEGORICAL}/decode",
        {"codes": ["fffe"], "code_format": "hex"},
        "codes[0]",
        "'fffe'",
    ),
    "hex-a-number": (f"{BINARY}/decode", {"codes": [0], "code_format": "hex"}, "codes[0]", "0"),
    "hex-said-of-a-list": (
        f"{BINARY}/decode",
        {"codes": [[0, 1] * 6], "code_format": "hex"},
        "codes[0]",
        "a list of 12",
    ),
    "hex-not-a-list": (f"{BINARY}/decode", {"codes": "0000", "code_format": "hex"}, "codes", "'0000'"),
    "hex-empty": (f"{BINARY}/decode", {"codes": [], "code_format": "hex"}, "codes", "an empty list"),
    "base64-without-padding": (f"{BINARY}/decode", {"codes": ["AAA"], "code_format": "base64"}, "codes[0]", "'AAA'"),
    "base64-not-ascii": (
        f"{BINARY}/decode",
        {"codes": ["äöü="], "code_format": "base64"},
        "codes[0]",
        r"'\xe4\xf6\xfc='",
    ),
    "relaxed-above-1": (f"{BINARY}/decode", {"relaxed": [[0.5] * 11 + [1.01]]}, "relaxed[0][11]", "1.01"),
    "relaxed-sum": (f"{CATEGORICAL}/decode", {"relaxed": [[[0.5] * 6] * 5]}, "relaxed[0][0]", "a sum of 3"),
    "relaxed-shape": (f"{CATEGORICAL}/decode", {"relaxed": [[[0.5] * 5] * 5]}, "relaxed[0][0]", "a list of 5"),
    "relaxed-with-a-code-format": (
        f"{BINARY}/decode",
        {"relaxed": [[0.5] * 12], "code_format": "hex"},
        "code_format",
        "'hex'",
    ),
    "relaxed-null": (f"{BINARY}/decode", {"relaxed": None}, "relaxed", "null"),
    "generate-inputs": (f"{BINARY}/generate", {"inputs": [ROW]}, "inputs", "an unknown name"),
    "generate-logits": (f"{BINARY}/generate", {"outputs": ["logits"]}, "outputs[0]", "'logits'"),
}


def test_a_list_is_no_code_where_the_query_asks_for_strings(client: httpx.Client) -> None:
    reply = client.post(f"{BINARY}/decode", params={"code_format": "hex"}, json={"codes": [[0, 1] * 6]})
    problem = problem_of(reply, 422)
    assert (problem["field"], problem["received"]) == ("codes[0]", "a list of 12")


@pytest.mark.parametrize(("path", "body", "field", "received"), FIELDS.values(), ids=FIELDS)
def test_a_value_that_does_not_fit_gets_422_with_its_field(
    client: httpx.Client, path: str, body: Any, field: str, received: str
) -> None:
    problem = problem_of(client.post(path, content=json.dumps(body), headers=JSON), 422)
    assert (problem["field"], problem["received"]) == (field, received)
    assert problem["expected"]
    assert problem["instance"] == path


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("text", "field", "received"),
    [
        ('{"inputs": [[0, NaN]]}', "inputs[0][1]", "NaN"),
        ('{"inputs": [[0, Infinity]]}', "inputs[0][1]", "Infinity"),
        ('{"inputs": [[0, 1], [-Infinity]]}', "inputs[1][0]", "-Infinity"),
        ('{"inputs": [[1e400]]}', "inputs[0][0]", "Infinity"),
        ('{"inputs": [], "temperature": NaN}', "temperature", "NaN"),
        ('{"inputs": [], "temperature": 1e999}', "temperature", "Infinity"),
        ("[NaN]", "[0]", "NaN"),
        ("NaN", "body", "NaN"),
    ],
)
def test_a_number_that_is_not_finite_gets_422_with_its_field(
    client: httpx.Client, text: str, field: str, received: str
) -> None:
    problem = problem_of(client.post(f"{BINARY}/encode", content=text, headers=JSON), 422)
    assert (problem["field"], problem["expected"], problem["received"]) == (field, "a finite number", received)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"inputs": [[0.5,]]}',
        b"{'inputs': []}",
        b'{"inputs": [[0.5]]} trailing',
        b"\xff\xfe",
        b"\x00" * 100,
        b'{"inputs": "\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 500 + b"NaN" + b"]" * 499,
        b'{"inputs": [[0x10]]}',
        b'{"inputs": [[01]]}',
        b"9" * 10_000 + b"NaN",
    ],
    ids=lambda body: repr(body[:16]),
)
def test_a_body_that_is_no_json_gets_400(client: httpx.Client, body: bytes) -> None:
    problem = problem_of(client.post(f"{BINARY}/encode", content=body, headers=JSON), 400)
    assert problem["type"] == "urn:latent-codes:problem:malformed-json"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/models/mnist/encode", "unknown-model"),
        ("/v1/models/tiny-binary%00/encode", "unknown-model"),
        ("/v1/models/..%2f..%2fetc/encode", "unknown-route"),
        ("/v1/models/%2e%2e/encode", "unknown-model"),
        ("/v1/models/tiny-binary/versions/2/encode", "unknown-version"),
        ("/v1/models/tiny-binary/versions/0/encode", "unknown-version"),
        ("/v1/models/tiny-binary/versions/01/encode", "unknown-version"),
        ("/v1/models/tiny-binary/versions/-1/encode", "unknown-version"),
        ("/v1/models/tiny-binary/versions/latest/encode", "unknown-version"),
        ("/v1/models/tiny-binary/versions/%C2%B2/encode", "unknown-version"),
        (f"/v1/models/tiny-binary/versions/{'9' * 5000}/encode", "unknown-version"),
        ("/v1/models/mnist/versions/1/encode", "unknown-model"),
        ("/v1/models/tiny-binary/transcode", "unknown-route"),
        (f"/v1/models/{'m' * 5000}/encode", "unknown-model"),
        ("/nothing", "unknown-route"),
    ],
    ids=lambda text: text[:60],
)
def test_what_is_not_there_gets_404(client: httpx.Client, path: str, kind: str) -> None:
    problem = problem_of(client.post(path, json={"inputs": [ROW]}), 404)
    assert problem["type"] == f"urn:latent-codes:problem:{kind}"


def test_an_unknown_model_is_told_before_its_body_is_read(client: httpx.Client) -> None:
    problem_of(client.post("/v1/models/mnist/encode", content=b"{"), 404)
    problem = problem_of(client.get("/v1/models/mnist"), 404)
    assert "tiny-binary, tiny-categorical" in problem["detail"]


def test_another_method_gets_405_and_the_one_that_is_allowed(client: httpx.Client) -> None:
    reply = client.get(f"{BINARY}/encode")
    problem_of(reply, 405)
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json-patch+json"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
        {"Content-Type": "application/json", "Content-Encoding": "x" * 3000},
    ],
    ids=["text", "form", "json-patch", "none", "gzip", "endless-encoding"],
)
def test_another_media_type_or_encoding_gets_415(client: httpx.Client, headers: dict[str, str]) -> None:
    problem_of(client.post(f"{BINARY}/encode", content=json.dumps({"inputs": [ROW]}), headers=headers), 415)


@pytest.mark.parametrize("media_type", ["application/json", "APPLICATION/JSON", "application/json; charset=utf-8"])
def test_json_is_recognised_however_it_is_spelt(client: httpx.Client, media_type: str) -> None:
    body = json.dumps({"inputs": [ROW]})
    assert client.post(f"{BINARY}/encode", content=body, headers={"Content-Type": media_type}).status_code == 200


def test_several_faults_are_told_together_but_never_more_than_ten(client: httpx.Client) -> None:
    body = {"inputs": [ROW], "temperature": -1, "seed": "x", "num_samples": 0}
    problem = problem_of(client.post(f"{BINARY}/encode", json=body), 422)
    assert [error["field"] for error in problem["errors"]] == ["temperature", "seed", "num_samples"]
    body = {"inputs": [ROW]} | {f"unknown_{number}" + "\x01é" * 200: 1 for number in range(1000)}
    problem = problem_of(client.post(f"{BINARY}/encode", json=body), 422)
    assert 1 < len(problem["errors"]) <= 10


def test_a_long_value_is_clipped_in_the_problem(client: httpx.Client) -> None:
    problem = problem_of(client.post(f"{BINARY}/encode", json={"inputs": [ROW], "temperature": "\x01ü" * 100_000}), 422)
    assert len(problem["received"]) < 250
    problem = problem_of(client.post(f"{BINARY}/encode", json={"inputs": [[*ROW[1:], "y" * 100_000]]}), 422)
    assert problem["field"] == "inputs[0][15]"
    assert len(problem["received"]) < 80


@pytest.mark.parametrize("sent", ["abc-123_X.y", "a" * 128])
def test_a_sound_request_id_comes_back(client: httpx.Client, sent: str) -> None:
    reply = client.post(f"{BINARY}/encode", content=b"{", headers=JSON | {"X-Request-ID": sent})
    assert problem_of(reply, 400)["request_id"] == sent


@pytest.mark.parametrize("sent", ["", "a" * 129, "a b", "a\tb", 'x"y', "<b>"])
def test_an_unsound_request_id_is_replaced(client: httpx.Client, sent: str) -> None:
    reply = client.post(f"{BINARY}/encode", content=b"{", headers=JSON | {"X-Request-ID": sent})
    assert problem_of(reply, 400)["request_id"] != sent
    assert client.get("/v2/health/live").headers["x-request-id"]


LIMIT = 16 << 20


def padded(length: int) -> bytes:
    body = json.dumps({"inputs": [ROW]}).encode()
    return body + b" " * (length - len(body))


def test_a_body_at_the_limit_is_read_and_one_byte_more_gets_413(client: httpx.Client) -> None:
    assert client.post(f"{BINARY}/encode", content=padded(LIMIT), headers=JSON).status_code == 200
    problem = problem_of(client.post(f"{BINARY}/encode", content=padded(LIMIT + 1), headers=JSON), 413)
    assert str(LIMIT) in problem["detail"]


def test_a_body_of_unknown_length_is_counted_while_it_arrives(client: httpx.Client) -> None:
    def chunks(length: int) -> Iterator[bytes]:
        body = padded(length)
        for start in range(0, length, 1 << 20):
            yield body[start : start + (1 << 20)]

    assert client.post(f"{BINARY}/encode", content=chunks(LIMIT), headers=JSON).status_code == 200
    problem_of(client.post(f"{BINARY}/encode", content=chunks(LIMIT + 1), headers=JSON), 413)


def test_a_body_said_to_be_too_long_is_refused_before_it_is_sent(running_service: ServiceProcess) -> None:
    request = (
        f"POST {BINARY}/encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {10**15}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", running_service.port), timeout=20) as connection:
        connection.sendall(request.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


def test_a_caller_who_leaves_in_the_middle_of_a_body_is_no_bug(
    client: httpx.Client, running_service: ServiceProcess
) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", running_service.port), timeout=20) as connection:
            connection.sendall(
                f"POST {BINARY}/encode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                "Content-Length: 1000\r\n\r\n{".encode()
            )
    assert client.get("/v2/health/live").json() == {"live": True}
    assert "bug" not in running_service.log_text()
    assert "Traceback" not in running_service.log_text()
