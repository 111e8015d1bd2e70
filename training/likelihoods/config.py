"""The likelihood of a run: its section of the configuration, and the law it asks for."""

import math
from dataclasses import dataclass

from training.likelihoods import discretised_logistic, gaussian
from training.likelihoods.bernoulli import BernoulliLikelihood, GreyCrossEntropy
from training.likelihoods.discretised_logistic import DiscretisedLogisticLikelihood
from training.likelihoods.gaussian import GaussianLikelihood
from training.likelihoods.interface import Likelihood, LikelihoodName
from training.likelihoods.scales import ScaleSource

_WITHOUT_SCALE: dict[LikelihoodName, type[BernoulliLikelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "grey_cross_entropy": GreyCrossEntropy,
}
_WITH_SCALE: dict[LikelihoodName, type[GaussianLikelihood] | type[DiscretisedLogisticLikelihood]] = {
    "gaussian": GaussianLikelihood,
    "discretised_logistic": DiscretisedLogisticLikelihood,
}
_SCALE_DEFAULTS: dict[LikelihoodName, tuple[ScaleSource, float]] = {
    "gaussian": ("shared", gaussian.MINIMUM_SCALE),
    "discretised_logistic": ("value", discretised_logistic.MINIMUM_SCALE),
}
LIKELIHOODS: dict[LikelihoodName, type[Likelihood]] = {**_WITHOUT_SCALE, **_WITH_SCALE}
"""Every law by the name that configurations and manifests use."""


@dataclass(frozen=True, kw_only=True)
class LikelihoodConfig:
    """The law of an input given its code, and for laws with a learned scale where that comes from.

    `scale` is one parameter ("shared", the Gaussian's default), one a channel ("channel"), or an output of the decoder
    for each value ("value", the discretised logistic's default); `minimum_scale`, in units of the inputs, bounds it.
    What is left out is filled in with the law's default, and stays None for laws without a scale.
    """

    name: LikelihoodName = "bernoulli"
    scale: ScaleSource | None = None
    minimum_scale: float | None = None

    def __post_init__(self) -> None:
        if self.name in _WITHOUT_SCALE:
            for option in ("scale", "minimum_scale"):
                if (given := getattr(self, option)) is not None:
                    raise ValueError(
                        f"{option}: expected nothing, since {self.name!r} has no scale, got {given!r}; "
                        f"likelihoods with a scale are {', '.join(map(repr, _WITH_SCALE))}"
                    )
            return
        default_scale, default_minimum = _SCALE_DEFAULTS[self.name]
        # Filled in here, so that the resolved configuration saved with a run tells the whole law.
        if self.scale is None:
            object.__setattr__(self, "scale", default_scale)
        if self.minimum_scale is None:
            object.__setattr__(self, "minimum_scale", default_minimum)
        if not (math.isfinite(self.minimum_scale) and 0 < self.minimum_scale <= 0.1):
            raise ValueError(f"minimum_scale: expected more than 0 and at most 0.1, got {self.minimum_scale:g}")


def build_likelihood(config: LikelihoodConfig, input_shape: tuple[int, ...]) -> Likelihood:
    """The law for inputs of this shape; its learned scale, if it has one, at the law's initial value."""
    if config.name in _WITHOUT_SCALE:
        return _WITHOUT_SCALE[config.name]()
    return _WITH_SCALE[config.name](input_shape, scale=config.scale, minimum_scale=config.minimum_scale)
