"""More than goes in one request: the answers are those of one, asked for some at a time, and no more is kept."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from latent_codes_client import AsyncLatentCodesClient, InvalidArgument, LatentCodesClient, RequestRefused
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TINY_MODELS, TinyModel

both_models = pytest.mark.parametrize("model", TINY_MODELS, ids=lambda model: model.name)
EVERYTHING = ("codes", "relaxed", "probabilities", "logits", "margins")
SAMPLED: dict[str, Any] = {"temperature": 0.8, "seed": 11}


@pytest.fixture
def whole(running_service: Any) -> Iterator[LatentCodesClient]:
    """Sends everything in one request."""
    with LatentCodesClient(running_service.url, chunk_rows=4096) as client:
        yield client


@pytest.fixture
def cut(running_service: Any, make_client: Any) -> Any:
    """Sends seven rows at a time."""
    return make_client(running_service.url, chunk_rows=7, max_concurrency=3)


def assert_equal(found: Any, expected: Any) -> None:
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)


@both_models
@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("outputs", [("codes",), EVERYTHING], ids=["codes", "everything"])
def test_many_requests_have_the_codes_of_one(
    whole: LatentCodesClient, cut: Any, model: TinyModel, num_samples: int, outputs: Any
) -> None:
    inputs = model.inputs(50)
    how = {**SAMPLED, "num_samples": num_samples, "outputs": outputs, "first_row": 100}
    assert_equal(cut.encode(model.name, inputs, **how), whole.encode(model.name, inputs, **how))
    assert_equal(cut.reconstruct(model.name, inputs, **how), whole.reconstruct(model.name, inputs, **how))
    codes = whole.encode(model.name, inputs).codes
    assert_equal(cut.decode(model.name, codes), whole.decode(model.name, codes))
    drawn = whole.generate(model.name, 40, **SAMPLED)
    assert_equal(cut.generate(model.name, 40, **SAMPLED), drawn)


@both_models
def test_a_seed_that_the_service_drew_for_the_first_rows_is_that_of_all(
    whole: LatentCodesClient, cut: Any, model: TinyModel
) -> None:
    inputs = model.inputs(30)
    found = cut.encode(model.name, inputs, temperature=1.0)
    assert found.seed is not None
    assert_equal(found, whole.encode(model.name, inputs, temperature=1.0, seed=found.seed))
    drawn = cut.generate(model.name, 30)
    assert_equal(drawn, whole.generate(model.name, 30, seed=drawn.seed))


@both_models
def test_codes_as_text_and_relaxed_codes_are_cut_too(whole: LatentCodesClient, cut: Any, model: TinyModel) -> None:
    inputs = model.inputs(20)
    keys = cut.encode(model.name, inputs, code_format="hex").codes
    assert keys.tolist() == whole.encode(model.name, inputs, code_format="hex").codes.tolist()
    assert_equal(
        cut.decode(model.name, list(keys), code_format="hex"), whole.decode(model.name, keys, code_format="hex")
    )
    relaxed = whole.encode(model.name, inputs, outputs=["relaxed"]).relaxed
    assert_equal(cut.decode(model.name, relaxed=relaxed), whole.decode(model.name, relaxed=relaxed))


@both_models
def test_rows_and_batches_may_come_one_after_the_other(whole: LatentCodesClient, cut: Any, model: TinyModel) -> None:
    inputs = model.inputs(40)
    flat = inputs.reshape(40, -1)
    items = [inputs[0], flat[1], inputs[2:20], flat[20:21], flat[21:]]
    expected = whole.encode(model.name, inputs, **SAMPLED)
    assert_equal(cut.encode(model.name, iter(items), **SAMPLED), expected)
    parts = list(cut.encode_stream(model.name, (row for row in inputs), **SAMPLED))
    assert [len(part.codes) for part in parts] == [7, 7, 7, 7, 7, 5]
    np.testing.assert_array_equal(np.concatenate([part.codes for part in parts]), expected.codes)
    assert {(part.seed, part.version) for part in parts} == {(11, 1)}
    found = list(cut.decode_stream(model.name, (part.codes for part in parts)))
    outputs = np.concatenate([part.outputs for part in found])
    np.testing.assert_array_equal(outputs, whole.decode(model.name, expected.codes).outputs)
    one_by_one = cut.decode(model.name, iter(expected.codes))
    np.testing.assert_array_equal(one_by_one.outputs, outputs)


def test_a_npy_file_is_read_a_part_at_a_time(whole: LatentCodesClient, cut: Any, tmp_path: Path) -> None:
    inputs = TINY_BINARY.inputs(30)
    np.save(tmp_path / "inputs.npy", inputs)
    expected = whole.encode(TINY_BINARY.name, inputs, **SAMPLED)
    assert_equal(cut.encode(TINY_BINARY.name, tmp_path / "inputs.npy", **SAMPLED), expected)
    assert_equal(cut.encode(TINY_BINARY.name, str(tmp_path / "inputs.npy"), **SAMPLED), expected)
    np.save(tmp_path / "codes.npy", expected.codes)
    decoded = cut.decode(TINY_BINARY.name, tmp_path / "codes.npy")
    assert_equal(decoded, whole.decode(TINY_BINARY.name, expected.codes))


def test_an_asynchronous_iterable_is_one_too(whole: LatentCodesClient, running_service: Any) -> None:
    inputs = TINY_BINARY.inputs(30)

    async def rows() -> AsyncIterator[Any]:
        for row in inputs:
            await asyncio.sleep(0)
            yield row

    async def encode() -> Any:
        async with AsyncLatentCodesClient(running_service.url, chunk_rows=7) as client:
            return await client.encode(TINY_BINARY.name, rows(), **SAMPLED)

    assert_equal(asyncio.run(encode()), whole.encode(TINY_BINARY.name, inputs, **SAMPLED))
    with pytest.raises(InvalidArgument, match="inputs: expected an iterable, got an asynchronous one"):
        whole.encode(TINY_BINARY.name, rows())


def test_the_row_that_the_service_refuses_is_counted_as_the_caller_counts(cut: Any) -> None:
    inputs = TINY_BINARY.inputs(30)
    inputs[23, 1, 2] = 1.5
    with pytest.raises(RequestRefused, match=r"HTTP 422: inputs\[23\]") as refusal:
        cut.encode(TINY_BINARY.name, inputs, first_row=1000)
    assert refusal.value.field == "inputs[23][1][2]"
    codes = TINY_CATEGORICAL.codes(30)
    codes[9, 3] = 6
    with pytest.raises(RequestRefused) as refusal:
        cut.decode(TINY_CATEGORICAL.name, codes)
    assert refusal.value.field == "codes[9][3]"


def test_a_number_that_is_not_finite_is_counted_as_the_caller_counts(cut: Any) -> None:
    inputs = TINY_BINARY.inputs(30)
    inputs[23, 1, 2] = np.nan
    with pytest.raises(InvalidArgument, match=r"inputs: expected finite numbers, got nan at \[23, 1, 2\]"):
        cut.encode(TINY_BINARY.name, inputs)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "inputs: expected at least one row, got none"),
        ([np.zeros(16), np.zeros(15)], r"inputs: item 1: expected a row of shape \[4, 4\] or \[16\], .* got .* \[15\]"),
        ([np.zeros(16), "missing.png"], r"missing\.png: cannot be read: No such file"),
        ([[1.0, "a"]], "inputs: item 0: expected a row"),
    ],
    ids=["none", "another shape", "no file", "text"],
)
def test_an_item_that_no_model_takes_is_named(cut: Any, items: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        cut.encode(TINY_BINARY.name, iter(items))


class Slow:
    """A service that takes its time, and knows how many asked at once; all but the first wait until `together` do."""

    def __init__(self, together: int = 1) -> None:
        self.changed = threading.Condition()
        self.together = together
        self.num_asked = self.num_now = self.most_at_once = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        with self.changed:
            self.num_asked += 1
            self.num_now += 1
            self.most_at_once = max(self.most_at_once, self.num_now)
            self.changed.notify_all()
            if self.num_asked > 1 and not self.changed.wait_for(lambda: self.most_at_once >= self.together, 60):
                self.together = 0  # they will never be so many
        time.sleep(0.01)
        with self.changed:
            self.num_now -= 1
        return httpx.Response(200, json={"model": "tiny", "version": 1, "seed": None, "codes": [[0, 1]]})


def test_no_more_is_read_or_asked_at_once_than_told() -> None:
    slow, num_read = Slow(together=3), 0

    def rows() -> Iterator[Any]:
        nonlocal num_read
        for number in range(100):
            num_read += 1
            yield [[number, 0.0]]

    client = LatentCodesClient(
        "http://service.test", transport=httpx.MockTransport(slow.answer), chunk_rows=1, max_concurrency=3
    )
    with client:
        client.model = lambda name, version=None: type("Model", (), {"input_shape": (2,)})  # type: ignore[assignment]
        for number, _ in enumerate(client.encode_stream("tiny", rows())):
            assert num_read <= number + 1 + 3 + 1
    assert (num_read, slow.num_asked) == (100, 100)
    assert slow.most_at_once == 3


def test_whoever_stops_looking_stops_the_asking() -> None:
    slow = Slow()
    with LatentCodesClient(
        "http://service.test", transport=httpx.MockTransport(slow.answer), chunk_rows=1, max_concurrency=2
    ) as client:
        parts = client.encode_stream("tiny", np.zeros((1000, 2)))
        next(parts)
        next(parts)
        parts.close()
    assert slow.num_asked <= 5


def test_an_error_in_the_middle_ends_the_asking(answered_by: Any) -> None:
    num_asked = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal num_asked
        num_asked += 1
        if num_asked >= 3:
            return httpx.Response(422, json={})
        return httpx.Response(200, json={"model": "tiny", "version": 1, "seed": None, "codes": [[0, 1]]})

    with pytest.raises(RequestRefused):
        answered_by(answer, chunk_rows=1, max_concurrency=2).encode("tiny", np.zeros((1000, 2)))
    assert num_asked <= 6


def test_all_but_the_first_request_ask_for_the_version_that_answered_it(answered_by: Any) -> None:
    paths: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json={"model": "tiny", "version": 4, "seed": 9, "codes": [[0, 1]]})

    answered_by(answer, chunk_rows=1).encode("tiny", np.zeros((3, 2)))
    assert paths == ["/v1/models/tiny/encode", *["/v1/models/tiny/versions/4/encode"] * 2]


def test_progress_is_shown_where_it_is_asked_for(cut: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    cut.encode(TINY_BINARY.name, TINY_BINARY.inputs(30))
    assert capsys.readouterr().err == ""
    cut.encode(TINY_BINARY.name, TINY_BINARY.inputs(30), progress=True)
    assert "30.0/30.0" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["chunk_rows", "chunk_bytes", "max_concurrency"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "many"])
def test_what_is_no_amount_is_refused(make_client: Any, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name}: expected"):
        make_client("http://service.test", **{name: value})
