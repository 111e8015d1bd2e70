"""Concrete, or Gumbel-softmax: the relaxation of categorical latents."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical

from models.manifest import Kind
from models.noise import NoiseName
from training.latents import below_greatest
from training.posteriors import Posterior
from training.relaxations.squashing import relax, saturated


class Concrete(Posterior):
    """scores = phi + T gumbel; the parameters are phi, unnormalised log-probabilities of the categories.

    Maddison, Mnih and Teh 2016, arXiv:1611.00712, section 3; Jang, Gu and Poole 2016, arXiv:1611.01144, section 2. At
    any T > 0 the code has law softmax(phi / T), by Gumbel-max.
    """

    name: ClassVar[str] = "concrete"
    kinds: ClassVar[tuple[Kind, ...]] = ("categorical",)
    num_parameters: ClassVar[int] = 1

    @classmethod
    def noise_name(cls, kind: Kind) -> NoiseName:  # noqa: ARG003 - categorical latents are all that it relaxes
        return "gumbel"

    @property
    def logits(self) -> Float[Tensor, "B N K"]:
        return self.parameters

    def scores(
        self, noise: Float[Tensor, "..."], temperature: Float[Tensor, "..."] | float = 1.0
    ) -> Float[Tensor, "..."]:
        return self.parameters + temperature * noise

    def relaxed(
        self, scores: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        return relax(scores, relaxation_temperature, "categorical")

    def relaxed_logits(
        self, scores: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """`log softmax(scores / tau)`, saturated at the least finite number."""
        return saturated(torch.log_softmax(below_greatest(scores) / relaxation_temperature, dim=-1))

    def log_prob(
        self, relaxed_logits: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, ""]
    ) -> Float[Tensor, "..."]:
        """ExpConcrete: `log (K-1)! + (K-1) log tau + sum_k log softmax(phi - tau y)_k`, [..., B, N].

        Maddison, Mnih and Teh 2016, appendix C.3. The K logarithms y lie on a surface of K - 1
        dimensions, and the measure on it is that of the log-ratios `y_k - y_K`; for K = 2 it is that of the logit of
        the relaxed value, as for bits.
        """
        law = ExpRelaxedCategorical(relaxation_temperature, logits=self.parameters, validate_args=False)
        return law.log_prob(relaxed_logits)
