"""Where a method is exact it is so without any error: expectations are taken over every code, not over draws."""

import itertools

import pytest
import torch
from estimator_cases import (
    BITS,
    LATENTS,
    ONE,
    LinearCost,
    NetworkCost,
    QuadraticCost,
    Recorded,
    by_kind,
    by_name,
    draw,
    exact,
    expectation_over_codes,
    posterior,
    random_logits,
)
from tiny_vae import all_codes, standard_errors

from training.estimators import (
    Arm,
    DisArm,
    Exact,
    GappedStraightThrough,
    MuProp,
    ReinforceLeaveOneOut,
    ReinMax,
    StraightThrough,
)
from training.latents import LatentConfig

FALSE_ALARM = 1e-4


def relative_error(estimator, latent, cost, tau=1.0):
    logits = random_logits(latent)
    wanted = exact(latent, logits, cost).logits
    return float(
        (expectation_over_codes(estimator, latent, logits, cost, tau=tau * ONE) - wanted).norm() / wanted.norm()
    )


class MultilinearCost(LinearCost):
    """A product over latents of linear functions of each: linear in each latent alone, of high degree in them all."""

    def __call__(self, codes):
        weights = self.weights.reshape(self.latent.shape)
        each = codes * weights if self.latent.kind == "binary" else (codes * weights).sum(dim=-1)
        return (0.5 + each).prod(dim=-1)


class CubicCost(LinearCost):
    def __call__(self, codes):
        return super().__call__(codes) ** 3


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("cost", [LinearCost, MultilinearCost])
def test_straight_through_over_the_mean_is_exact_for_costs_linear_in_each_latent(latent, cost):
    assert relative_error(StraightThrough(), latent, cost(latent)) < 1e-13


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("cost", [LinearCost, MultilinearCost, QuadraticCost])
def test_reinmax_at_temperature_one_is_exact_for_costs_quadratic_in_each_latent(latent, cost):
    assert relative_error(ReinMax(), latent, cost(latent)) < 1e-13


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_neither_is_exact_beyond_its_order_nor_at_another_temperature(latent):
    assert relative_error(StraightThrough(), latent, QuadraticCost(latent)) > 0.01
    assert relative_error(ReinMax(), latent, CubicCost(latent)) > 0.01
    assert relative_error(ReinMax(), latent, LinearCost(latent), tau=1.3) > 0.01
    assert relative_error(StraightThrough(backward_temperature=1.3), latent, LinearCost(latent)) > 0.01


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_muprop_is_exact_in_every_draw_for_a_cost_that_is_linear_in_the_code(latent, num_samples):
    logits, cost = random_logits(latent), LinearCost(latent)
    draws = draw(MuProp(num_samples=num_samples), latent, logits, cost, num_draws=64).logits
    wanted = exact(latent, logits, cost).logits
    torch.testing.assert_close(draws, wanted.expand_as(draws), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("cost", [QuadraticCost, CubicCost, MultilinearCost])
@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_muprop_is_exact_in_expectation_for_any_cost(latent, cost):
    # One code a draw, and the point of expansion is no draw: no luck decides.
    logits, cost = random_logits(latent), cost(latent)
    got = expectation_over_codes(MuProp(), latent, logits, cost)
    torch.testing.assert_close(got, exact(latent, logits, cost).logits, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_exact_estimator_agrees_with_the_definition(latent):
    logits, cost = random_logits(latent), NetworkCost(latent, 1)
    for got, wanted in zip(draw(Exact(), latent, logits, cost, num_draws=1), exact(latent, logits, cost), strict=True):
        torch.testing.assert_close(got.flatten(), wanted.flatten(), rtol=1e-13, atol=1e-14)


def gradients_by_code(estimator, latent, logits, cost, tau):
    """The gradient of the logits for each code, for an estimator that is a function of its code."""
    recorded = Recorded(cost)
    draws = draw(estimator, latent, logits, recorded, num_draws=2048, tau=tau)
    indices = latent.indices(recorded.seen[0])
    return {tuple(code): gradient for code, gradient in zip(indices.tolist(), draws.logits, strict=True)}


@pytest.mark.parametrize("estimator", [StraightThrough(), ReinMax(), GappedStraightThrough()], ids=by_name)
@pytest.mark.parametrize("tau", [1.0, 1.6])
def test_a_bit_is_a_variable_of_two_categories_of_which_the_cost_sees_one(estimator, tau):
    pairs = LatentConfig(kind="categorical", num_latents=BITS.num_latents, num_categories=2)
    logits, cost = random_logits(BITS), QuadraticCost(BITS)
    both = torch.stack([torch.zeros_like(logits), logits], dim=-1)
    of_bits = gradients_by_code(estimator, BITS, logits, cost, tau * ONE)
    of_pairs = gradients_by_code(estimator, pairs, both, lambda codes: cost(codes[..., 1]), tau * ONE)
    assert len(of_bits) == len(of_pairs) == 8
    for code, gradient in of_bits.items():
        torch.testing.assert_close(of_pairs[code].reshape(-1, 2)[:, 1], gradient, rtol=1e-12, atol=1e-13)
        # A softmax does not change when all its logits move alike.
        torch.testing.assert_close(
            of_pairs[code].reshape(-1, 2).sum(dim=1), torch.zeros(3).double(), atol=1e-13, rtol=0
        )


def law_of_pairs(logits):
    """Probability of each joint outcome of `[logit + e > 0]`, `[logit - e > 0]` with e logistic: {(b, b'): p} a bit."""
    laws = []
    for logit in logits.flatten().tolist():
        small = torch.sigmoid(torch.tensor(-abs(logit), dtype=torch.float64)).item()
        agreeing = (1, 1) if logit > 0 else (0, 0)
        laws.append({agreeing: 1 - 2 * small, (1, 0): small, (0, 1): small})
    return laws


def test_disarm_is_exact_in_expectation_over_its_pairs_of_codes():
    # Given the pair nothing in it is random, and the joint law of the pair is known in closed form: no draw decides.
    logits, recorded = random_logits(BITS), Recorded(QuadraticCost(BITS))
    draws = draw(DisArm(), BITS, logits, recorded, num_draws=4096)
    (seen,) = recorded.seen
    total = torch.zeros(3, dtype=torch.float64)
    for outcome in itertools.product(*(law.items() for law in law_of_pairs(logits))):
        first, second = (torch.tensor([pair[side] for pair, _ in outcome]) for side in (0, 1))
        where = (seen[0, 0] == first).all(dim=1) & (seen[1, 0] == second).all(dim=1)
        gradients = draws.logits[where]
        assert len(gradients) > 0, "a pair was never drawn: more draws are needed"
        torch.testing.assert_close(gradients, gradients[:1].expand_as(gradients), rtol=1e-12, atol=1e-13)
        total += torch.tensor([probability for _, probability in outcome]).double().prod() * gradients[0]
    torch.testing.assert_close(total, exact(BITS, logits, QuadraticCost(BITS)).logits, rtol=1e-6, atol=1e-7)


def test_disarm_is_arm_averaged_given_the_pair_of_codes():
    logits, num_draws = random_logits(BITS), 200_000
    recorded = [Recorded(QuadraticCost(BITS)) for _ in range(2)]
    arm, disarm = (
        draw(estimator, BITS, logits, cost, num_draws=num_draws).logits
        for estimator, cost in zip((Arm(), DisArm()), recorded, strict=True)
    )
    assert torch.equal(recorded[0].seen[0], recorded[1].seen[0])
    pairs = recorded[0].seen[0].squeeze(1).permute(1, 0, 2).flatten(start_dim=1)
    outcomes = pairs.unique(dim=0)
    allowed = standard_errors(FALSE_ALARM, num_comparisons=len(outcomes) * 3)
    for outcome in outcomes:
        where = (pairs == outcome).all(dim=1)
        error = arm[where].std(dim=0) / where.sum() ** 0.5
        assert ((arm[where].mean(dim=0) - disarm[where][0]).abs() <= allowed * error + 1e-12).all()
    assert (disarm.var(dim=0) < arm.var(dim=0)).all()


@pytest.mark.parametrize(
    ("few", "many"),
    [(Arm(), Arm(num_pairs=8)), (DisArm(), DisArm(num_pairs=8))],
    ids=["arm", "disarm"],
)
def test_eight_pairs_have_an_eighth_of_the_variance_of_one(few, many):
    logits, cost = random_logits(BITS), QuadraticCost(BITS)
    one, eight = (
        draw(estimator, BITS, logits, cost, num_draws=50_000).logits.var(dim=0).sum() for estimator in (few, many)
    )
    assert 7 < one / eight < 9


def test_the_leave_one_out_baseline_is_the_mean_of_the_other_costs():
    # Against the definition, sample by sample.
    latent, num_samples = LATENTS[1], 5
    logits, cost = random_logits(latent).requires_grad_(), QuadraticCost(latent)
    recorded = Recorded(cost)
    estimate = ReinforceLeaveOneOut(num_samples=num_samples)(
        posterior(logits, latent), recorded, relaxation_temperature=ONE, generator=torch.Generator().manual_seed(0)
    )
    (gradient,) = torch.autograd.grad(estimate.surrogate.sum(), logits)
    codes = recorded.seen[0]
    costs = cost(codes).flatten()
    expected = torch.zeros_like(logits)
    for sample in range(num_samples):
        others = [costs[other] for other in range(num_samples) if other != sample]
        score = codes[sample] - torch.softmax(logits, dim=-1)
        expected += (costs[sample] - sum(others) / len(others)) * score / num_samples
    torch.testing.assert_close(gradient, expected.detach())
    torch.testing.assert_close(estimate.cost, costs.mean().reshape(1))


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_every_code_of_a_cost_with_one_latent_pays_straight_through_its_own_slope(latent):
    # The gradient of straight-through is the Jacobian of the mean times the slope of the cost at the code.
    logits, cost = random_logits(latent), QuadraticCost(latent)
    rows = logits.clone().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda x: latent.law(x).mean.flatten(), rows).flatten(start_dim=1)
    for code, gradient in gradients_by_code(StraightThrough(), latent, logits, cost, ONE).items():
        at = latent.from_indices(torch.tensor([code])).double().requires_grad_()
        (slope,) = torch.autograd.grad(cost(at).sum(), at)
        torch.testing.assert_close(gradient, slope.flatten() @ jacobian)
    assert len(all_codes(latent)) == len(gradients_by_code(StraightThrough(), latent, logits, cost, ONE))
