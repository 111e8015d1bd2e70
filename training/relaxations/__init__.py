"""Continuous relaxations: differentiable points inside the simplex that round to exact samples of a discrete law.

With T the temperature that scales the noise and tau the relaxation temperature that divides the perturbed scores:

    scores = scores(T noise)        code = most probable of scores        relaxed = sigmoid or softmax of scores / tau

    law               latents      scores (perturbed)                      log-odds or log-probabilities of the code
    concrete          categorical  phi + T gumbel                          phi
    binary_concrete   binary       phi + T logistic                        phi
    logistic_normal   binary       u + T s normal                          log Phi(u/s) - log Phi(-u/s)
    kumaraswamy       binary       logit of (1 - (1 - v)^(1/b))^(1/a),     logit of (1 - 2^-a)^b
                                   v = sigmoid(T logistic)

and `hard_concrete` and `hard_kumaraswamy`, which stretch the relaxed value of the law of their name and clamp it. At
T = 1 the codes are exact samples of their law and at T = 0 its most probable ones; tau never changes a code. Each is a
`training.posteriors.Posterior`, written in operations that ONNX has, noise and both temperatures as inputs.
"""

from training.posteriors import Posterior
from training.relaxations.binary_concrete import BinaryConcrete
from training.relaxations.concrete import Concrete
from training.relaxations.kumaraswamy import Kumaraswamy
from training.relaxations.logistic_normal import LogisticNormal
from training.relaxations.squashing import relax
from training.relaxations.stretched import HardConcrete, HardKumaraswamy

__all__ = [
    "RELAXATIONS",
    "BinaryConcrete",
    "Concrete",
    "HardConcrete",
    "HardKumaraswamy",
    "Kumaraswamy",
    "LogisticNormal",
    "relax",
]

RELAXATIONS: dict[str, type[Posterior]] = {
    relaxation.name: relaxation
    for relaxation in (Concrete, BinaryConcrete, LogisticNormal, Kumaraswamy, HardConcrete, HardKumaraswamy)
}
"""Every relaxation under the name that configurations and manifests give it."""
