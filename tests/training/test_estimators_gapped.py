import pytest
import torch
from estimator_cases import LATENTS, ONE, QuadraticCost, by_kind, draw, random_logits
from tiny_vae import all_codes

from training.estimators import GappedStraightThrough, StraightThroughGumbel
from training.estimators.gapped import gapped_logits


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("gap", [0.1, 1.0, 5.0])
def test_moved_logits_have_the_code_as_their_most_probable_one_ahead_by_the_gap(latent, gap):
    codes = all_codes(latent)
    moved = gapped_logits(latent, random_logits(latent, len(codes), scale=3), codes, gap)
    assert torch.equal(latent.most_probable(moved), codes)
    assert (latent.margins(moved) >= gap - 1e-12).all()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_logits_that_agree_with_the_code_already_are_not_moved(latent):
    logits = random_logits(latent, 500, scale=3)
    codes = latent.most_probable(logits)
    far_ahead = (latent.margins(logits) >= 1).reshape(-1)
    moved = gapped_logits(latent, logits, codes, 1.0)
    flat = (-1,) if latent.kind == "binary" else (-1, latent.num_categories)
    assert far_ahead.any()
    assert torch.equal(moved.reshape(flat)[far_ahead], logits.reshape(flat)[far_ahead])


def test_the_move_is_that_of_the_paper():
    # m1 lifts the code's logit to the greatest; m2 lowers each other one that is not `gap` below that.
    latent, gap = LATENTS[1], 1.0
    codes = all_codes(latent)
    logits = random_logits(latent, len(codes), scale=2)
    for row_logits, row_codes, row in zip(logits, codes, gapped_logits(latent, logits, codes, gap), strict=True):
        for variable, one_hot, moved in zip(row_logits, row_codes, row, strict=True):
            chosen, best = int(one_hot.argmax()), float(variable.max())
            for category, logit in enumerate(variable.tolist()):
                m1 = best - logit if category == chosen else 0.0
                m2 = max(0.0, logit + gap - best) if category != chosen else 0.0
                assert moved[category].item() == pytest.approx(logit + m1 - m2, abs=1e-12)


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_variance_is_below_that_of_straight_through_gumbel(latent):
    logits, cost = random_logits(latent), QuadraticCost(latent)
    gapped, gumbel = (
        draw(estimator, latent, logits, cost, num_draws=20_000, tau=0.3 * ONE).logits.var(dim=0).sum()
        for estimator in (GappedStraightThrough(), StraightThroughGumbel())
    )
    assert gapped < gumbel
