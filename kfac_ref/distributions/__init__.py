"""The predictive distributions: loss, gradient, Fisher, square root, sampling."""

from kfac_ref.distributions.base import Distribution
from kfac_ref.distributions.categorical import Categorical

__all__ = ["Categorical", "Distribution"]
