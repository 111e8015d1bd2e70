"""Powers of a probability, from logit to logit: finite where the probability itself is 0 or 1 to any precision."""

import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor

# Below, the logarithm of log(1 + e^x) and its inverse are given by two terms of their series, within 2e-14; above, the
# exporter's forms of log1p and expm1, log(1 + x) and exp(x) - 1, are right to 1e-9 in float64.
_FEW = -15.0
# Above, log(e^s - 1) is s in float64.
_MANY = 40.0
# Softplus is the identity above it, in float64.
_IDENTITY = 700.0


def logit_of_power(logit: Float64[Tensor, "..."], log_exponent: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """The logit of `sigmoid(logit) ** exp(log_exponent)`.

    With p = sigmoid(x) and softplus(-x) = -log p, the power multiplies softplus(-x) by its exponent. So the answer is
    minus the inverse softplus of `exp(log softplus(-x) + log_exponent)`, and the sum in the exponent can be neither 0
    nor infinite. Finite, with finite gradients, for logits up to 1e32 and exponents e^-3 to e^3; in float64, since the
    operators ONNX lacks, log1p and expm1, come at the price of half the digits.
    """
    return -_inverse_softplus_of_exp(_log_softplus(-logit) + log_exponent)


def _log_softplus(x: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """`log log(1 + e^x)`: x - e^x / 2 + ... for x far below 0, log x far above."""
    low = x.clamp_max(_FEW)
    # The clamp keeps infinities out of the branch that is not taken, where they would turn gradients into NaN.
    return torch.where(x < _FEW, low - low.exp() / 2, F.softplus(x.clamp_min(_FEW), threshold=_IDENTITY).log())


def _inverse_softplus_of_exp(t: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """`log(exp(e^t) - 1)`: t + e^t / 2 + ... for t far below 0, e^t far above. Inverse of `_log_softplus`."""
    low = t.clamp_max(_FEW)
    softplus = t.clamp_min(_FEW).exp()
    not_low = torch.where(softplus > _MANY, softplus, softplus.clamp_max(_MANY).expm1().log())
    return torch.where(t < _FEW, low + low.exp() / 2, not_low)
