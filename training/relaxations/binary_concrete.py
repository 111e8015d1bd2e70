"""Binary Concrete: the Gumbel-softmax of a single bit, in which two Gumbels make one logistic variable."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from models.manifest import Kind
from models.noise import NoiseName
from training.relaxations.binary import BinaryRelaxation


class BinaryConcrete(BinaryRelaxation):
    """scores = phi + T logistic; the parameters are phi, the log-odds of the bit.

    Maddison, Mnih and Teh 2016, arXiv:1611.00712, appendix B. At any T > 0 the bit has log-odds phi / T.

    The density is that of `torch.distributions.relaxed_bernoulli.LogitRelaxedBernoulli`, written here without the
    exponential which there makes it minus infinity for scores 89 or more below phi in float32.
    """

    name: ClassVar[str] = "binary_concrete"
    num_parameters: ClassVar[int] = 1

    @classmethod
    def noise_name(cls, kind: Kind) -> NoiseName:  # noqa: ARG003 - a bit is all that it relaxes
        return "logistic"

    def log_odds_above(self, threshold: Float[Tensor, ""] | float) -> Float[Tensor, "B N"]:
        return self.parameters - threshold

    def scores(
        self, noise: Float[Tensor, "..."], temperature: Float[Tensor, "..."] | float = 1.0
    ) -> Float[Tensor, "..."]:
        return self.parameters + temperature * noise

    def score_log_density(self, scores: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Logistic(phi, 1): `log sigmoid(s - phi) + log sigmoid(phi - s)`."""
        centred = scores - self.parameters
        return logsigmoid(centred) + logsigmoid(-centred)
