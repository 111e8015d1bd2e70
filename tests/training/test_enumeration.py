import pytest
import torch
from estimator_cases import LATENTS, NetworkCost, by_kind, random_logits
from tiny_vae import all_codes

from training.enumeration import check_enumerable, code_chunks, expectation, is_enumerable, log_law, num_codes
from training.errors import ConfigError
from training.latents import LatentConfig

LIKE = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("chunk_size", [1, 3, 8, 9, 1000])
def test_every_code_comes_once_in_order_whatever_the_chunks(latent, chunk_size):
    chunks = list(code_chunks(latent, chunk_size=chunk_size, like=LIKE))
    assert all(len(chunk) <= chunk_size for chunk in chunks)
    assert torch.equal(torch.cat(chunks), all_codes(latent))
    assert len(torch.cat(chunks)) == num_codes(latent)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_codes_have_the_dtype_asked_for(dtype):
    (codes,) = code_chunks(LATENTS[1], like=torch.zeros((), dtype=dtype))
    assert codes.dtype == dtype


def test_two_to_the_sixteenth_codes_are_enumerated_and_one_bit_more_is_refused():
    latent = LatentConfig(num_latents=16)
    chunks = list(code_chunks(latent, like=LIKE))
    assert sum(map(len, chunks)) == 65_536
    assert chunks[-1][-1].tolist() == [1.0] * 16
    larger = LatentConfig(num_latents=17)
    assert is_enumerable(latent)
    assert not is_enumerable(larger)
    with pytest.raises(ConfigError, match="17 latents of 2 values have 2\\^17 codes"):
        check_enumerable(larger)
    with pytest.raises(ConfigError):
        next(code_chunks(larger, like=LIKE))


@pytest.mark.parametrize("num_categories", [2, 3, 4, 8, 16, 255, 256, 257, 65_536])
def test_the_number_of_latents_that_the_refusal_names_is_the_greatest_that_fits(num_categories):
    def latent(num_latents):
        return LatentConfig(kind="categorical", num_latents=num_latents, num_categories=num_categories)

    with pytest.raises(ConfigError) as refused:
        check_enumerable(latent(100))
    most = int(str(refused.value).rsplit("that is ", 1)[1].split()[0])
    assert is_enumerable(latent(most))
    assert not is_enumerable(latent(most + 1))


def test_sizes_beyond_any_machine_are_refused_and_not_computed():
    with pytest.raises(ConfigError, match="200 latents of 2 values"):
        check_enumerable(LatentConfig(num_latents=200))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_the_law_is_that_of_torch_distributions_and_sums_to_one(latent, scale):
    logits, codes = random_logits(latent, 5, scale=scale), all_codes(latent)
    got = log_law(logits, codes, latent)
    expected = torch.stack([latent.law(logits).log_prob(code.expand_as(logits)).sum(dim=-1) for code in codes])
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got.exp().sum(dim=0), torch.ones(5).double())


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("chunk_size", [2, 5])
def test_chunks_change_neither_the_expectation_nor_its_gradients(latent, chunk_size):
    results = []
    for size in (1000, chunk_size):
        logits, cost = random_logits(latent, 4).requires_grad_(), NetworkCost(latent, 4)
        value = expectation(cost, logits, latent, chunk_size=size)
        results.append((value.detach(), *torch.autograd.grad(value.sum(), [logits, cost.bias])))
    for whole, split in zip(*results, strict=True):
        torch.testing.assert_close(split, whole)


def test_the_activations_of_the_cost_are_not_kept_for_the_gradient_where_there_are_chunks():
    latent = LatentConfig(num_latents=8)
    logits, inner = random_logits(latent).requires_grad_(), torch.randn(8, 200, dtype=torch.float64)
    saved = []

    def pack(tensor):
        saved.append(tensor.numel())
        return tensor

    scale = torch.ones(8, dtype=torch.float64, requires_grad=True)

    def cost(codes):
        return torch.tanh((codes * scale) @ inner).sum(dim=-1)

    totals = []
    for chunk_size in (1000, 32):
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            expectation(cost, logits, latent, chunk_size=chunk_size)
        totals.append(sum(saved))
    assert totals[0] > 256 * 200
    assert totals[1] < 256 * 200 / 5
