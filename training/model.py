"""The variational autoencoder: wires encoder, posterior, decoder, likelihood and prior. No loss, no schedule."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.latents import LatentConfig
from training.likelihoods import Likelihood, LikelihoodConfig, build_likelihood
from training.networks import NetworkConfig, build_networks
from training.posteriors import Posterior
from training.priors import PriorConfig, build_prior
from training.relaxations import RELAXATIONS


class DiscreteVAE(nn.Module):
    """p(z) p(x|z) with discrete z, and a mean-field q(z|x) (Kingma and Welling 2013, arXiv:1312.6114).

    The encoder gives the parameters of q(z|x), which is a discrete law with a relaxation; the decoder gives those of
    p(x|z), for codes as tensors or relaxed ones.
    """

    def __init__(
        self,
        latent: LatentConfig,
        network: NetworkConfig,
        input_shape: tuple[int, ...],
        mean: Float[Tensor, " D"],
        *,
        relaxation: str | None = None,
        likelihood: LikelihoodConfig | None = None,
        prior: PriorConfig | None = None,
    ) -> None:
        """`relaxation` is a name of `training.relaxations`; None is binary Concrete, or Concrete for categories."""
        super().__init__()
        self.latent = latent
        self.relaxation: type[Posterior] = RELAXATIONS[relaxation or default_relaxation(latent)]
        self.likelihood: Likelihood = build_likelihood(likelihood or LikelihoodConfig(), input_shape)
        self.prior = build_prior(prior or PriorConfig(), latent)
        self.encoder, self.decoder = build_networks(
            network,
            latent,
            input_shape,
            mean,
            self.likelihood.initial_bias(mean),
            parameter_shape=self.relaxation.parameter_shape(latent),
        )

    @property
    def device(self) -> torch.device:
        return self.encoder.mean.device

    def posterior(self, inputs: Float[Tensor, "B D"]) -> Posterior:
        """q(z|x) of each row."""
        return self.relaxation(self.encoder(inputs), self.latent)

    def log_likelihood(
        self, inputs: Float[Tensor, "B D"], codes: Float[Tensor, "*samples_batch_latent"]
    ) -> Float[Tensor, "..."]:
        """Log-likelihood, log p(x|z) in nats, of codes [B, *latent] or [S, B, *latent] as [B] or [S, B]."""
        lead = codes.shape[: codes.ndim - len(self.latent.shape)]
        outputs = self.decoder(codes.reshape(-1, *self.latent.shape))
        rows = inputs if len(lead) == 1 else inputs.expand(*lead, -1).reshape(-1, inputs.shape[-1])
        return self.likelihood.log_prob(outputs, rows).reshape(lead)

    def reconstruction(self, codes: Float[Tensor, "B *latent"]) -> Float[Tensor, "B D"]:
        """E[x|z], in the range of the inputs."""
        return self.likelihood.mean(self.decoder(codes))

    def kl(
        self, logits: Float[Tensor, "B *latent"], codes: Float[Tensor, "B *latent"] | None = None
    ) -> Float[Tensor, "B N"]:
        """KL(q(z|x) || p(z)) between the discrete laws, nats a latent; `logits` are those of q.

        In closed form where the prior's latents are independent; otherwise an unbiased estimate from `codes`, drawn
        from q.
        """
        return self.prior.kl(logits, codes)


def default_relaxation(latent: LatentConfig) -> str:
    """The relaxation whose noise perturbs the logits themselves."""
    return "binary_concrete" if latent.kind == "binary" else "concrete"
