"""The prior of a run: its section of the configuration, and the law it asks for."""

from dataclasses import dataclass

from training.latents import LatentConfig
from training.priors.autoregressive import AutoregressivePrior
from training.priors.factorised import FactorisedPrior, UniformPrior
from training.priors.interface import Prior, PriorName

DEFAULT_HIDDEN = (512,)

PRIORS: dict[PriorName, type[Prior]] = {
    "uniform": UniformPrior,
    "factorised": FactorisedPrior,
    "autoregressive": AutoregressivePrior,
}
"""Every prior by the name that configurations and manifests use."""


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """The law of codes: uniform, learned with independent latents, or learned latent by latent.

    `hidden` lists the widths of the autoregressive prior's network, (512,) when left out; the others have none.
    """

    name: PriorName = "uniform"
    hidden: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.name != "autoregressive":
            if self.hidden is not None:
                raise ValueError(
                    f"hidden: expected nothing, since {self.name!r} has no network, got {list(self.hidden)}; "
                    'name = "autoregressive" has one'
                )
        elif self.hidden is None:
            # Filled in here, so that the resolved configuration saved with a run tells the whole law.
            object.__setattr__(self, "hidden", DEFAULT_HIDDEN)
        elif not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"hidden: expected one or more widths of at least 1, got {list(self.hidden)}")


def build_prior(config: PriorConfig, latent: LatentConfig) -> Prior:
    """The prior over these latents, uniform until it is trained.

    Raises ValueError when the network is too narrow for so many latents.
    """
    if config.name == "autoregressive":
        return AutoregressivePrior(latent, config.hidden)
    return FactorisedPrior(latent) if config.name == "factorised" else UniformPrior(latent)
