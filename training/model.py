"""The variational autoencoder: wires encoder, latent law, decoder, likelihood and prior. No loss, no schedule."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from training.latents import LatentConfig
from training.likelihoods import BernoulliLikelihood
from training.networks import NetworkConfig, build_networks


class DiscreteVAE(nn.Module):
    """p(z) p(x|z) with discrete z, and a mean-field q(z|x) (Kingma and Welling 2013, arXiv:1312.6114).

    Under the uniform prior every code has probability K^-N.
    """

    def __init__(
        self,
        latent: LatentConfig,
        network: NetworkConfig,
        input_shape: tuple[int, ...],
        mean: Float[Tensor, " D"],
    ) -> None:
        super().__init__()
        self.latent = latent
        self.likelihood = BernoulliLikelihood()
        self.encoder, self.decoder = build_networks(
            network, latent, input_shape, mean, self.likelihood.initial_bias(mean)
        )
        self.register_buffer("prior_logits", torch.zeros(latent.shape))

    def prior(self) -> Distribution:
        """The law of each latent before any input is seen; events are single latents."""
        return self.latent.law(self.prior_logits)

    def posterior(self, inputs: Float[Tensor, "B D"]) -> Distribution:
        """q(z|x); events are single latents."""
        return self.latent.law(self.encoder(inputs))

    def log_likelihood(self, inputs: Float[Tensor, "B D"], codes: Float[Tensor, "B *latent"]) -> Float[Tensor, " B"]:
        """Log-likelihood, log p(x|z) in nats."""
        return self.likelihood.log_prob(self.decoder(codes), inputs)

    def reconstruction(self, codes: Float[Tensor, "B *latent"]) -> Float[Tensor, "B D"]:
        """E[x|z], in the range of the inputs."""
        return self.likelihood.mean(self.decoder(codes))

    def kl(self, logits: Float[Tensor, "B *latent"]) -> Float[Tensor, "B N"]:
        """KL(q(z_n|x) || p(z_n)) between the discrete laws, in closed form, nats a latent."""
        return self.latent.kl(logits, self.prior_logits)
