"""Every relaxation, prior and likelihood, from torch through export and the model repository to the engine and HTTP."""

import copy
from typing import NamedTuple, get_args

import httpx
import numpy as np
import pytest
import torch
from every_law import CASES, SHAPE, Case, build, inputs, publish
from scipy.special import expit, ndtr
from scipy.stats import binomtest, chisquare
from service_process import ServiceProcess

from models import noise
from models.manifest import LikelihoodName, Manifest
from models.relaxations import RELAXATIONS as CONTRACT
from models.relaxations import STANDARD_NOISE
from models.repository import Repository
from service import golden
from service.engine import ENCODE_OUTPUTS, Engine
from service.schemas import DecodeReply, EncodeReply, GenerateReply, ModelReply, ReconstructReply
from training.enumeration import code_chunks
from training.errors import ExportRefused
from training.exported import ExportedModel
from training.latents import LatentConfig
from training.likelihoods.interface import LikelihoodName as TrainedLikelihoodName
from training.model import DiscreteVAE
from training.parity import check_parity
from training.priors import PRIORS
from training.relaxations import RELAXATIONS

TOLERANCE = 1e-4
FALSE_ALARM = 1e-6
"""Of each statistical test, if the law is right; with the fixed seeds the outcome is the same every time."""
NUM_DRAWS = 10_000


class Served(NamedTuple):
    case: Case
    model: DiscreteVAE
    engine: Engine


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return Repository(tmp_path_factory.mktemp("every-law"))


@pytest.fixture(scope="module")
def published(repository):
    """Exported when first asked for: it takes seconds."""
    models = {}

    def get(case: Case) -> DiscreteVAE:
        if case not in models:
            models[case] = build(case)
            publish(models[case], case, repository)
        return models[case]

    return get


def name(case: Case) -> str:
    return case.name


@pytest.fixture(scope="module", params=CASES, ids=name)
def served(request, published, repository):
    model = published(request.param)
    return Served(request.param, model, Engine.load(repository.read(request.param.name), device="cpu"))


def posterior_noise(served, num_rows, seed=4):
    latent = served.model.latent
    name = served.model.relaxation.noise_name(latent.kind)
    return torch.from_numpy(noise.draw(name, seed, num_rows, latent.shape))


def prior_noise(served, num_rows, seed):
    latent = served.model.latent
    return torch.from_numpy(noise.draw(latent.noise, seed, num_rows, latent.shape, purpose="prior"))


def assert_close(got, expected, what):
    np.testing.assert_allclose(got, expected.numpy(), rtol=TOLERANCE, atol=TOLERANCE, err_msg=what)


def assert_same_codes(got, latent, scores):
    """Wherever the two best scores are not within the tolerance of each other: nearly everywhere."""
    firm = (latent.margins(scores) > TOLERANCE).numpy()
    assert firm.mean() > 0.99
    expected = latent.indices(latent.most_probable(scores)).numpy()
    np.testing.assert_array_equal(got[firm], expected[firm])


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("tau", [0.1, 0.6])
@torch.no_grad()
def test_encoding_gives_the_numbers_of_pytorch_on_the_same_noise(served, temperature, tau):
    rows, latent = inputs(300), served.model.latent
    posterior = served.model.posterior(rows)
    scores = posterior.scores(posterior_noise(served, 300), temperature)
    found = served.engine.encode(
        rows.numpy(), temperature=temperature, relaxation_temperature=tau, seed=4, outputs=ENCODE_OUTPUTS
    )
    assert_same_codes(found.codes, latent, scores)
    assert_close(found.logits, posterior.logits, "logits")
    assert_close(found.probabilities, posterior.law().probs, "probabilities")
    assert_close(found.margins, latent.margins(scores), "margins")
    assert_close(found.relaxed, posterior.relaxed(scores, torch.tensor(tau)), "relaxed")
    assert found.relaxed.dtype == found.logits.dtype == np.float32


def test_the_short_way_at_temperature_zero_gives_the_codes_of_the_sampler(served):
    rows = inputs(2000).numpy()
    short = served.engine.encode(rows).codes
    np.testing.assert_array_equal(served.engine.encode(rows, outputs=["codes", "margins"]).codes, short)
    np.testing.assert_array_equal(served.engine.encode(rows, temperature=1e-30, seed=1).codes, short)


def test_rows_have_the_same_codes_whatever_they_are_run_with(served, repository):
    rows, wanted = inputs(150).numpy(), {"temperature": 0.9, "seed": 7, "outputs": ENCODE_OUTPUTS}
    whole = served.engine.encode(rows, **wanted)
    generated = served.engine.generate(150, seed=3, outputs=["codes", "relaxed"])
    for max_rows_per_run in (1, 7, 64):
        engine = Engine.load(repository.read(served.case.name), device="cpu", max_rows_per_run=max_rows_per_run)
        pieces = engine.encode(rows, **wanted)
        for output in ENCODE_OUTPUTS:
            np.testing.assert_array_equal(getattr(pieces, output), getattr(whole, output), err_msg=output)
        again = engine.generate(150, seed=3, outputs=["codes", "relaxed"])
        for output in ("codes", "relaxed", "outputs"):
            np.testing.assert_array_equal(getattr(again, output), getattr(generated, output), err_msg=output)


@torch.no_grad()
def test_sampled_codes_have_the_rounded_law_at_temperature_1(served):
    row = inputs(1)
    probabilities = served.model.posterior(row).law().probs[0].double().numpy()
    codes = served.engine.encode(row.numpy(), temperature=1.0, seed=11, num_samples=NUM_DRAWS).codes[0]
    if served.model.latent.kind == "binary":
        probabilities = np.stack([1 - probabilities, probabilities], axis=-1)
    for latent, law in enumerate(probabilities):
        law = law / law.sum()
        counts = np.bincount(codes[:, latent], minlength=len(law))
        assert chisquare(counts, NUM_DRAWS * law).pvalue > FALSE_ALARM, latent


@pytest.mark.parametrize("served", [case for case in CASES if case.relaxation != "concrete"], indirect=True, ids=name)
@torch.no_grad()
def test_at_another_temperature_logits_of_bits_are_divided_by_it_but_for_the_logistic_normal(served):
    temperature, row = 2.0, inputs(1)
    posterior = served.model.posterior(row)
    if served.case.relaxation == "logistic_normal":
        law = ndtr((posterior.mean / posterior.log_deviation.exp()).double().numpy()[0] / temperature)
    else:
        law = expit(posterior.logits.double().numpy()[0] / temperature)
    codes = served.engine.encode(row.numpy(), temperature=temperature, seed=12, num_samples=NUM_DRAWS).codes[0]
    for latent, probability in enumerate(law):
        ones = int((codes[:, latent] == 1).sum())
        assert binomtest(ones, NUM_DRAWS, float(probability)).pvalue > FALSE_ALARM, latent


@pytest.mark.parametrize(
    "served", [case for case in CASES if case.relaxation.startswith("hard_")], indirect=True, ids=name
)
@torch.no_grad()
def test_a_stretched_value_is_exactly_0_and_1_as_often_as_its_law_says(served):
    row, tau = inputs(1), torch.tensor(0.9)
    posterior = served.model.posterior(row)
    relaxed = served.engine.encode(
        row.numpy(),
        temperature=1.0,
        seed=13,
        relaxation_temperature=float(tau),
        num_samples=NUM_DRAWS,
        outputs=["relaxed"],
    ).relaxed[0]
    laws = {0: posterior.log_prob_of_zero(tau), 1: posterior.log_prob_of_one(tau)}
    for value, law in laws.items():
        for latent, probability in enumerate(law[0].double().exp()):
            times = int((relaxed[:, latent] == value).sum())
            assert binomtest(times, NUM_DRAWS, float(probability)).pvalue > FALSE_ALARM, (value, latent)


@torch.no_grad()
def test_decoding_gives_the_mean_of_the_likelihood(served):
    rows, latent = inputs(40), served.model.latent
    found = served.engine.reconstruct(rows.numpy(), temperature=1.0, seed=2)
    codes = latent.from_indices(torch.from_numpy(found.encoding.codes.astype(np.int64)))
    expected = served.model.reconstruction(codes)
    assert_close(found.outputs.reshape(40, -1), expected, "outputs")
    np.testing.assert_allclose(found.mean_squared_error, ((expected - rows) ** 2).mean(dim=1), rtol=1e-4)
    relaxed = served.engine.encode(rows.numpy(), temperature=1.0, seed=2, outputs=["relaxed"]).relaxed
    decoded = served.engine.decode_relaxed(relaxed).reshape(40, -1)
    assert_close(decoded, served.model.reconstruction(torch.from_numpy(relaxed)), "outputs of relaxed codes")


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@torch.no_grad()
def test_generated_codes_are_those_that_the_prior_makes_of_the_same_noise(served, temperature):
    latent, prior = served.model.latent, served.model.prior
    standard = prior_noise(served, 300, seed=5)
    codes = prior.codes_of_noise(standard, temperature)
    scores = prior(codes) + temperature * standard
    found = served.engine.generate(
        300, temperature=temperature, relaxation_temperature=0.6, seed=5, outputs=["codes", "relaxed"]
    )
    if temperature == 0 and prior.name == "uniform":
        np.testing.assert_array_equal(found.codes, np.zeros_like(found.codes))
        return
    # No two scores tie here: a symbol that could be turned by rounding would turn the later ones of its code, too.
    assert float(latent.margins(scores).min()) > 1e-5
    np.testing.assert_array_equal(found.codes, latent.indices(codes).numpy())
    plain = torch.sigmoid(scores / 0.6) if latent.kind == "binary" else torch.softmax(scores / 0.6, dim=-1)
    assert_close(found.relaxed, plain, "relaxed")
    assert_close(found.outputs.reshape(300, -1), served.model.reconstruction(codes), "outputs")


@torch.no_grad()
def test_generated_codes_have_the_law_of_the_prior_over_whole_codes(served):
    latent = served.model.latent
    codes = torch.cat(list(code_chunks(latent, like=torch.zeros(1))))
    law = served.model.prior.log_prob(codes).double().exp().numpy()
    assert law.sum() == pytest.approx(1, abs=1e-5)
    places = latent.num_categories ** np.arange(latent.num_latents - 1, -1, -1)
    found = served.engine.generate(NUM_DRAWS, seed=6).codes.astype(np.int64) @ places
    counts, expected = np.bincount(found, minlength=len(law)), NUM_DRAWS * law / law.sum()
    rare = expected < 5
    if rare.any():  # counted together, with the next rarest beside them: the statistic is chi-square only for these
        rare[np.flatnonzero(~rare)[expected[~rare].argmin()]] = True
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    assert len(counts) > 10
    assert chisquare(counts, expected).pvalue > FALSE_ALARM


def test_golden_vectors_are_reproduced_and_every_temperature_stays_finite(served):
    golden.check(served.engine)
    for temperature in (0.0, 1e30):
        for tau in (1e-30, 1e30):
            found = served.engine.generate(
                20, temperature=temperature, relaxation_temperature=tau, seed=0, outputs=["codes", "relaxed"]
            )
            assert np.isfinite(found.relaxed).all()
            assert np.isfinite(found.outputs).all()


@pytest.mark.parametrize("served", [case for case in CASES if case.prior == "autoregressive"], indirect=True, ids=name)
def test_a_learned_prior_a_thousandth_off_is_refused_at_export(served, repository):
    other = copy.deepcopy(served.model)
    with torch.no_grad():
        for weight in other.prior.parameters():
            weight.mul_(1.001)
    runtime = ExportedModel(repository.read(served.case.name).graphs)
    with pytest.raises(ExportRefused, match=r"^prior logits: expected ONNX Runtime within 0\.0001 of PyTorch"):
        check_parity(other, runtime, inputs(20).numpy(), relaxation_temperature=0.5)


def test_the_manifest_says_which_laws_the_model_has(served):
    manifest = served.engine.manifest
    assert (manifest.relaxation.name, manifest.prior.name, manifest.likelihood) == served.case
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_every_law_answers_over_http(published, repository, tmp_path):
    for case in CASES:
        published(case)
    rows = inputs(3).numpy()
    sampling = {"temperature": 0.8, "seed": 9, "relaxation_temperature": 0.3}
    with (
        ServiceProcess([repository.root], log=tmp_path / "log") as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        assert len(client.get("/v1/models").json()["models"]) == len(CASES)
        for case in CASES:
            engine = Engine.load(repository.read(case.name), device="cpu")
            at = f"/v1/models/{case.name}"
            described = ModelReply.model_validate_json(client.get(at).content)
            assert (described.relaxation.name, described.prior.name, described.likelihood) == case

            reply = client.post(f"{at}/encode", json={"inputs": rows.tolist(), "outputs": ENCODE_OUTPUTS} | sampling)
            EncodeReply.model_validate_json(reply.content)
            expected = engine.encode(rows, outputs=ENCODE_OUTPUTS, **sampling)
            for output in ENCODE_OUTPUTS:
                np.testing.assert_array_equal(np.float32(reply.json()[output]), np.float32(getattr(expected, output)))

            relaxed = {"relaxed": reply.json()["relaxed"]}
            decoded = DecodeReply.model_validate_json(client.post(f"{at}/decode", json=relaxed).content)
            np.testing.assert_array_equal(np.float32(decoded.outputs), engine.decode_relaxed(expected.relaxed))

            reply = client.post(f"{at}/reconstruct", json={"inputs": rows.tolist()} | sampling)
            ReconstructReply.model_validate_json(reply.content)
            assert reply.json()["codes"] == expected.codes.tolist()

            body = {"num_samples": 4, "outputs": ["codes", "relaxed"]} | sampling
            reply = client.post(f"{at}/generate", json=body)
            GenerateReply.model_validate_json(reply.content)
            drawn = engine.generate(4, outputs=["codes", "relaxed"], **sampling)
            assert reply.json()["codes"] == drawn.codes.tolist()
            np.testing.assert_array_equal(np.float32(reply.json()["relaxed"]), drawn.relaxed)
            assert np.shape(reply.json()["outputs"]) == (4, *SHAPE)
        assert client.get("/openapi.json").status_code == 200


def test_what_training_can_configure_is_what_a_manifest_can_say():
    assert set(RELAXATIONS) == set(CONTRACT) == {case.relaxation for case in CASES}
    for name, relaxation in RELAXATIONS.items():
        contract = CONTRACT[name]
        assert relaxation.kinds == (contract.kind,)
        assert relaxation.noise_name(contract.kind) == contract.noise
        assert relaxation.num_parameters == contract.num_parameters
    for kind, standard in STANDARD_NOISE.items():
        assert LatentConfig(kind=kind, num_latents=1).noise == standard
    likelihoods = {case.likelihood for case in CASES}
    assert set(get_args(TrainedLikelihoodName)) == set(get_args(LikelihoodName)) == likelihoods
    assert set(PRIORS) == {case.prior for case in CASES}
