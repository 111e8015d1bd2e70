"""How the clients read what comes back: results, problems, and what is neither."""

import json
from typing import Any

import httpx
import numpy as np
import pytest
from latent_codes_client import (
    ClientError,
    FieldError,
    InvalidReply,
    NotAllowed,
    NotFound,
    RequestRefused,
    ServiceError,
    ServiceFailed,
    Unavailable,
)

ROWS = [[0.0, 0.5]]
ENCODED = {"model": "tiny", "version": 3, "seed": 7, "codes": [[1, 0], [0, 1]]}
DESCRIBED = {
    "name": "tiny",
    "version": 3,
    "versions": [1, 3],
    "description": "Small.",
    "kind": "binary",
    "num_latents": 2,
    "num_categories": 2,
    "code_bits": 2,
    "input": {"shape": [4, 4], "minimum": 0, "maximum": 1.0, "dtype": "float32", "image": None},
    "relaxation_temperature": 0.5,
    "provider": "CPUExecutionProvider",
    "manifest_sha256": "ab" * 32,
}
PROBLEM = {
    "type": "urn:latent-codes:problem:invalid-fields",
    "title": "The request does not fit",
    "status": 422,
    "detail": "inputs[0][1]: expected a number in 0..1, received 2",
    "instance": "/v1/models/tiny/encode",
    "request_id": "abc",
    "field": "inputs[0][1]",
    "expected": "a number in 0..1",
    "received": "2",
}


@pytest.fixture
def answered_with(answered_by: Any) -> Any:
    """A client of a service that gives one answer."""
    return lambda *args, **kwargs: answered_by(lambda request: httpx.Response(*args, **kwargs))


def problem(status: int, document: Any = PROBLEM, **headers: str) -> tuple[tuple[int], dict[str, Any]]:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return (status,), {"content": content, "headers": {"content-type": "application/problem+json", **headers}}


def test_an_encoding_has_the_arrays_that_came_and_no_others(answered_with: Any) -> None:
    encoding = answered_with(200, json={**ENCODED, "margins": [[0.5, 1], [2, 0.25]]}).encode("tiny", ROWS)
    assert (encoding.model, encoding.version, encoding.seed) == ("tiny", 3, 7)
    assert encoding.codes.dtype == np.int64
    np.testing.assert_array_equal(encoding.codes, [[1, 0], [0, 1]])
    assert encoding.margins.dtype == np.float32
    np.testing.assert_array_equal(encoding.margins, [[0.5, 1], [2, 0.25]])
    assert encoding.relaxed is encoding.probabilities is encoding.logits is None


def test_codes_of_a_text_format_are_an_array_of_strings(answered_with: Any) -> None:
    codes = answered_with(200, json={**ENCODED, "codes": [["ab", "cd"]]}).encode("tiny", ROWS).codes
    assert codes.shape == (1, 2)
    assert codes.tolist() == [["ab", "cd"]]


def test_results_cannot_be_changed_by_accident(answered_with: Any) -> None:
    encoding = answered_with(200, json=ENCODED).encode("tiny", ROWS)
    with pytest.raises(AttributeError):
        encoding.codes = None


def test_a_reply_may_say_more_than_this_client_knows(answered_with: Any) -> None:
    assert answered_with(200, json={**ENCODED, "invented_later": 1}).encode("tiny", ROWS).seed == 7


def test_decoding_reconstruction_and_generation_are_read(answered_with: Any) -> None:
    outputs = {"outputs": [[[0.25, 0.5]]]}
    decoding = answered_with(200, json={"model": "tiny", "version": 3, **outputs}).decode("tiny", [[1, 0]])
    assert (decoding.model, decoding.version, decoding.outputs.shape) == ("tiny", 3, (1, 1, 2))
    found = answered_with(200, json={**ENCODED, **outputs, "mean_squared_error": [0.1]}).reconstruct("tiny", ROWS)
    assert found.outputs.dtype == np.float32
    assert found.mean_squared_error.tolist() == [0.1]
    assert found.codes.tolist() == [[1, 0], [0, 1]]
    drawn = answered_with(200, json={"model": "tiny", "version": 3, "seed": None, **outputs}).generate("tiny", 1)
    assert drawn.codes is drawn.relaxed is drawn.seed is None
    np.testing.assert_array_equal(drawn.outputs, [[[0.25, 0.5]]])


def test_models_are_described(answered_with: Any) -> None:
    model = answered_with(200, json=DESCRIBED).model("tiny")
    assert (model.name, model.version, model.versions, model.kind) == ("tiny", 3, (1, 3), "binary")
    assert (model.num_latents, model.num_categories, model.code_bits) == (2, 2, 2)
    assert (model.input_shape, model.input_minimum, model.input_maximum) == ((4, 4), 0.0, 1.0)
    assert (model.relaxation_temperature, model.provider) == (0.5, "CPUExecutionProvider")
    assert model.details == DESCRIBED
    (summary,) = answered_with(200, json={"models": [{**DESCRIBED, "version": None}]}).models()
    assert (summary.name, summary.version, summary.description) == ("tiny", None, "Small.")
    assert answered_with(200, json={"models": []}).models() == []


def test_probes_answer_yes_or_no(answered_with: Any) -> None:
    assert answered_with(200, json={"ready": True}).is_ready() is True
    assert answered_with(503, json={"ready": False}).is_ready() is False
    assert answered_with(200).is_live() is True
    with pytest.raises(NotFound):
        answered_with(404).is_ready()


def test_a_problem_says_which_field_and_what_was_expected(answered_with: Any) -> None:
    args, kwargs = problem(422)
    with pytest.raises(RequestRefused) as refusal:
        answered_with(*args, **kwargs).encode("tiny", ROWS)
    error = refusal.value
    assert str(error) == "HTTP 422: inputs[0][1]: expected a number in 0..1, received 2 (request abc)"
    assert (error.status, error.title, error.request_id) == (422, "The request does not fit", "abc")
    assert error.detail == PROBLEM["detail"]
    assert (error.field, error.expected, error.received) == ("inputs[0][1]", "a number in 0..1", "2")
    assert error.problem.type == "urn:latent-codes:problem:invalid-fields"
    assert error.problem.errors == (FieldError("inputs[0][1]", "a number in 0..1", "2"),)


def test_a_problem_of_several_fields_names_each_once(answered_with: Any) -> None:
    first = {name: PROBLEM[name] for name in ("field", "expected", "received")}
    second = {"field": "temperature", "expected": "at least 0", "received": "-1"}
    args, kwargs = problem(422, {**PROBLEM, "errors": [first, second]})
    with pytest.raises(RequestRefused) as refusal:
        answered_with(*args, **kwargs).encode("tiny", ROWS)
    assert [error.field for error in refusal.value.problem.errors] == ["inputs[0][1]", "temperature"]


def test_the_request_id_is_taken_from_the_header_where_the_problem_has_none(answered_with: Any) -> None:
    args, kwargs = problem(422, {"title": "No"}, **{"X-Request-ID": "from-the-header"})
    with pytest.raises(RequestRefused, match=r"^HTTP 422: No \(request from-the-header\)$"):
        answered_with(*args, **kwargs).models()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRefused),
        (401, NotAllowed),
        (403, NotAllowed),
        (404, NotFound),
        (413, RequestRefused),
        (418, RequestRefused),
        (422, RequestRefused),
        (429, Unavailable),
        (500, ServiceFailed),
        (502, ServiceFailed),
        (503, Unavailable),
    ],
)
def test_the_status_decides_what_is_raised(answered_with: Any, status: int, kind: type[ServiceError]) -> None:
    args, kwargs = problem(status)
    with pytest.raises(ServiceError) as error:
        answered_with(*args, **kwargs).models()
    assert type(error.value) is kind
    assert error.value.status == status


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("soon", None), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-1", None), ("inf", None)],
)
def test_the_time_to_try_again_is_told_where_there_is_one(answered_with: Any, header: str, seconds: Any) -> None:
    args, kwargs = problem(503, **{"Retry-After": header})
    with pytest.raises(Unavailable) as error:
        answered_with(*args, **kwargs).models()
    assert error.value.retry_after_seconds == seconds


@pytest.mark.parametrize(
    "content", [b"", b"<html>Bad gateway</html>", b"\xff\xfe", b"[1]", b"null", b"[" * 100_000, b"x" * 1_000_000]
)
@pytest.mark.parametrize("media_type", ["application/problem+json", "text/html"])
def test_an_error_that_is_no_problem_document_is_still_an_error_of_its_status(
    answered_with: Any, content: bytes, media_type: str
) -> None:
    headers = {"content-type": media_type, "X-Request-ID": "from-the-header"}
    with pytest.raises(ServiceFailed, match=r"^HTTP 502: ") as error:
        answered_with(502, content=content, headers=headers).models()
    assert error.value.request_id == "from-the-header"
    assert error.value.field is None
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "document",
    [{}, {"title": 3, "detail": ["x"], "errors": "none", "field": 5}, {"errors": [None, 3, {"field": None}]}],
)
def test_a_problem_whose_members_have_other_types_is_read_as_far_as_possible(answered_with: Any, document: Any) -> None:
    args, kwargs = problem(422, document)
    with pytest.raises(RequestRefused, match="HTTP 422: no explanation") as error:
        answered_with(*args, **kwargs).models()
    assert error.value.problem.errors == ()


@pytest.mark.parametrize("content", [b"", b"<html>Welcome</html>", b"\xff", b"[]", b"7", b"{", b"[" * 100_000])
def test_a_success_that_is_no_json_object_is_not_this_service(answered_with: Any, content: bytes) -> None:
    client = answered_with(200, content=content, headers={"content-type": "text/html"})
    with pytest.raises(InvalidReply, match=r"expected a JSON object, got text/html: .*is this the address") as error:
        client.encode("tiny", ROWS)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: expected str in the reply, got None"),
        ({"version": "3"}, "version: expected int in the reply, got '3'"),
        ({"version": True}, "version: expected int in the reply, got True"),
        ({"seed": 1.5}, "seed: expected int or NoneType in the reply, got 1.5"),
        ({"codes": [[1, 0], [1]]}, "codes: expected rows of one length"),
        ({"codes": [[0.5]]}, "codes: expected integers or strings in the reply, got float64"),
        ({"codes": [[None]]}, "codes: expected integers or strings in the reply, got object"),
        ({"codes": 7}, "codes: expected list in the reply, got 7"),
        ({"relaxed": [["x"]]}, "relaxed: expected numbers in the reply"),
    ],
)
def test_a_success_of_the_wrong_form_is_refused_with_its_member(
    answered_with: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidReply, match=message):
        answered_with(200, json={**ENCODED, **change}).encode("tiny", ROWS)


def test_a_missing_member_is_named_with_those_that_came(answered_with: Any) -> None:
    with pytest.raises(
        InvalidReply, match="outputs: expected in the reply, got an object with codes, model, seed, ver"
    ):
        answered_with(200, json=ENCODED).reconstruct("tiny", ROWS)
    with pytest.raises(InvalidReply, match="provider: expected in the reply"):
        answered_with(200, json={k: v for k, v in DESCRIBED.items() if k != "provider"}).model("tiny")
    with pytest.raises(InvalidReply, match="input: expected in the reply, got 'tiny'"):
        answered_with(200, json={"models": ["tiny"]}).models()


def test_redirections_are_not_followed_with_data_in_hand(answered_with: Any) -> None:
    client = answered_with(307, headers={"location": "http://elsewhere.test/"})
    with pytest.raises(InvalidReply, match=r"a redirection \(307\) to http://elsewhere\.test/"):
        client.encode("tiny", ROWS)


def test_a_reply_that_cannot_be_decompressed_is_an_invalid_one(answered_with: Any) -> None:
    client = answered_with(200, stream=httpx.ByteStream(b"not gzip"), headers={"content-encoding": "gzip"})
    with pytest.raises(InvalidReply, match="cannot be decompressed"):
        client.models()


def test_every_error_is_of_one_family() -> None:
    for kind in (InvalidReply, NotAllowed, NotFound, RequestRefused, ServiceFailed, Unavailable):
        assert issubclass(kind, ClientError)
