import math

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from scipy.stats import entropy

from training.code_usage import MARGIN_EDGES, CodeUsageCounter, entropy_bits
from training.latents import LatentConfig

BITS = LatentConfig(kind="binary", num_latents=3)
CATEGORIES = LatentConfig(kind="categorical", num_latents=2, num_categories=4)


def usage_of(latent, *batches):
    counter = CodeUsageCounter(latent)
    for batch in batches:
        counter.add(torch.as_tensor(batch, dtype=torch.float32))
    return counter.usage()


def one_hot_logits(codes, scale=50.0):
    return scale * (2 * np.eye(4)[np.array(codes)] - 1)


def test_entropy_is_that_of_scipy_and_zero_times_log_zero_is_zero():
    frequencies = np.random.default_rng(0).dirichlet(np.ones(5), size=(3, 2))
    frequencies[0, 0] = [1, 0, 0, 0, 0]
    np.testing.assert_allclose(entropy_bits(frequencies), entropy(frequencies, base=2, axis=-1), atol=1e-15)


def test_the_aggregate_posterior_is_the_mean_of_the_posteriors():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(40, 3)).astype(np.float32)
    ones = expit(logits.astype(np.float64)).mean(axis=0)
    np.testing.assert_allclose(usage_of(BITS, logits).aggregate_posterior, np.stack([1 - ones, ones], -1), rtol=1e-6)
    logits = rng.normal(size=(40, 2, 4)).astype(np.float32)
    expected = softmax(logits.astype(np.float64), axis=-1).mean(axis=0)
    np.testing.assert_allclose(usage_of(CATEGORIES, logits).aggregate_posterior, expected, rtol=1e-6)


@pytest.mark.parametrize("latent", [BITS, CATEGORIES], ids=lambda latent: latent.kind)
def test_usage_is_that_of_the_whole_set_however_it_is_cut(latent):
    logits = np.random.default_rng(2).normal(size=(60, *latent.shape)).astype(np.float32)
    whole, cut = usage_of(latent, logits), usage_of(latent, logits[:1], logits[1:50], logits[50:])
    np.testing.assert_allclose(cut.aggregate_posterior, whole.aggregate_posterior, rtol=1e-6)
    np.testing.assert_array_equal(cut.code_frequencies, whole.code_frequencies)
    np.testing.assert_array_equal(np.sort(cut.distinct_counts), np.sort(whole.distinct_counts))
    np.testing.assert_array_equal(cut.margin_counts, whole.margin_counts)


def test_codes_that_use_every_category_equally_have_all_the_perplexity_there_is():
    codes = [(a, b) for a in range(4) for b in range(4)]
    usage = usage_of(CATEGORIES, one_hot_logits(codes))
    np.testing.assert_allclose(usage.code_perplexity, [4, 4])
    np.testing.assert_allclose(usage.aggregate_perplexity, [4, 4])
    assert usage.joint_entropy_bits == pytest.approx(4)
    assert usage.num_dead_categories == 0
    assert len(usage.distinct_counts) == 16


def test_latents_that_copy_each_other_are_seen_in_the_joint_entropy_alone():
    usage = usage_of(CATEGORIES, one_hot_logits([(a, a) for a in range(4)]))
    np.testing.assert_allclose(usage.code_perplexity, [4, 4])
    assert usage.joint_entropy_bits == pytest.approx(2)


def test_a_collapsed_code_has_perplexity_one_and_all_other_categories_dead():
    usage = usage_of(CATEGORIES, one_hot_logits([(2, 0)] * 9))
    np.testing.assert_allclose(usage.code_perplexity, [1, 1])
    assert usage.num_dead_categories == 6
    assert usage.joint_entropy_bits == 0
    assert usage.distinct_counts.tolist() == [9]


def test_a_posterior_that_knows_nothing_uses_all_codes_when_sampled_and_one_when_not():
    usage = usage_of(CATEGORIES, np.zeros((9, 2, 4)))
    np.testing.assert_allclose(usage.aggregate_perplexity, [4, 4])
    np.testing.assert_allclose(usage.code_perplexity, [1, 1])


def test_bits_count_as_variables_of_two_values():
    usage = usage_of(BITS, [[5, 5, -5], [5, -5, -5], [5, 5, -5], [5, -5, -5]])
    np.testing.assert_allclose(usage.code_frequencies, [[0, 1], [0.5, 0.5], [1, 0]])
    np.testing.assert_allclose(usage.code_perplexity, [1, 2, 1])
    assert usage.num_dead_categories == 2
    assert sorted(usage.distinct_counts) == [2, 2]


def test_distinct_codes_are_told_apart_over_many_bytes():
    latent = LatentConfig(kind="binary", num_latents=100)
    rng = np.random.default_rng(3)
    codes = np.unique(rng.integers(0, 2, (50, 100)), axis=0)
    usage = usage_of(latent, 2 * codes.repeat(2, axis=0) - 1)
    assert usage.distinct_counts.tolist() == [2] * len(codes)
    assert usage.joint_entropy_bits == pytest.approx(math.log2(len(codes)))


def test_margins_fall_into_the_bin_that_holds_them():
    usage = usage_of(BITS, [[0.0, -1e-7, 0.5], [2e-6, 20.0, -1e9]])
    assert usage.margin_counts.sum() == 6
    assert usage.share_of_margins_below(1e-6) == pytest.approx(2 / 6)
    assert usage.share_of_margins_below(1e-3) == pytest.approx(3 / 6)
    assert usage.share_of_margins_below(1.0) == pytest.approx(4 / 6)
    assert usage.share_of_margins_below(100.0) == pytest.approx(5 / 6)
    assert len(usage.margin_counts) == len(MARGIN_EDGES) - 1
