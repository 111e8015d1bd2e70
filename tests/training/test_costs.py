import pytest
import torch
from tiny_vae import BITS, LATENTS, NUM_VALUES, all_codes, bits, log_likelihoods, vae

from training.costs import distortion_cost, pairwise_log_likelihood
from training.likelihoods import LIKELIHOODS, LikelihoodConfig, build_likelihood
from training.model import DiscreteVAE
from training.networks import MlpConfig


def by_kind(latent):
    return latent.kind


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_codes_cost_what_each_costs_alone_however_many_samples_there_are(latent):
    model, inputs = vae(latent), bits(3)
    generator = torch.Generator().manual_seed(0)
    indices = torch.randint(latent.num_categories, (2, 5, 3, latent.num_latents), generator=generator)
    codes = latent.from_indices(indices).double()
    got = distortion_cost(model, inputs)(codes)
    assert got.shape == (2, 5, 3)
    for first in range(2):
        for second in range(5):
            alone = -model.log_likelihood(inputs, codes[first, second])
            torch.testing.assert_close(got[first, second], alone)
            torch.testing.assert_close(distortion_cost(model, inputs)(codes[first, second]), alone)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("num_rows", [1, 4])
def test_a_code_for_every_row_is_decoded_once_and_costs_each_row_its_own(latent, num_rows):
    model, inputs = vae(latent), bits(num_rows)
    decoded = []
    model.decoder.register_forward_hook(lambda module, args, output: decoded.append(len(output)))
    got = distortion_cost(model, inputs)(all_codes(latent).unsqueeze(1))
    assert sum(decoded) == len(all_codes(latent))
    torch.testing.assert_close(got, -log_likelihoods(model, inputs).T)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("num_rows", [1, 3, 5000])
def test_pairs_cost_the_same_together_as_one_by_one_under_every_likelihood(name, num_rows):
    # 5,000 rows are more than are paired at once.
    model = DiscreteVAE(
        BITS,
        MlpConfig(hidden=(5,)),
        (NUM_VALUES,),
        torch.full((NUM_VALUES,), 0.4),
        likelihood=LikelihoodConfig(name=name),
    ).double()
    inputs, outputs = bits(num_rows), model.decoder(all_codes(BITS)[:3])
    got = pairwise_log_likelihood(model.likelihood, outputs, inputs)
    assert got.shape == (3, num_rows)
    for code in range(3):
        alone = model.likelihood.log_prob(outputs[code].expand(num_rows, -1), inputs)
        torch.testing.assert_close(got[code], alone)


def test_a_relaxed_value_of_one_row_is_not_taken_for_a_code_of_all():
    model, inputs = vae(BITS), bits(1)
    relaxed = torch.rand(1, *BITS.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert distortion_cost(model, inputs)(relaxed).shape == (1,)


def test_gradients_reach_the_decoder_and_the_codes_through_pairs():
    likelihood = build_likelihood(LikelihoodConfig(name="gaussian"), (NUM_VALUES,)).double()
    outputs = torch.randn(2, NUM_VALUES, dtype=torch.float64).requires_grad_()
    torch.autograd.gradcheck(lambda each: pairwise_log_likelihood(likelihood, each, bits(3)), outputs)
