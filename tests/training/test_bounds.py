import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chi2
from tiny_vae import (
    LATENTS,
    NUM_VALUES,
    all_codes,
    bits,
    exact_negative_elbo,
    exact_nll,
    log_likelihoods,
    log_posterior,
    log_prior,
    standard_errors,
    vae,
)
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from training.bounds import distortion, draw_samples, importance_weighted, sample_codes, streamed_log_means
from training.latents import LatentConfig

FALSE_ALARM = 1e-4


def by_kind(latent):
    return latent.kind


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def sampling(seed=0, chunk_size=4096):
    return {"generator": torch.Generator().manual_seed(seed), "chunk_size": chunk_size}


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_distortion_is_an_unbiased_estimate_of_the_expectation_by_enumeration(latent):
    num_repeats = 4_000
    model, inputs = vae(latent), bits(3)
    repeated = inputs.repeat_interleave(num_repeats, dim=0)
    draws = distortion(model, repeated, model.encoder(repeated), num_samples=5, **sampling()).reshape(3, num_repeats)
    exact = -(log_posterior(model, inputs).exp() * log_likelihoods(model, inputs)).sum(dim=1)
    error = draws.std(dim=1) / num_repeats**0.5
    assert ((draws.mean(dim=1) - exact).abs() < standard_errors(FALSE_ALARM, 3) * error).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_one_importance_sample_is_an_unbiased_estimate_of_the_negative_elbo(latent):
    num_repeats = 20_000
    model, inputs = vae(latent), bits(3)
    repeated = inputs.repeat_interleave(num_repeats, dim=0)
    (draws,) = importance_weighted(model, repeated, model.encoder(repeated), num_samples=[1], **sampling())
    draws = draws.reshape(3, num_repeats)
    error = draws.std(dim=1) / num_repeats**0.5
    difference = draws.mean(dim=1) - exact_negative_elbo(model, inputs)
    assert (difference.abs() < standard_errors(FALSE_ALARM, 3) * error).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_two_importance_samples_are_an_unbiased_estimate_of_their_bound_by_enumeration(latent):
    # E of -log((w1 + w2) / 2) over all pairs of codes, each with its probability.
    num_repeats = 20_000
    model, inputs = vae(latent), bits(2)
    log_q = log_posterior(model, inputs)
    log_weights = log_likelihoods(model, inputs) + log_prior(model) - log_q
    pairs = torch.logaddexp(log_weights.unsqueeze(1), log_weights.unsqueeze(2)) - math.log(2)
    exact = -((log_q.unsqueeze(1) + log_q.unsqueeze(2)).exp() * pairs).sum(dim=(1, 2))

    repeated = inputs.repeat_interleave(num_repeats, dim=0)
    (draws,) = importance_weighted(model, repeated, model.encoder(repeated), num_samples=[2], **sampling(seed=1))
    draws = draws.reshape(2, num_repeats)
    error = draws.std(dim=1) / num_repeats**0.5
    assert ((draws.mean(dim=1) - exact).abs() < standard_errors(FALSE_ALARM, 2) * error).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_importance_weight_averages_to_the_exact_likelihood(latent):
    # E_q[p(x|z) p(z) / q(z|x)] = p(x) whatever q is.
    num_samples = 100_000
    model, inputs = vae(latent), bits(3)
    log_ratio = exact_nll(model, inputs)
    (bound,) = importance_weighted(model, inputs, model.encoder(inputs), num_samples=[num_samples], **sampling())
    log_q, log_joint = log_posterior(model, inputs), log_likelihoods(model, inputs) + log_prior(model)
    # The exact variance of a weight over p(x), by enumeration.
    variance = ((2 * (log_joint + log_ratio.unsqueeze(1)) - log_q).exp()).sum(dim=1) - 1
    error = (variance / num_samples).sqrt()
    assert ((torch.exp(log_ratio - bound) - 1).abs() < standard_errors(FALSE_ALARM, 3) * error).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_more_importance_samples_tighten_the_bound_towards_the_exact_nll(latent):
    num_repeats, counts = 3_000, [1, 4, 16, 64]
    model, inputs = vae(latent), bits(1)
    repeated = inputs.expand(num_repeats, -1)
    bounds = importance_weighted(model, repeated, model.encoder(repeated), num_samples=counts, **sampling())
    means = [float(bound.mean()) for bound in bounds]
    # The bounds share their samples, so it is their differences whose errors count.
    allowed = standard_errors(FALSE_ALARM, len(counts))
    for looser, tighter in pairwise(bounds):
        gained = looser - tighter
        assert float(gained.mean()) > -allowed * float(gained.std()) / num_repeats**0.5
    nll = float(exact_nll(model, inputs))
    assert means[-1] > nll - allowed * float(bounds[-1].std()) / num_repeats**0.5
    assert means[-1] - nll < (means[0] - nll) / 5


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_each_bound_takes_the_first_of_the_samples_that_the_largest_takes(latent):
    model, inputs = vae(latent), bits(4)
    logits = model.encoder(inputs)
    (largest,) = importance_weighted(model, inputs, logits, num_samples=[30], **sampling())
    beside = importance_weighted(model, inputs, logits, num_samples=[7, 30, 1], **sampling())
    torch.testing.assert_close(beside[1], largest, rtol=0, atol=0)
    assert (beside[2] != beside[0]).all()


@pytest.mark.parametrize("chunk_size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_samples_are_drawn_from_the_posterior_in_chunks_of_any_size(latent, chunk_size):
    num_samples = 3_000 if chunk_size > 1 else 300
    model, inputs = vae(latent), bits(2)
    chunks = list(
        draw_samples(model, inputs, model.encoder(inputs), num_samples=num_samples, **sampling(3, chunk_size))
    )
    assert sum(chunk.codes.shape[1] for chunk in chunks) == num_samples
    assert all(chunk.codes.shape[1] * len(inputs) <= max(chunk_size, len(inputs)) for chunk in chunks)
    codes = torch.cat([chunk.codes for chunk in chunks], dim=1)
    log_likelihood = torch.cat([chunk.log_likelihood for chunk in chunks], dim=1)

    every = all_codes(latent)
    which = (codes.unsqueeze(2) == every).flatten(start_dim=3).all(dim=-1).double().argmax(dim=-1)
    torch.testing.assert_close(log_likelihood, log_likelihoods(model, inputs).gather(1, which))
    probabilities = log_posterior(model, inputs).exp()
    frequencies = torch.stack([torch.bincount(row, minlength=len(every)) for row in which]) / num_samples
    error = (probabilities * (1 - probabilities) / num_samples).sqrt()
    # Beside the normal approximation, up to ten draws: codes too rare for it.
    assert ((frequencies - probabilities).abs() < standard_errors(FALSE_ALARM, 32) * error + 10 / num_samples).all()


@pytest.mark.parametrize("cuts", [[10], [1] * 10, [3, 4, 3], [9, 1], [1, 9]])
def test_streamed_means_are_those_of_all_values_at_once_however_they_are_cut(cuts):
    values = 300 * torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    counts = [1, 3, 4, 10]
    streamed = streamed_log_means(values.split(cuts, dim=1), counts)
    for count, means in zip(counts, streamed, strict=True):
        expected = logsumexp(values[:, :count].double().numpy(), axis=1) - np.log(count)
        np.testing.assert_allclose(means, expected, rtol=1e-12)


def test_streamed_means_of_values_whose_exponentials_vanish_are_finite():
    values = torch.full((2, 6), -5_000.0)
    (mean,) = streamed_log_means(values.split(2, dim=1), [6])
    np.testing.assert_allclose(mean, -5_000.0)


@pytest.mark.parametrize("counts", [[5], [0, 4]])
def test_counts_that_the_values_do_not_have_are_refused(counts):
    with pytest.raises(ValueError, match="counts: expected values from 1 to 4"):
        streamed_log_means([torch.zeros(2, 4)], counts)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_sampled_codes_have_the_law_of_their_logits_each_latent_on_its_own(latent):
    """Chi-square over every code of the latents together: also that they are independent. Seeded; level 1e-6."""
    num_samples = 50_000
    model, inputs = vae(latent), bits(3)
    logits = model.encoder(inputs)
    codes = sample_codes(latent, logits, num_samples, torch.Generator().manual_seed(4))
    assert codes.dtype == logits.dtype
    every = latent.indices(all_codes(latent))
    drawn = latent.indices(codes.flatten(end_dim=1)).unflatten(0, (3, num_samples))
    counts = (drawn.unsqueeze(2) == every).all(dim=-1).sum(dim=1)
    assert (counts.sum(dim=1) == num_samples).all()
    expected = num_samples * log_posterior(model, inputs).exp()
    often = expected > 5
    statistic = ((counts - expected) ** 2 / expected)[often].sum()
    assert statistic < chi2.isf(1e-6, int(often.sum()))


def test_a_category_without_probability_is_never_sampled_and_a_certain_one_always():
    logits = torch.tensor([[[50.0, -50.0, -50.0], [-80.0, -80.0, 80.0]]], dtype=torch.float64)
    codes = sample_codes(LatentConfig(kind="categorical", num_latents=2, num_categories=3), logits, 10_000, generator())
    assert (codes.argmax(dim=-1) == torch.tensor([0, 2])).all()
    bits_of = sample_codes(
        LatentConfig(kind="binary", num_latents=2), torch.tensor([[90.0, -90.0]]), 10_000, generator()
    )
    assert (bits_of == torch.tensor([1.0, 0.0])).all()


def generator():
    return torch.Generator().manual_seed(0)


class MemoryInUse(TorchDispatchMode):
    """Follows every tensor that comes into being until it is freed: the values of the largest, and the most bytes that
    were alive at once."""

    def __init__(self):
        super().__init__()
        self.largest = self.most_bytes = 0
        self._alive = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.largest = max(self.largest, storage.nbytes() // tensor.element_size())
                reference = StorageWeakRef(storage)
                self._alive[reference.cdata] = (reference, storage.nbytes())
        self._alive = {key: entry for key, entry in self._alive.items() if not entry[0].expired()}
        self.most_bytes = max(self.most_bytes, sum(size for _, size in self._alive.values()))
        return result


def test_what_is_kept_of_every_chunk_is_seen_as_memory_that_grows():
    kept, most = [], []
    for count in (10, 20):
        with MemoryInUse() as seen:
            kept = [torch.ones(100) + 1 for _ in range(count)]
        most.append(seen.most_bytes)
    assert most[1] >= 2 * len(kept) * 100
    assert most[1] >= 1.8 * most[0]


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_memory_does_not_grow_with_the_number_of_importance_samples(latent):
    model, inputs = vae(latent), bits(40)
    logits = model.encoder(inputs)
    seen = {}
    for num_samples in (64, 640, 6_400):
        with MemoryInUse() as seen[num_samples]:
            importance_weighted(model, inputs, logits, num_samples=[num_samples], **sampling(chunk_size=64))
    assert seen[6_400].largest == seen[640].largest == seen[64].largest
    # From the second chunk on the one before may still be there; more there may never be, however many come.
    assert seen[6_400].most_bytes == seen[640].most_bytes
    # What a chunk of 64 codes needs and no more: hidden units, outputs or one-hot codes.
    assert seen[6_400].largest <= 64 * max(NUM_VALUES, math.prod(latent.shape), 5) * 2
