import csv
import dataclasses
import io
import json

import pytest
import torch
from tiny_vae import BITS, LATENTS, NUM_VALUES, all_codes, bits, exact_negative_elbo, vae

from training.costs import distortion_cost
from training.errors import ConfigError, EvaluationError
from training.estimators import DisArm, Exact, ReinforceLeaveOneOut, ReinMax, StraightThrough, StraightThroughGumbel
from training.gradient_errors import gradient_errors
from training.gradient_plot import plot
from training.gradient_report import STATISTICS, Contender, GradientReport, default_contenders, gradient_report
from training.latents import LatentConfig
from training.likelihoods import LikelihoodConfig
from training.model import DiscreteVAE
from training.networks import MlpConfig
from training.priors import PriorConfig

NUM_ROWS = 3


def by_kind(latent):
    return latent.kind


def rows_of(report, **wanted):
    return [row for row in report.rows if all(getattr(row, name) == value for name, value in wanted.items())]


def one_row(report, **wanted):
    (row,) = rows_of(report, **wanted)
    return row


@pytest.fixture(scope="module", params=LATENTS, ids=by_kind)
def measured(request):
    """A model, and the report on it at two steps, the second with weights that make its posterior firmer."""
    latent = request.param
    later = vae(latent)
    with torch.no_grad():
        list(later.encoder.parameters())[-2].mul_(3)
    models = [(0, vae(latent)), (500, later)]
    return models, gradient_report(models, bits(NUM_ROWS), num_draws=400, protocol="bits")


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
def test_the_exact_gradient_is_that_of_the_exact_bound_by_the_weights(latent):
    model, inputs = vae(latent), bits(NUM_ROWS)
    contender = Contender("exact", Exact(), 1.0)
    report = gradient_report([(0, model)], inputs, [contender], num_draws=20)
    gradients = torch.autograd.grad(exact_negative_elbo(model, inputs).mean(), list(model.encoder.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
    row = one_row(report, target="encoder_weights", term="negative_elbo")
    assert row.errors.exact_norm == pytest.approx(norm, rel=1e-9)
    for row in report.rows:
        for name in ("squared_bias", "variance", "mean_squared_error"):
            assert getattr(row.errors, name).value == pytest.approx(0, abs=1e-9)
        assert row.errors.cosine.value == pytest.approx(1)


def errors_by_enumeration(model, inputs, weights):
    """Squared bias and variance of straight-through for the gradient of the mean distortion, relative, without draws.

    Given its code, the estimate of a row is a function; rows are independent. With respect to the encoder's outputs,
    or, with `weights`, to all of the encoder's weights.
    """
    codes, latent = all_codes(model.latent), model.latent
    bias, variance, exact = 0.0, 0.0, 0.0
    for row in inputs:
        outputs = model.encoder(row.unsqueeze(0))
        through = list(model.encoder.parameters()) if weights else [outputs]
        cost, q = distortion_cost(model, row.unsqueeze(0)), latent.law(outputs).log_prob
        per_code = []
        for code in codes:
            at = code.unsqueeze(0).clone().requires_grad_()
            (slope,) = torch.autograd.grad(cost(at).sum(), at)
            surrogate = (slope * latent.law(outputs).mean).sum()
            per_code.append(flat_gradient(surrogate, through))
        per_code = torch.stack(per_code)
        probabilities = torch.stack([q(code.unsqueeze(0)).sum().exp() for code in codes])
        with torch.no_grad():
            costs = torch.stack([cost(code.unsqueeze(0)).sum() for code in codes])
        wanted = flat_gradient((probabilities * costs).sum(), through)
        mean = probabilities.detach() @ per_code
        shares = (mean - wanted, wanted) if weights else (pad(mean - wanted, row, inputs), pad(wanted, row, inputs))
        bias, exact = bias + shares[0] / len(inputs), exact + shares[1] / len(inputs)
        variance += (probabilities.detach() @ (per_code - mean).square().sum(dim=1)) / len(inputs) ** 2
    norm = exact.square().sum()
    return (bias.square().sum() / norm).item(), (variance / norm).item()


def flat_gradient(value, through):
    return torch.cat([each.flatten() for each in torch.autograd.grad(value, through, retain_graph=True)])


def pad(gradient, row, inputs):
    """The gradient of one row among those of all."""
    number = int((inputs == row).all(dim=1).nonzero()[0])
    padded = torch.zeros(len(inputs), len(gradient), dtype=gradient.dtype)
    padded[number] = gradient
    return padded.flatten()


@pytest.mark.parametrize("latent", LATENTS, ids=by_kind)
@pytest.mark.parametrize("target", ["latent_logits", "encoder_weights"])
def test_errors_of_straight_through_are_those_that_enumeration_gives(latent, target):
    model, inputs = vae(latent), bits(NUM_ROWS)
    assert len(inputs.unique(dim=0)) == NUM_ROWS
    contender = Contender("st", StraightThrough(), 1.0)
    report = gradient_report([(0, model)], inputs, [contender], num_draws=40_000)
    errors = one_row(report, target=target, term="distortion").errors
    squared_bias, variance = errors_by_enumeration(model, inputs, weights=target == "encoder_weights")
    # Twice the half width of a 95 % interval: one false alarm in 2,000 for each of the eight comparisons.
    for interval, wanted in ((errors.squared_bias, squared_bias), (errors.variance, variance)):
        assert abs(interval.value - wanted) < interval.high - interval.low
        assert interval.high - interval.low < 0.2 * interval.value


def test_estimators_without_bias_show_none_and_those_with_bias_do(measured):
    _, report = measured
    unbiased = {"reinforce_leave_one_out", "muprop", "arm", "disarm"}
    assert {row.estimator for row in report.rows} & unbiased
    for row in report.rows:
        interval = row.errors.squared_bias
        if row.estimator in unbiased:
            # Twice the half width, as above; here zero is the edge of what is possible, and the interval wide.
            assert abs(interval.value) < interval.high - interval.low
            assert row.errors.cosine.high > 0.99
    biased = [row for row in report.rows if row.estimator == "straight_through_gumbel"]
    assert all(row.errors.squared_bias.low > 0 for row in biased)


def test_absolute_errors_are_the_same_for_the_term_and_for_the_whole_bound(measured):
    # What is in closed form moves the gradient and its estimates alike.
    _, report = measured
    for row in rows_of(report, term="distortion"):
        whole = one_row(report, step=row.step, label=row.label, target=row.target, term="negative_elbo")
        scale = (whole.errors.exact_norm / row.errors.exact_norm) ** 2
        for name in ("squared_bias", "variance", "mean_squared_error"):
            assert getattr(row.errors, name).value == pytest.approx(getattr(whole.errors, name).value * scale, rel=1e-6)


def test_every_fitting_estimator_is_reported_at_every_checkpoint(measured):
    models, report = measured
    latent = models[0][1].latent
    labels = [contender.label for contender in default_contenders(latent)]
    for step in (0, 500):
        for target in ("latent_logits", "encoder_weights"):
            for term in ("distortion", "negative_elbo"):
                assert [row.label for row in rows_of(report, step=step, target=target, term=term)] == labels
    assert report.entropies[500] < report.entropies[0]


def test_default_contenders_respect_what_each_estimator_accepts():
    contenders = default_contenders(BITS, temperatures=(0.25, 1.0, 2.0))
    by_name = {}
    for contender in contenders:
        by_name.setdefault(contender.estimator.name, []).append(contender.relaxation_temperature)
    assert by_name["straight_through_gumbel"] == [0.25, 1.0, 2.0]
    assert by_name["reinmax"] == [1.0, 2.0]
    assert by_name["disarm"] == [1.0]
    assert "exact" not in by_name
    assert not {"arm", "disarm"} & {each.estimator.name for each in default_contenders(LATENTS[1])}


def test_the_same_seed_gives_the_same_report_and_another_does_not():
    contenders = [Contender("disarm", DisArm(), 1.0)]
    reports = [
        gradient_report([(0, vae(BITS))], bits(NUM_ROWS), contenders, num_draws=40, seed=seed).to_json()
        for seed in (3, 3, 4)
    ]
    assert reports[0] == reports[1]
    assert reports[0].replace("seed 3", "seed 4") != reports[2]


def test_the_table_says_what_was_measured_and_how(measured):
    _, report = measured
    table = report.table()
    assert table.startswith(f"bits, {NUM_ROWS} rows, 400 draws of each estimator, seed 0. Errors are relative")
    assert "### Step 500: negative_elbo by encoder_weights" in table
    row = one_row(report, step=500, label="reinmax, tau 1", target="latent_logits", term="distortion")
    interval = row.errors.squared_bias
    assert f"{interval.value:.3f} ± {(interval.high - interval.low) / 2:.3f}" in table
    for line in table.splitlines():
        if line.startswith("|"):
            assert line.count("|") == 7


def test_json_and_csv_hold_every_number(measured):
    _, report = measured
    decoded = json.loads(report.to_json())
    lines = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert decoded["protocol"] == report.protocol
    assert set(decoded["entropies"]) == {"0", "500"}
    assert len(decoded["rows"]) == len(lines) == len(report.rows)
    for row, plain, line in zip(report.rows, decoded["rows"], lines, strict=True):
        assert plain["options"] == row.options
        assert plain["exact_norm"] == float(line["exact_norm"]) == row.errors.exact_norm
        for name in STATISTICS:
            interval = getattr(row.errors, name)
            assert [plain[name], plain[f"{name}_low"], plain[f"{name}_high"]] == list(interval)
            assert float(line[f"{name}_high"]) == interval.high


def test_relative_errors_of_a_gradient_of_zero_are_left_out_and_the_files_stay_valid():
    (row, *_), entropies = gradient_report([(0, vae(BITS))], bits(2), num_draws=20).rows, {0: 0.5}
    nothing = gradient_errors(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(3))
    report = GradientReport(
        rows=(dataclasses.replace(row, label="st", errors=nothing),), entropies=entropies, protocol="bits"
    )
    assert nothing.exact_norm == 0
    assert json.loads(report.to_json())["rows"][0]["squared_bias"] is None
    assert next(csv.DictReader(io.StringIO(report.to_csv())))["cosine"] == ""
    assert "| st | 1 | - | - | - | - |" in report.table()


@pytest.mark.parametrize("prior", ["uniform", "factorised", "autoregressive"])
@pytest.mark.parametrize("relaxation", ["logistic_normal", "kumaraswamy", "hard_concrete"])
def test_other_relaxations_likelihoods_and_priors_are_reported_too(prior, relaxation):
    torch.manual_seed(0)
    model = DiscreteVAE(
        BITS,
        MlpConfig(hidden=(5,), activation="tanh"),
        (NUM_VALUES,),
        torch.full((NUM_VALUES,), 0.4),
        relaxation=relaxation,
        likelihood=LikelihoodConfig(name="gaussian"),
        prior=PriorConfig(name=prior),
    ).double()
    contenders = [
        Contender("reinforce", ReinforceLeaveOneOut(num_samples=4), 1.0),
        Contender("gumbel", StraightThroughGumbel(), 1.0),
    ]
    report = gradient_report([(0, model)], bits(2), contenders, num_draws=200)
    terms = {row.term for row in report.rows}
    assert terms == {"distortion_and_prior" if prior == "autoregressive" else "distortion", "negative_elbo"}
    for row in rows_of(report, label="reinforce"):
        interval = row.errors.squared_bias
        assert abs(interval.value) < interval.high - interval.low


def test_what_does_not_fit_is_refused_before_anything_is_drawn():
    inputs, model = bits(2), vae(BITS)
    with pytest.raises(ConfigError, match="at most 65,536"):
        gradient_report([(0, vae(LatentConfig(num_latents=17)))], inputs)
    with pytest.raises(ConfigError, match="'reinmax' needs at least 1"):
        gradient_report([(0, model)], inputs, [Contender("a", ReinMax(), 0.5)])
    with pytest.raises(ConfigError, match="'disarm' is defined for binary"):
        gradient_report([(0, vae(LATENTS[1]))], inputs, [Contender("a", DisArm(), 1.0)])
    with pytest.raises(ConfigError, match="labels that differ"):
        gradient_report([(0, model)], inputs, 2 * [Contender("a", DisArm(), 1.0)])
    with pytest.raises(EvaluationError, match="num_draws: expected a multiple of 20"):
        gradient_report([(0, model)], inputs, num_draws=30)
    with pytest.raises(EvaluationError, match=rf"inputs: expected one or more rows of {NUM_VALUES} values"):
        gradient_report([(0, model)], inputs[:, :-1])
    with pytest.raises(EvaluationError, match="inputs: expected at most 2048 rows for an encoder of 4 outputs"):
        gradient_report([(0, model)], bits(2049))


def test_a_model_that_has_diverged_is_named_with_its_step():
    model = vae(BITS)
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(torch.nan)
    with pytest.raises(EvaluationError, match=r"step 7: .*not finite"):
        gradient_report([(7, model)], bits(2), num_draws=20)


def test_the_plot_names_every_contender_and_every_checkpoint(measured, tmp_path):
    models, report = measured
    path = tmp_path / "gradients.svg"
    plot(report, path)
    drawn = path.read_text()
    for contender in default_contenders(models[0][1].latent):
        assert f"<!-- {contender.label} -->" in drawn
    assert "<!-- step 500 -->" in drawn
    plot(report, tmp_path / "gradients.png", term="negative_elbo")
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")
