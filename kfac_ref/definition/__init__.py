"""Curvature from the definition, for any function that autograd can differentiate.

A witness: it shares no code with the rest of the package, and reads like the formulas.
`function(theta, x) -> z` maps a flat vector theta (P,) and a batch x (N, ...) to the
outputs z (N, C), or (N, ..., C) with positions in between. Write it with
autograd.numpy.

    Fisher             1/N sum_n sum_y p(y|z_n) grad log p(y|z_n) grad log p(y|z_n)^T
    GGN                1/N sum_n J_n^T (d^2 loss_n / dz_n^2) J_n,    J_n = dz_n / dtheta
    empirical Fisher   1/N sum_n grad loss_n grad loss_n^T
    Hessian            d^2 (1/N sum_n loss_n) / dtheta^2

`loss(z_n, y_n)` and `log_prob(z_n, y)` take one example. `outcomes(z_n)` returns all
labels y and their probabilities, or a quadrature rule that is exact for the sum.
textbook.py has the five usual choices. `y` is anything with y[n] for N examples. For a
network of this package, `function` is

    lambda theta, x: network.forward(network.unflatten(theta), x)[0]

Sources: Martens & Grosse 2015, section 3; Schraudolph 2002; Kunstner, Hennig & Balles
2019. Needs autograd (pip install autograd). NumPy arrays only.
"""

from kfac_ref.definition.matrices import (
    empirical_fisher,
    empirical_fisher_product,
    fisher,
    fisher_product,
    ggn,
    ggn_product,
    hessian,
    hessian_product,
    linear_operator,
    mean_kl,
)
from kfac_ref.definition.textbook import (
    bernoulli_log_prob,
    bernoulli_outcomes,
    categorical_log_prob,
    categorical_outcomes,
    normal_log_prob,
    normal_mean_variance_log_prob,
    normal_mean_variance_outcomes,
    normal_outcomes,
    poisson_log_prob,
    poisson_outcomes,
)

__all__ = [
    "bernoulli_log_prob",
    "bernoulli_outcomes",
    "categorical_log_prob",
    "categorical_outcomes",
    "empirical_fisher",
    "empirical_fisher_product",
    "fisher",
    "fisher_product",
    "ggn",
    "ggn_product",
    "hessian",
    "hessian_product",
    "linear_operator",
    "mean_kl",
    "normal_log_prob",
    "normal_mean_variance_log_prob",
    "normal_mean_variance_outcomes",
    "normal_outcomes",
    "poisson_log_prob",
    "poisson_outcomes",
]
