"""The engine against the numpy oracle: numbers, laws, invariances, and what is not let in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import chisquare
from tiny_models import TINY_BINARY, TINY_CATEGORICAL, TINY_MODELS, TinyModel

from models.repository import Repository
from service.engine import ENCODE_OUTPUTS, Engine
from service.errors import InvalidFields

FALSE_ALARM_RATE = 1e-6
"""Of each chi-square test here, if the law is right; with the fixed seeds the outcome is the same every time."""


@pytest.fixture(scope="module", params=TINY_MODELS, ids=lambda model: model.name)
def pair(request: pytest.FixtureRequest, tiny_repository: Path) -> tuple[Engine, TinyModel]:
    """An engine and its oracle."""
    model = request.param
    return Engine.load(Repository(tiny_repository).read(model.name), device="cpu"), model


def engine_of(model: TinyModel, root: Path, **options: Any) -> Engine:
    return Engine.load(Repository(root).read(model.name), device="cpu", **options)


def test_encoding_gives_the_numbers_of_the_oracle(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    inputs = model.inputs(50)
    for temperature in (0.0, 0.3, 1.0, 5.0):
        for tau in (0.05, 0.5, 3.0):
            found = engine.encode(
                inputs, temperature=temperature, relaxation_temperature=tau, seed=4, outputs=ENCODE_OUTPUTS
            )
            logits = model.logits(inputs)
            expected = model.sample(logits, model.noise(4, 50), temperature=temperature, relaxation_temperature=tau)
            np.testing.assert_array_equal(found.codes, expected.codes)
            np.testing.assert_allclose(found.logits, logits, atol=1e-5)
            np.testing.assert_allclose(found.relaxed, expected.relaxed, atol=1e-4)
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
            np.testing.assert_allclose(found.margins, expected.margins, atol=1e-4)
            assert found.codes.dtype == np.uint8
            assert found.relaxed.dtype == np.float32


def test_only_what_is_asked_for_is_returned(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    for wanted in ENCODE_OUTPUTS:
        found = engine.encode(model.inputs(2), outputs=[wanted])
        assert {name for name in ENCODE_OUTPUTS if getattr(found, name) is not None} == {wanted}


def test_samples_are_an_axis_after_the_rows_and_the_first_is_the_only_one(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    inputs = model.inputs(3)
    one = engine.encode(inputs, temperature=1.0, seed=9, outputs=ENCODE_OUTPUTS)
    many = engine.encode(inputs, temperature=1.0, seed=9, num_samples=4, outputs=ENCODE_OUTPUTS)
    for name in ("codes", "relaxed", "margins"):
        assert getattr(many, name).shape == (3, 4, *getattr(one, name).shape[1:])
        np.testing.assert_array_equal(getattr(many, name)[:, 0], getattr(one, name))
    for name in ("logits", "probabilities"):
        np.testing.assert_array_equal(getattr(many, name), getattr(one, name))
    for sample in range(4):
        expected = model.encode(inputs, temperature=1.0, seed=9, sample=sample)
        np.testing.assert_array_equal(many.codes[:, sample], expected.codes)


def test_at_temperature_0_every_sample_is_the_most_probable_code(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    inputs = model.inputs(3)
    for outputs in (["codes"], ["codes", "relaxed"]):
        found = engine.encode(inputs, num_samples=3, outputs=outputs)
        expected = np.repeat(model.encode(inputs).codes[:, None], 3, axis=1)
        np.testing.assert_array_equal(found.codes, expected)
        assert found.seed is None


def test_the_relaxation_temperature_never_changes_a_code(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    inputs = model.inputs(200)
    for temperature in (0.0, 0.7, 1.0):
        codes = [
            engine.encode(
                inputs, temperature=temperature, relaxation_temperature=tau, seed=1, outputs=["codes", "relaxed"]
            )
            for tau in (1e-30, 1e-3, 0.5, 1.0, 20.0)
        ]
        for other in codes[1:]:
            np.testing.assert_array_equal(other.codes, codes[0].codes)
        assert all(np.isfinite(found.relaxed).all() for found in codes)


def test_a_row_has_the_same_code_whatever_it_is_run_with(pair: tuple[Engine, TinyModel], tiny_repository: Path) -> None:
    """The pieces are of 1, 7 and 256 rows; float32 on the CPU with one thread: equal, bit for bit."""
    engine, model = pair
    inputs = model.inputs(300)
    wanted = {"temperature": 0.9, "seed": 77, "outputs": ENCODE_OUTPUTS}
    whole = engine.encode(inputs, **wanted)
    for max_rows_per_run in (1, 7):
        small = engine_of(model, tiny_repository, max_rows_per_run=max_rows_per_run)
        pieces = small.encode(inputs, **wanted)
        for name in ENCODE_OUTPUTS:
            np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))
        several = {**wanted, "num_samples": 5}
        np.testing.assert_array_equal(
            small.encode(inputs[:20], **several).relaxed, engine.encode(inputs[:20], **several).relaxed
        )
    for num_rows in (1, 2, 17, 299):
        np.testing.assert_array_equal(engine.encode(inputs[:num_rows], **wanted).codes, whole.codes[:num_rows])


def test_parts_that_say_where_they_begin_have_the_codes_of_the_whole(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    inputs = model.inputs(300)
    wanted = {"temperature": 0.9, "seed": 77, "num_samples": 2}
    for operation in (engine.encode, engine.reconstruct):
        whole = operation(inputs, outputs=ENCODE_OUTPUTS, **wanted)
        parts = [
            operation(inputs[first:end], first_row=first, outputs=ENCODE_OUTPUTS, **wanted)
            for first, end in [(0, 1), (1, 290), (290, 300)]
        ]
        if operation == engine.reconstruct:
            np.testing.assert_array_equal(np.concatenate([part.outputs for part in parts]), whole.outputs)
            parts, whole = [part.encoding for part in parts], whole.encoding
        for name in ENCODE_OUTPUTS:
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)
    # The oracle that would notice a first_row that nothing looks at.
    assert (engine.encode(inputs[1:], **wanted).codes != engine.encode(inputs, **wanted).codes[1:]).any()
    drawn = engine.generate(300, seed=8).codes
    parts = [engine.generate(end - first, seed=8, first_row=first).codes for first, end in [(0, 260), (260, 300)]]
    np.testing.assert_array_equal(np.concatenate(parts), drawn)


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_sampled_symbols_have_the_law_softmax_of_the_logits_over_the_temperature(
    pair: tuple[Engine, TinyModel], temperature: float
) -> None:
    """Chi-square of every latent's symbols; Bonferroni over the latents, so that the file's rate holds for a case."""
    engine, model = pair
    inputs = model.inputs(1, seed=3)
    logits = model.logits(inputs)[0]
    if model.kind == "binary":
        logits = np.stack([np.zeros_like(logits), logits], axis=-1)
    codes = engine.encode(inputs, temperature=temperature, seed=123, num_samples=20_000).codes[0]
    for latent, law in enumerate(softmax(logits / temperature, axis=-1)):
        expected = law * len(codes)
        counts = np.bincount(codes[:, latent], minlength=model.num_categories)
        # Where fewer than five are expected the statistic has another law: such symbols are counted together.
        rare = expected < 5
        if rare.any():
            counts = np.append(counts[~rare], counts[rare].sum())
            expected = np.append(expected[~rare], expected[rare].sum())
            if expected[-1] < 5:
                counts[-2] += counts[-1]
                expected[-2] += expected[-1]
                counts, expected = counts[:-1], expected[:-1]
        if len(counts) > 1:
            assert chisquare(counts, expected).pvalue > FALSE_ALARM_RATE / model.num_latents, (latent, counts, expected)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_generated_codes_are_uniform_at_every_temperature(pair: tuple[Engine, TinyModel], temperature: float) -> None:
    engine, model = pair
    found = engine.generate(4096, temperature=temperature, seed=5)
    for latent in range(model.num_latents):
        counts = np.bincount(found.codes[:, latent], minlength=model.num_categories)
        assert chisquare(counts).pvalue > FALSE_ALARM_RATE / model.num_latents
    np.testing.assert_allclose(found.outputs, model.decode(found.codes), atol=1e-5)


def test_generated_codes_are_not_those_of_encoding_with_the_same_seed(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    prior = model.noise(5, 100, purpose="prior")
    np.testing.assert_array_equal(
        engine.generate(100, seed=5).codes, model.sample(np.zeros_like(prior), prior, temperature=1.0).codes
    )
    posterior = model.sample(np.zeros_like(prior), model.noise(5, 100), temperature=1.0).codes
    assert (engine.generate(100, seed=5).codes != posterior).any()


def test_the_first_generated_codes_do_not_depend_on_how_many_follow(pair: tuple[Engine, TinyModel]) -> None:
    engine, _ = pair
    many = engine.generate(300, seed=8, outputs=["codes", "relaxed"])
    few = engine.generate(2, seed=8, outputs=["codes", "relaxed"])
    np.testing.assert_array_equal(few.codes, many.codes[:2])
    np.testing.assert_array_equal(few.relaxed, many.relaxed[:2])


def test_decoding_gives_the_numbers_of_the_oracle(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    codes = model.codes(30)
    found = engine.decode(codes)
    assert found.shape == (30, *model.input_shape)
    np.testing.assert_allclose(found, model.decode(codes), atol=1e-5)
    relaxed = model.sample(model.logits(model.inputs(30))).relaxed
    np.testing.assert_allclose(engine.decode_relaxed(relaxed), model.decode_relaxed(relaxed), atol=1e-5)
    np.testing.assert_array_equal(engine.decode_relaxed(model.one_hot(codes)), found)


def test_reconstruction_is_encoding_then_decoding_with_the_error_of_each_row(pair: tuple[Engine, TinyModel]) -> None:
    engine, model = pair
    inputs = model.inputs(5)
    for num_samples in (1, 3):
        found = engine.reconstruct(inputs, temperature=1.0, seed=2, num_samples=num_samples)
        encoded = engine.encode(inputs, temperature=1.0, seed=2, num_samples=num_samples)
        np.testing.assert_array_equal(found.encoding.codes, encoded.codes)
        lead = (5,) if num_samples == 1 else (5, num_samples)
        decoded = model.decode(encoded.codes.reshape(-1, model.num_latents)).reshape(*lead, *model.input_shape)
        np.testing.assert_allclose(found.outputs, decoded, atol=1e-5)
        original = inputs if num_samples == 1 else inputs[:, None]
        axes = tuple(range(-len(model.input_shape), 0))
        np.testing.assert_allclose(found.mean_squared_error, ((decoded - original) ** 2).mean(axis=axes), atol=1e-5)


def test_a_missing_seed_is_drawn_only_where_it_matters_and_repeats_the_result(pair: tuple[Engine, TinyModel]) -> None:
    """Two drawn seeds are the same once in 2^53 times."""
    engine, model = pair
    inputs = model.inputs(20)
    assert engine.encode(inputs).seed is None
    assert engine.encode(inputs, seed=3).seed == 3
    first, second = engine.encode(inputs, temperature=1.0), engine.encode(inputs, temperature=1.0)
    assert first.seed is not None
    assert first.seed != second.seed
    assert 0 <= first.seed < 1 << 53
    np.testing.assert_array_equal(engine.encode(inputs, temperature=1.0, seed=first.seed).codes, first.codes)


@pytest.mark.parametrize("temperature", [0.0, 1e-45, 1e-30, 1e30])
@pytest.mark.parametrize("tau", [1e-30, 1e30])
def test_the_greatest_and_least_temperatures_stay_finite(
    pair: tuple[Engine, TinyModel], temperature: float, tau: float
) -> None:
    engine, model = pair
    found = engine.encode(
        model.inputs(4), temperature=temperature, relaxation_temperature=tau, seed=0, outputs=ENCODE_OUTPUTS
    )
    assert all(np.isfinite(getattr(found, name)).all() for name in ENCODE_OUTPUTS)


Call = Callable[[Engine, TinyModel], Any]

REFUSED: dict[str, tuple[Call, str]] = {
    "an-empty-batch": (lambda e, m: e.encode(np.empty((0, m.size))), "inputs: expected at least one row"),
    "a-row-too-short": (lambda e, m: e.encode(np.zeros((2, m.size - 1))), "inputs: expected rows of shape"),
    "a-single-number": (lambda e, m: e.encode(np.float64(1)), "inputs: expected rows of shape"),
    "strings": (lambda e, m: e.encode(np.full((1, m.size), "1")), "inputs: expected numbers, received an array of"),
    "objects": (lambda e, m: e.encode(np.full((1, m.size), None)), "inputs: expected numbers, received an array of"),
    "nan": (lambda e, m: e.encode(np.full((1, m.size), np.nan)), r"inputs\[0\]\[0\]: .*from 0 to 1, received NaN"),
    "infinity": (lambda e, m: e.encode(np.full((1, m.size), -np.inf)), r"inputs\[0\]\[0\]: .*received -Infinity"),
    "above-the-range": (
        lambda e, m: e.encode(np.eye(m.size)[:3] * 1.0000001),
        r"inputs\[0\]\[0\]: expected a finite number from 0 to 1, received 1.0000001",
    ),
    "below-the-range": (lambda e, m: e.encode(-np.eye(m.size)[1:2]), r"inputs\[0\]\[1\]: .*received -1.0"),
    "negative-temperature": (lambda e, m: e.encode(m.inputs(1), temperature=-0.1), "temperature: expected"),
    "nan-temperature": (lambda e, m: e.encode(m.inputs(1), temperature=float("nan")), "temperature: .*received NaN"),
    "infinite-temperature": (lambda e, m: e.encode(m.inputs(1), temperature=float("inf")), "temperature: expected"),
    "relaxation-temperature-0": (
        lambda e, m: e.encode(m.inputs(1), relaxation_temperature=0.0),
        "relaxation_temperature: expected a finite number above 0",
    ),
    "negative-seed": (lambda e, m: e.encode(m.inputs(1), seed=-1), "seed: expected"),
    "negative-first-row": (lambda e, m: e.encode(m.inputs(1), first_row=-1), "first_row: expected"),
    "first-row-of-64-bits": (lambda e, m: e.generate(1, first_row=1 << 63), "first_row: expected"),
    "seed-of-64-bits": (lambda e, m: e.encode(m.inputs(1), seed=1 << 63), "seed: expected"),
    "no-samples": (lambda e, m: e.encode(m.inputs(1), num_samples=0), "num_samples: expected"),
    "no-outputs": (lambda e, m: e.encode(m.inputs(1), outputs=[]), "outputs: expected"),
    "unknown-output": (lambda e, m: e.encode(m.inputs(1), outputs=["codes", "code"]), r"outputs\[1\]: expected"),
    "no-codes-generated": (lambda e, m: e.generate(0), "num_samples: expected"),
    "logits-of-the-prior": (lambda e, m: e.generate(outputs=["logits"]), r"outputs\[0\]: expected"),
    "code-too-large": (
        lambda e, m: e.decode(np.full((2, m.num_latents), m.num_categories)),
        r"codes\[0\]\[0\]: expected an integer in 0",
    ),
    "negative-code": (lambda e, m: e.decode(np.full((2, m.num_latents), -1)), r"codes\[0\]\[0\]: .*received -1"),
    "code-too-long": (lambda e, m: e.decode(np.zeros((2, m.num_latents + 1), int)), "codes: expected rows of shape"),
    "float-codes": (lambda e, m: e.decode(np.zeros((2, m.num_latents))), "codes: expected an integer"),
    "no-codes": (lambda e, m: e.decode(np.zeros((0, m.num_latents), int)), "codes: expected at least one row"),
    "relaxed-above-1": (lambda e, m: e.decode_relaxed(m.one_hot(m.codes(2)) * 1.5), "relaxed.*from 0 to 1"),
    "relaxed-of-another-shape": (lambda e, m: e.decode_relaxed(np.zeros((2, 3, 3))), "relaxed: expected rows of shape"),
}


@pytest.mark.parametrize(("call", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_with_its_place(pair: tuple[Engine, TinyModel], call: Call, sentence: str) -> None:
    with pytest.raises(InvalidFields, match=f"^{sentence}"):
        call(*pair)


def test_relaxed_categories_must_sum_to_1_within_the_tolerance(tiny_repository: Path) -> None:
    engine = engine_of(TINY_CATEGORICAL, tiny_repository)
    relaxed = TINY_CATEGORICAL.one_hot(TINY_CATEGORICAL.codes(3)) * 0.999_5
    engine.decode_relaxed(relaxed)
    relaxed[2, 4] *= 0.99
    with pytest.raises(InvalidFields, match=r"relaxed\[2\]\[4\]: expected 6 values whose sum is 1 within 0.001"):
        engine.decode_relaxed(relaxed)


def test_the_provider_is_the_one_that_runs(tiny_repository: Path) -> None:
    assert engine_of(TINY_BINARY, tiny_repository).provider == "CPUExecutionProvider"


def test_a_script_needs_two_lines(tiny_repository: Path) -> None:
    engine = Engine.load(Repository(tiny_repository).read("tiny-binary"))
    codes = engine.encode(TINY_BINARY.inputs(1)).codes

    np.testing.assert_array_equal(codes, TINY_BINARY.encode(TINY_BINARY.inputs(1)).codes)
