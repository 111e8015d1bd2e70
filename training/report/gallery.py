"""What decoding gives: reconstructions of test inputs, and samples from the prior."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from models.manifest import InputSpec
from training.estimators import draw_codes
from training.model import DiscreteVAE
from training.report.html import Markup, element, section
from training.report.pictures import Pictures, strip

NUM_INPUTS = 12
_NUM_SAMPLES = 3
_PRIOR_STRIPS = 4


@torch.no_grad()
def reconstructions(
    model: DiscreteVAE, inputs: Float[Tensor, "B D"], spec: InputSpec, generator: torch.Generator
) -> Markup:
    """Inputs, what their most probable codes decode to, and what samples of their codes decode to."""
    pictures = Pictures(spec)
    posterior = model.posterior(inputs)
    strips = [_strip(pictures, inputs, "Inputs")]
    most_probable = model.latent.most_probable(posterior.logits)
    strips.append(
        _strip(pictures, model.reconstruction(most_probable), "Temperature 0: the most probable code, decoded")
    )
    for number in range(_NUM_SAMPLES):
        sampled = model.reconstruction(draw_codes(posterior, generator))
        caption = f"Temperature 1: a sample of the code, decoded ({number + 1} of {_NUM_SAMPLES})"
        strips.append(_strip(pictures, sampled, caption))
    explained = "Means E[x|z] of the decoder, not samples of its likelihood. Inputs are spread over the split."
    return section("Reconstructions", element("p", explained, class_="quiet"), strips)


@torch.no_grad()
def prior_samples(model: DiscreteVAE, spec: InputSpec, generator: torch.Generator) -> Markup:
    """Codes drawn from the prior, decoded."""
    pictures = Pictures(spec)
    strips = []
    for _ in range(_PRIOR_STRIPS):
        codes = model.prior.sample(NUM_INPUTS, generator=generator)
        strips.append(
            element(
                "div", _cells(pictures, model.reconstruction(codes)), class_="cells", style=f"--columns:{NUM_INPUTS}"
            )
        )
    explained = (
        f"Codes drawn from the {model.prior.name} prior at temperature 1, decoded to E[x|z]. Where these look worse "
        "than reconstructions, the codes of real inputs are not spread as the prior says."
    )
    return section("Samples from the prior", element("p", explained, class_="quiet"), strips)


def _strip(pictures: Pictures, rows: Float[Tensor, "B D"], caption: str) -> Markup:
    return strip(_cells(pictures, rows), caption)


def _cells(pictures: Pictures, rows: Float[Tensor, "B D"]) -> list[Markup]:
    values: np.ndarray = rows.cpu().numpy()
    return [pictures.value(row, f"{number + 1} of {len(values)}") for number, row in enumerate(values)]
