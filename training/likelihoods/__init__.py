"""Laws of the input given a code: what a decoder's outputs mean.

interface              what every law offers, and how the outputs of one value lie together
bernoulli              values of 0 and 1; and the cross-entropy on grey values, which is no likelihood
gaussian               real values, with a learned scale
discretised_logistic   the 256 values of 8-bit images, with a learned scale
scales                 where a learned scale comes from, and what keeps it from collapsing
config                 the section of the configuration, and the law it asks for
"""

from training.likelihoods.bernoulli import BernoulliLikelihood, GreyCrossEntropy
from training.likelihoods.config import LIKELIHOODS, LikelihoodConfig, build_likelihood
from training.likelihoods.discretised_logistic import DiscretisedLogisticLikelihood
from training.likelihoods.gaussian import GaussianLikelihood
from training.likelihoods.interface import Likelihood, LikelihoodName, bits_per_dimension
from training.likelihoods.scales import ScaleSource

__all__ = [
    "LIKELIHOODS",
    "BernoulliLikelihood",
    "DiscretisedLogisticLikelihood",
    "GaussianLikelihood",
    "GreyCrossEntropy",
    "Likelihood",
    "LikelihoodConfig",
    "LikelihoodName",
    "ScaleSource",
    "bits_per_dimension",
    "build_likelihood",
]
