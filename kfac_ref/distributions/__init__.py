"""The predictive distributions: loss, gradient, Fisher, square root, sampling."""

from kfac_ref.distributions.base import Distribution
from kfac_ref.distributions.bernoulli import Bernoulli
from kfac_ref.distributions.categorical import Categorical
from kfac_ref.distributions.joint import Joint
from kfac_ref.distributions.normal import Normal, NormalMeanVariance, squared_error
from kfac_ref.distributions.poisson import Poisson

__all__ = [
    "Bernoulli",
    "Categorical",
    "Distribution",
    "Joint",
    "Normal",
    "NormalMeanVariance",
    "Poisson",
    "squared_error",
]
