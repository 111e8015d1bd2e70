"""Which relaxations there are: the latents each is for, the standard noise it takes, and its parameters a latent.

What training configures, a manifest says and the service feeds to the sampler graph. The formulas are in
`models.graphs`.
"""

from dataclasses import dataclass
from typing import Literal

from models.noise import NoiseName

Kind = Literal["binary", "categorical"]
RelaxationName = Literal[
    "binary_concrete", "concrete", "logistic_normal", "kumaraswamy", "hard_concrete", "hard_kumaraswamy"
]

STANDARD_NOISE: dict[Kind, NoiseName] = {"binary": "logistic", "categorical": "gumbel"}
"""The noise that, added to logits, makes the most probable code an exact sample of their law (Gumbel-max)."""


@dataclass(frozen=True)
class Relaxation:
    """What a manifest's reader must know of a relaxation before it runs a graph."""

    kind: Kind
    noise: NoiseName
    num_parameters: int = 1
    """Numbers that the encoder gives for each log-odds or category score; where there is one, it is the logit."""
    perturbs_logits: bool = False
    """Whether the sampler graph is the plain formula: relaxed = sigmoid or softmax of (logits + T noise) / tau."""


RELAXATIONS: dict[RelaxationName, Relaxation] = {
    "binary_concrete": Relaxation("binary", "logistic", perturbs_logits=True),
    "concrete": Relaxation("categorical", "gumbel", perturbs_logits=True),
    "logistic_normal": Relaxation("binary", "normal", num_parameters=2),
    "kumaraswamy": Relaxation("binary", "logistic", num_parameters=2),
    "hard_concrete": Relaxation("binary", "logistic"),
    "hard_kumaraswamy": Relaxation("binary", "logistic", num_parameters=2),
}
"""Every relaxation that a model can be served with."""
