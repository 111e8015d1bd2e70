"""How much of the code is used, and how firm codes are."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from training.bounds import latent_rates
from training.code_usage import MARGIN_EDGES, CodeUsage, CodeUsageCounter
from training.evaluation.numbers import NEAR_TIE
from training.model import DiscreteVAE
from training.report.charts import bar_chart
from training.report.html import Markup, element, section
from training.report.pictures import heat_map

_ROWS_AT_ONCE = 1_000
_PRIOR_SAMPLES = 20


class SplitUsage(NamedTuple):
    """Of all rows of a split. `certainty` is the mean over rows and latents of the greatest probability in q(z_n|x)."""

    latent_kl: Float64[np.ndarray, " N"]
    usage: CodeUsage
    certainty: float


@torch.no_grad()
def measure_usage(model: DiscreteVAE, inputs: Float[Tensor, "R D"], generator: torch.Generator) -> SplitUsage:
    """One pass of the encoder; the KL to an autoregressive prior is a Monte Carlo estimate."""
    counter = CodeUsageCounter(model.latent)
    total = torch.zeros(model.latent.num_latents, dtype=torch.float64, device=model.device)
    certainty = 0.0
    for rows in inputs.split(_ROWS_AT_ONCE):
        logits = model.posterior(rows).logits
        counter.add(logits)
        total += latent_rates(
            model, logits, num_samples=_PRIOR_SAMPLES, generator=generator, chunk_size=_ROWS_AT_ONCE
        ).sum(dim=0)
        probabilities = model.latent.law(logits).probs.double()
        if model.latent.kind == "binary":
            certainty += float(torch.maximum(probabilities, 1 - probabilities).sum())
        else:
            certainty += float(probabilities.amax(dim=-1).sum())
    mean_kl = (total / len(inputs)).cpu().numpy()
    return SplitUsage(mean_kl, counter.usage(), certainty / len(inputs) / model.latent.num_latents)


def code_usage(measured: SplitUsage, kind: str) -> Markup:
    """KL and marginals a latent, by falling KL."""
    order = np.argsort(-measured.latent_kl, kind="stable")
    noun = "bit" if kind == "binary" else "variable"
    names = [f"{noun} {latent}" for latent in order]
    charts = [
        bar_chart(
            "KL of each latent, nats",
            measured.latent_kl[order].tolist(),
            names,
            caption="By falling KL. A latent at 0 is not used; point at a bar for its number.",
        )
    ]
    marginals = measured.usage.aggregate_posterior[order]
    if kind == "binary":
        charts.append(
            bar_chart(
                "Mean probability that the bit is 1",
                marginals[:, 1].tolist(),
                names,
                caption="In the order of the chart before. 1/2 uses a bit best; 0 and 1 do not use it.",
            )
        )
    else:
        caption = "A column a variable, in the order of the chart before; a row a value. Darker is more frequent."
        picture = heat_map(marginals.T, "aggregate posterior")
        charts.append(
            element(
                "figure",
                element("h3", "Aggregate posterior of each variable"),
                picture,
                element("figcaption", caption),
                class_="chart",
            )
        )
    usage = measured.usage
    said = (
        f"The {int(usage.distinct_counts.sum()):,} rows have {len(usage.distinct_counts):,} distinct most probable "
        f"codes, whose entropy as wholes is {usage.joint_entropy_bits:.2f} bits. Of the "
        f"{usage.code_frequencies.size:,} values that symbols can take, {usage.num_dead_categories:,} are in no code."
    )
    return section("Code usage", element("p", said), element("div", charts, class_="charts"))


def firmness(measured: SplitUsage) -> Markup:
    """The histogram of margins."""
    usage = measured.usage
    shares = usage.margin_counts / usage.margin_counts.sum()
    names = ["0", *(f"{edge:.1g}" for edge in MARGIN_EDGES[1:-1])]
    chart = bar_chart(
        "Share of symbols by margin",
        shares.tolist(),
        names,
        labels=True,
        caption="Margin: best less second-best score of a symbol (a bit: its distance from 0). Each bar begins at the "
        "margin below it.",
    )
    said = (
        f"At temperature 1 a symbol equals its most probable value with probability {measured.certainty:.3f}, on "
        f"average. {usage.share_of_margins_below(NEAR_TIE):.2%} of the symbols have a margin below {NEAR_TIE:g}: they "
        "could differ on another machine, whose arithmetic rounds otherwise."
    )
    return section("How firm codes are", element("p", said), element("div", chart, class_="charts"))
