"""Figures of the laws: which codes are drawn as T moves, and where relaxed values lie as tau moves."""

import math

import numpy as np
import torch
from panels import Figure, Panel, Series
from torch import Tensor

from models import noise
from training.latents import LatentConfig
from training.posteriors import Posterior
from training.relaxations import BinaryConcrete, Concrete, HardConcrete, HardKumaraswamy, Kumaraswamy, LogisticNormal
from training.relaxations.stretched import GAMMA, ZETA, Stretched

BIT = LatentConfig(kind="binary", num_latents=1)
SEED = 2018
NUM_DRAWS = 4000
"""For shares of codes: a standard error of at most 0.008."""
TAUS = (2.0, 1.0, 0.5, 0.2)


def law_of_the_code() -> Figure:
    """Probabilities of codes as T moves: in closed form, and counted over codes that the relaxations drew."""
    return Figure("law-of-the-code", [_law_of_categories(), _law_of_bits()])


def two_temperatures() -> Figure:
    """Relaxed values of ten draws of noise while one temperature moves: tau takes none of them across 1/2, T does."""
    bit = _binary_concrete(_sigmoid_inverse(0.7))
    epsilon = _noise("logistic", 10, (1,))
    codes = (bit.scores(epsilon) > 0).flatten()
    taus, temperatures = np.geomspace(0.05, 10, 50), np.linspace(0, 2.5, 50)
    by_tau = [bit.relaxed(bit.scores(epsilon), torch.tensor(tau)).flatten() for tau in taus]
    by_temperature = [bit.relaxed(bit.scores(epsilon, T), torch.tensor(0.5)).flatten() for T in temperatures]
    panels = []
    for title, x_label, xs, values, scale in (
        ("tau moves at T = 1: every code stays", "relaxation temperature tau", taus, by_tau, "log"),
        ("T moves at tau = 0.5: codes change", "temperature T", temperatures, by_temperature, "linear"),
    ):
        lines = [Series(xs, [float(value[n]) for value in values], colour=int(codes[n])) for n in range(len(epsilon))]
        boundary = Series([xs[0], xs[-1]], [0.5, 0.5], "code 1 above, 0 below", 5, "--")
        panels.append(Panel(title, [*lines, boundary], x_label, "relaxed value", scale, (-0.02, 1.02)))
    return Figure("two-temperatures", panels)


def relaxed_bits() -> Figure:
    """Densities of the relaxed value of a bit that is 1 with probability 0.65."""
    return Figure("relaxed-bits", [_densities(bit) for bit in _bits(0.65)])


def hard_bits() -> Figure:
    """The same for the stretched laws: a density between 0 and 1, and mass at both."""
    concrete = HardConcrete(_sigmoid_inverse(0.65).reshape(1, 1), BIT)
    kumaraswamy = HardKumaraswamy(_kumaraswamy_parameters(0.65), BIT)
    taus = np.geomspace(0.05, 4, 50)
    masses = []
    for number, bit in enumerate((concrete, kumaraswamy)):
        zero = [float(bit.log_prob_of_zero(torch.tensor(tau, dtype=torch.float64)).exp()) for tau in taus]
        one = [float(bit.log_prob_of_one(torch.tensor(tau, dtype=torch.float64)).exp()) for tau in taus]
        masses.append(Series(taus, one, f"exactly 1, {_title(bit)}", number))
        masses.append(Series(taus, zero, f"exactly 0, {_title(bit)}", number, "--"))
    mass = Panel("mass at the ends", masses, "relaxation temperature tau", "probability", "log", (0, 1))
    return Figure("hard-bits", [_densities(concrete), _densities(kumaraswamy), mass])


def relaxed_categories() -> Figure:
    """Concrete values of 250 draws of noise in the simplex of three categories, coloured by their codes."""
    latent = LatentConfig(kind="categorical", num_latents=1, num_categories=3)
    law = Concrete(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log().reshape(1, 1, 3), latent)
    scores = law.scores(_noise("gumbel", 250, latent.shape))
    codes = scores.argmax(dim=-1).flatten()
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(3) / 2]], dtype=torch.float64)
    outline = corners[[0, 1, 2, 0]].T.tolist()
    panels = []
    for tau in (5.0, 1.0, 0.5, 0.1):
        places = law.relaxed(scores, torch.tensor(tau)).reshape(-1, 3) @ corners
        points = [Series(*places[codes == k].T.tolist(), colour=k, style=".") for k in range(3)]
        panels.append(Panel(f"tau = {tau:g}", [Series(*outline, colour=5), *points], is_plane=True))
    return Figure("relaxed-categories", panels)


def _law_of_categories() -> Panel:
    latent = LatentConfig(kind="categorical", num_latents=1, num_categories=4)
    phi = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()
    law = Concrete(phi.reshape(1, 1, 4), latent)
    fine, coarse = np.linspace(0.05, 3, 60), np.linspace(0.25, 3, 12)
    closed = torch.stack([torch.softmax(phi / T, dim=-1) for T in fine])
    counted = torch.stack([_drawn(law, T).mean(dim=(0, 1, 2)) for T in coarse])
    series = []
    for k in range(4):
        series.append(Series(fine, closed[:, k].tolist(), f"category {k}: softmax(phi / T)", k))
        series.append(Series(coarse, counted[:, k].tolist(), "", k, "."))
    return Panel(
        "four categories; dots are counted", series, "temperature T", "probability of the code", y_limits=(0, 1)
    )


def _law_of_bits() -> Panel:
    fine, coarse = np.linspace(0.05, 3, 60), np.linspace(0.25, 3, 12)
    concrete, normal, _ = bits = _bits(0.8)
    phi, mean = concrete.logits, normal.mean
    series = [
        Series(fine, [float(torch.sigmoid(phi / T)) for T in fine], "sigmoid(phi / T)", 0),
        Series(fine, [float(torch.special.ndtr(mean / T)) for T in fine], "Phi(u / (T s)), logistic normal", 1),
    ]
    for number, (bit, mark) in enumerate(zip(bits, (".", "x", "+"), strict=True)):
        ones = [float(_drawn(bit, T).mean()) for T in coarse]
        series.append(Series(coarse, ones, f"{_title(bit)}, counted", number, mark))
    return Panel("a bit with P(1) = 0.8 at T = 1", series, "temperature T", "P(code = 1)", y_limits=(0.5, 1))


def _drawn(posterior: Posterior, temperature: float) -> Tensor:
    """Codes [draws, 1, *latent] at that temperature."""
    latent = posterior.latent
    epsilon = _noise(posterior.noise_name(latent.kind), NUM_DRAWS, latent.shape)
    return latent.most_probable(posterior.scores(epsilon, temperature))


def _noise(name: noise.NoiseName, num_draws: int, shape: tuple[int, ...]) -> Tensor:
    """[draws, 1, *latent]."""
    return torch.from_numpy(noise.draw(name, SEED, num_draws, (1, *shape)).astype(np.float64))


def _densities(bit: Posterior) -> Panel:
    """Of the relaxed value between 0 and 1, a line a tau."""
    places = torch.linspace(0.005, 0.995, 120, dtype=torch.float64).reshape(-1, 1, 1)
    # Where the variable lies before stretch and clamp, and how much longer it is there.
    width = ZETA - GAMMA if isinstance(bit, Stretched) else 1.0
    before = (places - 0.5) / width + 0.5
    logits = before.logit()
    series = []
    for number, tau in enumerate(TAUS):
        log_density = bit.log_prob(logits, torch.tensor(tau, dtype=torch.float64))
        density = log_density.exp() / (before * (1 - before)) / width
        series.append(Series(places.flatten().tolist(), density.flatten().tolist(), f"tau = {tau:g}", number))
    return Panel(_title(bit), series, "relaxed value", "density", y_limits=(0, 4))


def _bits(probability: float) -> tuple[BinaryConcrete, LogisticNormal, Kumaraswamy]:
    """The three laws of a bit, with parameters that make it 1 with this probability; s = 1 and b = 1."""
    mean = torch.special.ndtri(torch.tensor(probability, dtype=torch.float64))
    normal = torch.stack([mean, torch.zeros_like(mean)]).reshape(1, 1, 2)
    return (
        _binary_concrete(_sigmoid_inverse(probability)),
        LogisticNormal(normal, BIT),
        Kumaraswamy(_kumaraswamy_parameters(probability), BIT),
    )


def _binary_concrete(phi: Tensor) -> BinaryConcrete:
    return BinaryConcrete(phi.reshape(1, 1), BIT)


def _sigmoid_inverse(probability: float) -> Tensor:
    return torch.tensor(probability, dtype=torch.float64).logit()


def _kumaraswamy_parameters(probability: float) -> Tensor:
    """With b = 1, P(1) = 1 - 2^-a."""
    log_a = math.log(-math.log2(1 - probability))
    # The encoder's outputs are squashed: log a = 3 tanh(output / 3).
    return torch.tensor([3 * math.atanh(log_a / 3), 0.0], dtype=torch.float64).reshape(1, 1, 2)


def _title(posterior: Posterior) -> str:
    return posterior.name.replace("_", " ").replace("concrete", "Concrete").replace("kumaraswamy", "Kumaraswamy")
