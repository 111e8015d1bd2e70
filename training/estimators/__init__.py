"""Gradient estimators for an expectation over discrete codes, behind one signature.

    estimator(posterior, cost, relaxation_temperature=..., generator=...) -> Estimate(cost, surrogate)

An estimator is a frozen dataclass of its options: the section `[estimator]` of a configuration as it stands. What each
is exact, biased and unbiased for, and where it was published, is in its docstring.

| follows the relaxed value | knows the law of the code alone | unbiased |
| --- | --- | --- |
| pathwise | straight_through | reinforce_leave_one_out |
| straight_through_gumbel | gumbel_rao | muprop |
| decoupled_straight_through_gumbel | gapped_straight_through | arm, disarm (bits) |
|  | reinmax | exact (few codes) |
"""

from training.errors import ConfigError
from training.estimators.antithetic import Arm, DisArm
from training.estimators.exact import Exact
from training.estimators.gapped import GappedStraightThrough
from training.estimators.gumbel_rao import GumbelRao
from training.estimators.interface import Cost, Estimate, Estimator, draw_codes
from training.estimators.muprop import MuProp
from training.estimators.reinmax import ReinMax
from training.estimators.relaxed import DecoupledStraightThroughGumbel, Pathwise, StraightThroughGumbel
from training.estimators.score_function import ReinforceLeaveOneOut
from training.estimators.straight_through import StraightThrough, straight_through
from training.latents import LatentConfig

EstimatorConfig = (
    StraightThrough
    | StraightThroughGumbel
    | DecoupledStraightThroughGumbel
    | Pathwise
    | GumbelRao
    | GappedStraightThrough
    | ReinMax
    | ReinforceLeaveOneOut
    | MuProp
    | Arm
    | DisArm
    | Exact
)
"""Every estimator, told apart by `name`."""

ESTIMATORS: dict[str, type[Estimator]] = {kind().name: kind for kind in EstimatorConfig.__args__}
"""Every estimator by the name that configurations and manifests use."""


def fitting_estimators(latent: LatentConfig) -> list[Estimator]:
    """Every estimator that fits these latents, with its default options."""
    fitting = []
    for kind in ESTIMATORS.values():
        estimator = kind()
        try:
            estimator.check_latent(latent)
        except ConfigError:
            continue
        fitting.append(estimator)
    return fitting


__all__ = [
    "ESTIMATORS",
    "Arm",
    "Cost",
    "DecoupledStraightThroughGumbel",
    "DisArm",
    "Estimate",
    "Estimator",
    "EstimatorConfig",
    "Exact",
    "GappedStraightThrough",
    "GumbelRao",
    "MuProp",
    "Pathwise",
    "ReinMax",
    "ReinforceLeaveOneOut",
    "StraightThrough",
    "StraightThroughGumbel",
    "draw_codes",
    "fitting_estimators",
    "straight_through",
]
