"""Every prior against enumeration: worlds of so few codes that each can be written down."""

import itertools
import math

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import TypeAdapter
from scipy.special import softmax
from scipy.stats import chisquare
from tiny_vae import BITS, CATEGORIES, all_codes

from training import noise
from training.latents import LatentConfig
from training.priors import PRIORS, AutoregressivePrior, FactorisedPrior, PriorConfig, UniformPrior, build_prior
from training.priors.made import Made

FALSE_ALARM = 1e-4
"""Of each statistical test below, over draws; with its fixed seed a test that passes once passes always."""

LONGER = LatentConfig(kind="categorical", num_latents=3, num_categories=3)
SINGLE = LatentConfig(kind="categorical", num_latents=1, num_categories=4)
LATENTS = [BITS, CATEGORIES, LONGER, SINGLE, LatentConfig(num_latents=1)]


def sampled_kl(prior, logits, codes):
    """-H(q) - log p(codes): the textbook estimate of KL(q || p) from one code."""
    return -prior.latent.entropy(logits).sum(dim=-1) - prior.log_prob(codes)


def words(given):
    if isinstance(given, LatentConfig):
        return f"{given.num_latents} of {given.num_categories}"
    return str(given)


def prior_of(name, latent, seed=0):
    """A prior of random weights, far from uniform where it can be, in float64."""
    torch.manual_seed(seed)
    hidden = (16, 16) if name == "autoregressive" else None
    prior = build_prior(PriorConfig(name=name, hidden=hidden), latent)
    with torch.no_grad():
        for weight in prior.parameters():
            weight.copy_(torch.randn(weight.shape) / (1.0 if weight.dim() < 2 else weight.shape[-1] ** 0.5) * 1.5)
    return prior.double()


def random_logits(latent, num_rows, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(num_rows, *latent.shape, generator=generator, dtype=torch.float64)


def log_posterior(latent, logits):
    """log q of every code, [rows, K^N], for logits [rows, *latent]."""
    return latent.law(logits.unsqueeze(1)).log_prob(all_codes(latent)).sum(dim=-1)


every_prior = pytest.mark.parametrize("name", PRIORS)
every_latent = pytest.mark.parametrize("latent", LATENTS, ids=words)


@every_prior
@every_latent
def test_the_probabilities_of_all_codes_sum_to_one(name, latent):
    log_prob = prior_of(name, latent).log_prob(all_codes(latent))
    assert log_prob.exp().sum().item() == pytest.approx(1, rel=1e-12)
    if name != "uniform":
        assert log_prob.std() > 0.1


@every_prior
@every_latent
def test_a_prior_is_uniform_until_it_is_trained(name, latent):
    prior = build_prior(PriorConfig(name=name), latent)
    log_prob = prior.log_prob(all_codes(latent).float())
    expected = -latent.num_latents * math.log(latent.num_categories)
    torch.testing.assert_close(log_prob, torch.full_like(log_prob, expected))


@every_prior
@every_latent
def test_log_prob_and_logits_take_any_leading_axes(name, latent):
    prior, codes = prior_of(name, latent), all_codes(latent)
    stacked = torch.stack([codes, codes.flip(0)])
    torch.testing.assert_close(
        prior.log_prob(stacked), torch.stack([prior.log_prob(codes), prior.log_prob(codes.flip(0))])
    )
    torch.testing.assert_close(prior(codes[0]), prior(codes)[0])


@every_prior
@every_latent
def test_the_log_prob_is_the_sum_of_conditionals_each_seen_with_the_rest_blotted_out(name, latent):
    prior, codes = prior_of(name, latent), all_codes(latent)
    total = torch.zeros(len(codes), dtype=torch.float64)
    for n in range(latent.num_latents):
        blotted = codes.clone()
        blotted[:, n:] = 17.0
        total += latent.law(prior(blotted)[:, n]).log_prob(codes[:, n])
    torch.testing.assert_close(prior.log_prob(codes), total)


@pytest.mark.parametrize("latent", [BITS, LONGER], ids=words)
def test_the_logits_of_a_latent_depend_on_those_before_it_and_on_no_other(latent):
    prior = prior_of("autoregressive", latent)
    num_latents = latent.num_latents
    total = torch.zeros(num_latents, num_latents, dtype=torch.float64)
    for code in all_codes(latent):
        jacobian = torch.autograd.functional.jacobian(prior, code).abs()
        total += jacobian if latent.kind == "binary" else jacobian.sum(dim=(1, 3))
    depends = total > 0
    assert torch.equal(depends, torch.ones_like(depends).tril(diagonal=-1))


@every_prior
@every_latent
def test_log_prob_is_differentiable_in_the_code_so_that_straight_through_reaches_the_prior(name, latent):
    prior = prior_of(name, latent)
    codes = all_codes(latent).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: prior.log_prob(given[:3]), codes)
    if prior.is_factorised:
        (gradient,) = torch.autograd.grad(prior.log_prob(codes).sum(), codes)
        expected = prior.logits if latent.kind == "binary" else torch.log_softmax(prior.logits, dim=-1)
        torch.testing.assert_close(gradient, expected.expand_as(gradient).detach())


@every_prior
@every_latent
def test_the_kl_at_a_code_averages_to_the_kl_by_enumeration(name, latent):
    prior, codes = prior_of(name, latent), all_codes(latent)
    logits = random_logits(latent, 5)
    log_q = log_posterior(latent, logits)
    exact = (log_q.exp() * (log_q - prior.log_prob(codes))).sum(dim=1)
    at_codes = prior.kl(logits.unsqueeze(1).expand(-1, len(codes), *latent.shape), codes.expand(5, *codes.shape))
    assert at_codes.shape == (5, len(codes), latent.num_latents)
    assert at_codes.min() >= -1e-12
    torch.testing.assert_close((log_q.exp() * at_codes.sum(dim=-1)).sum(dim=1), exact)
    if prior.is_factorised:
        torch.testing.assert_close(prior.kl(logits).sum(dim=-1), exact)


@every_prior
@every_latent
def test_the_sampled_kl_averages_to_the_kl_by_enumeration(name, latent):
    prior, codes = prior_of(name, latent), all_codes(latent)
    logits = random_logits(latent, 5)
    log_q = log_posterior(latent, logits)
    exact = (log_q.exp() * (log_q - prior.log_prob(codes))).sum(dim=1)
    at_codes = sampled_kl(
        prior, logits.unsqueeze(1).expand(-1, len(codes), *latent.shape), codes.expand(5, *codes.shape)
    )
    torch.testing.assert_close((log_q.exp() * at_codes).sum(dim=1), exact)


@every_latent
def test_the_entropy_is_the_sum_over_codes_of_its_definition(latent):
    logits = random_logits(latent, 5)
    log_q = log_posterior(latent, logits)
    torch.testing.assert_close(latent.entropy(logits).sum(dim=-1), -(log_q.exp() * log_q).sum(dim=1))
    certain = latent.entropy(1e5 * random_logits(latent, 2))
    torch.testing.assert_close(certain, torch.zeros_like(certain))


@pytest.mark.parametrize("estimate", ["closed form at a code", "sampled"])
def test_the_score_function_with_the_direct_gradient_is_unbiased(estimate):
    """The mean over all codes of the estimator that the docstrings describe, against the gradient of the exact KL."""
    latent = LONGER
    prior, codes = prior_of("autoregressive", latent), all_codes(latent)
    logits = random_logits(latent, 1)[0].requires_grad_()
    log_q = log_posterior(latent, logits.unsqueeze(0))[0]
    exact = (log_q.exp() * (log_q - prior.log_prob(codes))).sum()
    (expected,) = torch.autograd.grad(exact, logits, retain_graph=True)
    repeated = logits.expand(len(codes), *latent.shape)
    cost = prior.kl(repeated, codes).sum(dim=-1) if estimate != "sampled" else sampled_kl(prior, repeated, codes)
    weights = log_q.exp().detach()
    surrogate = (weights * (cost + cost.detach() * log_q)).sum()
    (got,) = torch.autograd.grad(surrogate, logits)
    torch.testing.assert_close(got, expected)


def test_an_autoregressive_prior_asks_for_the_codes_its_kl_depends_on():
    with pytest.raises(ValueError, match="codes: expected a sample of q"):
        prior_of("autoregressive", BITS).kl(random_logits(BITS, 1))


@every_prior
@pytest.mark.parametrize("latent", [BITS, LONGER], ids=words)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_codes_are_drawn_with_each_conditional_tempered(name, latent, temperature):
    prior = prior_of(name, latent)
    num_draws = 20_000
    with torch.no_grad():
        drawn = prior.sample(num_draws, generator=torch.Generator().manual_seed(5), temperature=temperature)
        table = prior(all_codes(latent)).numpy() / temperature
    # The law of each whole code: a product of tempered conditionals, which the logits of that code hold.
    values = list(itertools.product(range(latent.num_categories), repeat=latent.num_latents))
    law = np.ones(len(values))
    for row, code in enumerate(values):
        for n, symbol in enumerate(code):
            scores = [0, table[row, n]] if latent.kind == "binary" else table[row, n]
            law[row] *= softmax(scores)[symbol]
    assert law.sum() == pytest.approx(1, rel=1e-9)
    places = latent.num_categories ** np.arange(latent.num_latents)[::-1]
    counts = np.bincount(latent.indices(drawn).numpy() @ places, minlength=len(values))
    # Codes expected less than 5 times are counted as one, so that the chi-square law holds.
    rare = law * num_draws < 5
    counts, expected = (np.append(given[~rare], given[rare].sum()) for given in (counts, num_draws * law))
    if not rare.any():
        counts, expected = counts[:-1], expected[:-1]
    assert chisquare(counts, expected).pvalue > FALSE_ALARM


@every_prior
@every_latent
def test_temperature_zero_takes_the_most_probable_value_given_those_before(name, latent):
    prior = prior_of(name, latent)
    drawn = prior.sample(7, generator=torch.Generator().manual_seed(0), temperature=0.0).double()
    assert torch.equal(drawn, drawn[:1].expand_as(drawn))
    with torch.no_grad():
        assert torch.equal(latent.most_probable(prior(drawn)), drawn)
    if prior.is_factorised and name != "uniform":
        codes = all_codes(latent)
        assert torch.equal(drawn[0], codes[prior.log_prob(codes).argmax()])


@every_prior
@every_latent
def test_every_row_has_its_own_temperature_and_noise(name, latent):
    prior = prior_of(name, latent).float()
    standard = noise.draw(latent.noise, (6, *latent.shape), torch.Generator().manual_seed(2))
    temperatures = torch.tensor([0.0, 0.3, 1.0, 1.0, 3.0, 50.0])
    together = prior.codes_of_noise(standard, temperatures)
    assert not together.requires_grad
    for row in range(6):
        alone = prior.codes_of_noise(standard[row : row + 1], float(temperatures[row]))
        assert torch.equal(together[row], alone[0])


@every_prior
def test_the_same_generator_draws_the_same_codes_and_another_others(name):
    prior = prior_of(name, BITS)
    first, again, other = (prior.sample(64, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (64, 4)
    assert first.dtype == torch.float64
    single = prior.float().sample(64, generator=torch.Generator().manual_seed(3))
    assert single.dtype == torch.float32
    assert torch.equal(single, first.float())


@pytest.mark.parametrize("temperature", [-0.1, math.nan])
def test_a_temperature_below_zero_is_refused(temperature):
    with pytest.raises(ValueError, match=f"temperature: expected 0 or more, got {temperature}"):
        UniformPrior(BITS).sample(1, generator=torch.Generator(), temperature=temperature)


def test_the_autoregressive_prior_learns_that_some_codes_never_occur_and_the_factorised_one_cannot():
    # The last bit is the parity of the others: 8 of 16 codes, ln 8 nats, and every bit fair by itself.
    codes = all_codes(BITS).float()
    codes = codes[codes.sum(dim=1) % 2 == 0]
    torch.manual_seed(0)
    losses = {}
    for prior in (FactorisedPrior(BITS), AutoregressivePrior(BITS, (32, 32))):
        optimizer = torch.optim.Adam(prior.parameters(), lr=0.02)
        for _ in range(300):
            optimizer.zero_grad()
            loss = -prior.log_prob(codes).mean()
            loss.backward()
            optimizer.step()
        losses[prior.name] = loss.item()
    assert losses["factorised"] == pytest.approx(4 * math.log(2), abs=1e-5)
    assert losses["autoregressive"] == pytest.approx(math.log(8), abs=0.02)


@pytest.mark.parametrize("latent", [BITS, LONGER], ids=words)
def test_the_kl_at_a_code_varies_less_than_the_sampled_one(latent):
    prior, codes = prior_of("autoregressive", latent), all_codes(latent)
    logits = random_logits(latent, 1)
    weights = log_posterior(latent, logits)[0].exp()
    repeated = logits.expand(len(codes), *latent.shape)

    def variance(estimate):
        return (weights * (estimate - (weights * estimate).sum()) ** 2).sum()

    assert variance(prior.kl(repeated, codes).sum(dim=-1)) < 0.7 * variance(sampled_kl(prior, repeated, codes))


class PriorGraph(torch.nn.Module):
    """Keeps the name of the output, `logits`, apart from the parameter of that name."""

    def __init__(self, prior):
        super().__init__()
        self.prior = prior

    def forward(self, codes):
        return self.prior(codes)


@pytest.mark.filterwarnings("ignore::FutureWarning:typing_extensions", "ignore::FutureWarning:copyreg")
@pytest.mark.filterwarnings("ignore:# The axis name. batch will not be used:UserWarning")
@pytest.mark.parametrize("name", ["factorised", "autoregressive"])
@pytest.mark.parametrize("latent", [BITS, LONGER], ids=words)
def test_a_graph_of_the_logits_draws_the_codes_that_the_model_draws(name, latent, tmp_path):
    prior = prior_of(name, latent).float()
    torch.onnx.export(
        PriorGraph(prior).eval(),
        (torch.zeros(2, *latent.shape),),
        tmp_path / "prior.onnx",
        dynamo=True,
        input_names=["codes"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "prior.onnx", providers=["CPUExecutionProvider"])
    standard = noise.draw(latent.noise, (50, *latent.shape), torch.Generator().manual_seed(9))
    codes = np.zeros((50, *latent.shape), np.float32)
    for n in range(latent.num_latents):
        (logits,) = session.run(["logits"], {"codes": codes})
        scores = logits[:, n] + 0.8 * standard[:, n].numpy()
        codes[:, n] = scores > 0 if latent.kind == "binary" else np.eye(3)[scores.argmax(axis=1)]
    np.testing.assert_array_equal(codes, prior.codes_of_noise(standard, 0.8))


@every_prior
def test_a_checkpoint_holds_what_is_learned_and_nothing_else(name):
    prior = prior_of(name, CATEGORIES)
    state = prior.state_dict()
    assert set(state) == {parameter for parameter, _ in prior.named_parameters()}
    other = prior_of(name, CATEGORIES, seed=1)
    other.load_state_dict(state)
    codes = all_codes(CATEGORIES)
    assert torch.equal(other.log_prob(codes), prior.log_prob(codes))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "gaussian"}, "uniform.*factorised.*autoregressive"),
        ({"hidden": [64]}, r"hidden: expected nothing, since 'uniform' has no network, got \[64\]"),
        ({"name": "autoregressive", "hidden": []}, r"hidden: expected one or more widths of at least 1, got \[\]"),
        ({"name": "autoregressive", "hidden": [64, 0]}, "hidden: expected one or more widths of at least 1"),
    ],
    ids=str,
)
def test_sections_that_name_no_prior_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        TypeAdapter(PriorConfig).validate_python(table)


def test_the_section_resolves_to_a_whole_prior():
    assert TypeAdapter(PriorConfig).validate_python({"name": "autoregressive"}).hidden == (512,)
    assert TypeAdapter(PriorConfig).validate_python({"name": "autoregressive", "hidden": [8, 9]}).hidden == (8, 9)
    assert PriorConfig().hidden is None
    assert {name: law.name for name, law in PRIORS.items()} == {name: name for name in PRIORS}


def test_a_network_too_narrow_for_every_dependence_is_refused():
    AutoregressivePrior(LatentConfig(num_latents=9), (8,))
    with pytest.raises(ValueError, match=r"hidden: expected one or more widths of at least 8, .*got \[16, 7\]"):
        AutoregressivePrior(LatentConfig(num_latents=9), (16, 7))


@pytest.mark.parametrize(("num_variables", "width"), [(2, 1), (9, 8), (9, 20), (5, 512)])
def test_every_earlier_variable_reaches_every_later_one(num_variables, width):
    network = Made(num_variables, 2, (width, width))
    first, second, last = (layer.mask for layer in network.layers[::2])
    reaches = (last @ second @ first > 0).reshape(num_variables, 2, num_variables, 2)
    expected = torch.ones(num_variables, num_variables).tril(diagonal=-1).bool()
    assert torch.equal(reaches.any(dim=3).any(dim=1), expected)
    assert torch.equal(reaches.all(dim=3).all(dim=1), expected)
