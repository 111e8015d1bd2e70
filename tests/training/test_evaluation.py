import math

import numpy as np
import pytest
import torch
from tiny_vae import LATENTS, NUM_VALUES, bits, exact_negative_elbo, exact_nll, standard_errors, vae

from training.code_usage import entropy_bits
from training.errors import EvaluationError
from training.evaluation import EvaluationConfig, evaluate

FALSE_ALARM = 1e-4


def by_kind(latent):
    return latent.kind


def measure(model, inputs, *, protocol="six coins, test", relaxation_temperature=0.7, **options):
    return evaluate(
        model,
        inputs,
        relaxation_temperature=relaxation_temperature,
        protocol=protocol,
        split="test",
        config=EvaluationConfig(**options),
    )


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_bounds_are_the_exact_ones_within_their_sampling_error(latent):
    # Every row is the same input, so that the standard error is that of sampling alone.
    model, inputs = vae(latent), bits(1).expand(2_000, -1)
    evaluation = measure(model, inputs, num_samples=10, importance_samples=(1, 200))
    with torch.no_grad():
        elbo, nll = float(exact_negative_elbo(model, inputs[:1])), float(exact_nll(model, inputs[:1]))
    allowed = standard_errors(FALSE_ALARM, 3)
    for name in ("negative_elbo", "iwae_1"):
        assert abs(evaluation[name].value - elbo) < allowed * evaluation[name].standard_error
    tight = evaluation["iwae_200"]
    assert tight.value > nll - allowed * tight.standard_error
    assert tight.value - nll < 0.05 * (elbo - nll) + allowed * tight.standard_error


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_standard_errors_are_those_of_the_mean_over_rows(latent):
    # The rate is not sampled: its rows are known exactly.
    model, inputs = vae(latent), bits(50)
    with torch.no_grad():
        rates = model.kl(model.encoder(inputs)).sum(dim=1).numpy()
    rate = measure(model, inputs, importance_samples=())["rate"]
    assert rate.value == pytest.approx(rates.mean())
    assert rate.standard_error == pytest.approx(rates.std(ddof=1) / math.sqrt(50))
    assert measure(model, inputs[:1], importance_samples=())["rate"].standard_error is None


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_terms_add_up(latent):
    evaluation = measure(vae(latent), bits(30), importance_samples=())
    rate = evaluation["rate"].value
    assert evaluation["negative_elbo"].value == pytest.approx(evaluation["distortion"].value + rate)
    assert evaluation["rate_bits"].value == pytest.approx(rate / math.log(2))
    assert evaluation["rate_bits"].unit == "bits"
    assert evaluation["rate_bytes"].value == pytest.approx(rate / math.log(2) / 8)
    assert evaluation.latent_kl.sum() == pytest.approx(rate)
    for name in ("min", "median", "max"):
        assert evaluation[f"latent_kl_{name}"].value == pytest.approx(getattr(np, name)(evaluation.latent_kl))
    assert evaluation["active_latents"].value == (evaluation.latent_kl > 0.01).sum()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_code_metrics_are_those_of_the_usage_of_the_whole_set(latent):
    model, inputs = vae(latent), bits(64)
    evaluation = measure(model, inputs, importance_samples=())
    with torch.no_grad():
        codes = latent.indices(latent.most_probable(model.encoder(inputs))).numpy()
    frequencies = np.stack([(codes == value).mean(axis=0) for value in range(latent.num_categories)], axis=-1)
    _, counts = np.unique(codes, axis=0, return_counts=True)
    expected = {
        "bits_used_per_code": entropy_bits(frequencies).sum(),
        "joint_bits_per_code": float(entropy_bits(counts / 64)),
        "joint_code_perplexity": math.exp(-(counts / 64 * np.log(counts / 64)).sum()),
        "code_perplexity": np.exp2(entropy_bits(frequencies)).mean(),
        "distinct_codes": len(counts),
        "dead_categories": (frequencies == 0).sum(),
    }
    assert {name: evaluation[name].value for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_error_of_reconstruction_is_that_of_the_most_probable_code(latent):
    model, inputs = vae(latent), bits(20)
    with torch.no_grad():
        outputs = model.reconstruction(latent.most_probable(model.encoder(inputs))).numpy()
    error = measure(model, inputs, importance_samples=())["mean_squared_error"]
    assert error.value == pytest.approx(((outputs - inputs.numpy()) ** 2).mean())


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_what_is_not_sampled_does_not_depend_on_the_chunk_size(latent):
    model, inputs = vae(latent), bits(41)
    first, second = (measure(model, inputs, chunk_size=size, importance_samples=(3,)) for size in (7, 1000))
    sampled = {"relaxed_loss", "straight_through_loss", "integrality_gap", "negative_elbo", "distortion", "iwae_3"}
    assert sampled < {metric.name for metric in first.metrics}
    for metric in first.metrics:
        if metric.name not in sampled:
            assert metric.value == pytest.approx(second[metric.name].value, rel=1e-9)


def test_the_same_seed_repeats_every_number_and_another_seed_the_sampled_ones():
    model, inputs = vae(LATENTS[0]), bits(16)
    first, again, other = (measure(model, inputs, seed=seed, importance_samples=(4,)) for seed in (1, 1, 2))
    assert first.metrics == again.metrics
    for name in ("negative_elbo", "iwae_4", "relaxed_loss", "straight_through_loss"):
        assert first[name].value != other[name].value
    assert first["rate"].value == other["rate"].value


def test_evaluating_draws_nothing_from_the_global_stream_and_leaves_no_gradient():
    model, inputs = vae(LATENTS[0]), bits(8)
    before = torch.get_rng_state()
    measure(model, inputs, importance_samples=(4,))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


def test_every_number_stands_beside_its_protocol():
    evaluation = measure(vae(LATENTS[0]), bits(16), num_samples=3, importance_samples=(5, 11), seed=4)
    measured_on, heading, *lines = evaluation.table().splitlines()
    assert measured_on == "six coins, test"
    assert heading.split() == ["metric", "value", "std.", "error", "unit", "how"]
    assert len(lines) == len(evaluation.metrics)
    for line, metric in zip(lines, evaluation.metrics, strict=True):
        assert line.startswith(metric.name + " ")
        measured_on, semicolon, how = metric.protocol.partition("; ")
        assert (measured_on, semicolon) == ("six coins, test", "; ")
        assert line.endswith(f"  {how}")
        assert (metric.split, metric.num_examples) == ("test", 16)
    assert "3 discrete samples a row, seed 4" in evaluation["negative_elbo"].protocol
    assert "m = 11 discrete samples a row, seed 4" in evaluation["iwae_11"].protocol
    names = [metric.name for metric in evaluation.metrics]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(0, NUM_VALUES), r"one or more rows of 6 values, got shape \[0, 6\]"),
        (torch.zeros(3, 5), r"one or more rows of 6 values, got shape \[3, 5\]"),
        (torch.full((3, NUM_VALUES), 1.5), "values of 0 and 1, .*got 1.5 at row 0, value 0"),
        (torch.full((3, NUM_VALUES), torch.nan), "values of 0 and 1, .*got nan at row 0, value 0"),
        (bits(3) * 0.5, "values of 0 and 1, .* data.binarization.*got 0.5"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs, message):
    with pytest.raises(EvaluationError, match=message):
        measure(vae(LATENTS[0]), inputs)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_relaxation_temperature_that_cannot_be_is_refused(temperature):
    with pytest.raises(EvaluationError, match="relaxation_temperature: expected more than 0"):
        measure(vae(LATENTS[0]), bits(3), relaxation_temperature=temperature)


def test_a_model_that_has_diverged_is_refused_with_the_first_number_that_is_none():
    model = vae(LATENTS[0])
    with torch.no_grad():
        model.decoder.bias[2] = torch.nan
    with pytest.raises(EvaluationError, match="relaxed_loss: expected a finite number, got nan"):
        measure(model, bits(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples: expected at least 1, got 0"),
        ({"importance_samples": (5, 0)}, r"importance_samples: expected at least 1 each, got \[5, 0\]"),
        ({"importance_samples": (5, 5)}, r"importance_samples: expected each once, got \[5, 5\]"),
        ({"seed": -1}, "seed: expected 0 to .*, got -1"),
        ({"chunk_size": 0}, "chunk_size: expected at least 1, got 0"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(EvaluationError, match=message):
        EvaluationConfig(**options)


def test_a_metric_that_was_not_measured_is_named_beside_those_that_were():
    evaluation = measure(vae(LATENTS[0]), bits(4), importance_samples=())
    with pytest.raises(KeyError, match=r"iwae_1000.*negative_elbo"):
        evaluation["iwae_1000"]
