"""The posterior q(z|x) of a batch, as estimators, objectives and exports see it.

A posterior is a relaxation with its parameters filled in. It has two faces that agree: a discrete law over codes, given
by `logits`, and a continuous variable whose rounding has exactly that law.

    scores = scores(noise)      code = most probable of scores      relaxed = relaxed(scores, tau)

Shapes as in `training.latents`; `noise`, `scores`, `relaxed` and codes as tensors are all [B, *latent].
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from models.manifest import Kind
from models.noise import NoiseName
from training import noise
from training.latents import LatentConfig
from training.noise import NoiseSource


class Posterior(ABC):
    """One relaxation of mean-field Bernoulli or categorical latents, for a batch of rows."""

    name: ClassVar[str]
    """As configurations and manifests say it."""
    kinds: ClassVar[tuple[Kind, ...]]
    """Kinds of latents that it can relax."""
    num_parameters: ClassVar[int]
    """Numbers that the encoder gives for each Bernoulli log-odds or category score."""

    def __init__(self, parameters: Float[Tensor, "B *shape"], latent: LatentConfig) -> None:
        """`parameters` is what the encoder puts out, unconstrained: [B, *latent], or [B, *latent, P] where P =
        `num_parameters` is above 1.
        """
        self.parameters = parameters
        self.latent = latent

    @classmethod
    def parameter_shape(cls, latent: LatentConfig) -> tuple[int, ...]:
        """Shape of one row of parameters."""
        return latent.shape if cls.num_parameters == 1 else (*latent.shape, cls.num_parameters)

    @classmethod
    @abstractmethod
    def noise_name(cls, kind: Kind) -> NoiseName:
        """The standard noise that `scores` takes."""

    @property
    @abstractmethod
    def logits(self) -> Float[Tensor, "B *latent"]:
        """Log-odds, or unnormalised log-probabilities, of the code: the law of the rounded value in closed form."""

    @abstractmethod
    def scores(
        self, noise: Float[Tensor, "..."], temperature: Float[Tensor, "..."] | float = 1.0
    ) -> Float[Tensor, "..."]:
        """Perturbed scores [..., B, *latent] for noise of that shape: the code is their most probable one.

        `temperature` scales the noise: at 1 the codes are exact samples of their law, at 0 the most probable ones.
        """

    @abstractmethod
    def relaxed(
        self, scores: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relaxed value, in [0, 1] or in the simplex; rounding it gives the code of the same scores."""

    @abstractmethod
    def relaxed_logits(
        self, scores: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, "..."]
    ) -> Float[Tensor, "..."]:
        """The relaxed value before it is squashed: its logit for bits, its logarithm for categories.

        Finite where the relaxed value itself has been rounded to 0 or 1.
        """

    @abstractmethod
    def log_prob(
        self, relaxed_logits: Float[Tensor, "..."], relaxation_temperature: Float[Tensor, ""]
    ) -> Float[Tensor, "..."]:
        """Log-density of `relaxed_logits` at temperature 1, nats a latent, [..., B, N].

        With respect to the logit of the relaxed value for bits, and to its logarithms for categories (ExpConcrete;
        Maddison, Mnih and Teh 2016, appendix C.3); a KL between two such laws is the KL of the relaxed values, since
        both are the same invertible map away from them.
        """

    def law(self) -> Distribution:
        """The discrete law; events are single latents."""
        return self.latent.law(self.logits)

    def draw_noise(self, generator: NoiseSource, num_samples: int | None = None) -> Float[Tensor, "..."]:
        """Standard noise in float32, [B, *latent], or [S, B, *latent] for `num_samples` of each row."""
        shape = (len(self.parameters), *self.latent.shape)
        lead = () if num_samples is None else (num_samples,)
        return noise.draw(self.noise_name(self.latent.kind), (*lead, *shape), generator)

    def rsample(
        self, relaxation_temperature: Float[Tensor, ""], generator: NoiseSource, num_samples: int | None = None
    ) -> Float[Tensor, "..."]:
        """Relaxed values at temperature 1, differentiable in the parameters; shapes as `draw_noise`."""
        return self.relaxed(self.scores(self.draw_noise(generator, num_samples)), relaxation_temperature)

    def with_parameters(self, parameters: Float[Tensor, "B *shape"]) -> "Posterior":
        """The same relaxation of the same latents with other parameters."""
        return type(self)(parameters, self.latent)

    def repeated(self, num_times: int) -> "Posterior":
        """The same posterior of that many independent copies of every latent, one copy of all after the other."""
        copies = self.parameters.unsqueeze(1).expand(-1, num_times, *self.parameters.shape[1:])
        return type(self)(copies.flatten(start_dim=1, end_dim=2), self.latent.repeated(num_times))
