"""Curvature from the definition, for any function that autograd can differentiate.

A witness: it shares no code with the rest of the package, and reads like the formulas.
`function(theta, x) -> z` maps a flat vector theta (P,) and a batch x (N, ...) to the
outputs z (N, C), and is written with autograd.numpy; positions lie between N and C.

    Fisher             1/N sum_n sum_y p(y|z_n) grad log p(y|z_n) grad log p(y|z_n)^T
    GGN                1/N sum_n J_n^T (d^2 loss_n / dz_n^2) J_n,    J_n = dz_n / dtheta
    empirical Fisher   1/N sum_n grad loss_n grad loss_n^T
    Hessian            d^2 (1/N sum_n loss_n) / dtheta^2

`loss(z_n, y_n)` and `log_prob(z_n, y)` belong to one example; `outcomes(z_n)` is the
pair (all labels y, their probabilities), or a quadrature rule that is exact for the
sum. The five usual choices stand at the end. `y` is anything with y[n] for N examples.
For a network of this package `function` is

    lambda theta, x: network.forward(network.unflatten(theta), x)[0]

Sources: Martens & Grosse 2015, section 3; Schraudolph 2002; Kunstner, Hennig & Balles
2019. Needs autograd (pip install autograd). NumPy arrays only.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import scipy.sparse.linalg
import scipy.special

Array = np.ndarray
Function = Callable[[Any, Any], Any]  # (theta, x) -> z
Loss = Callable[[Any, Any], Any]  # (z_n, y_n) -> scalar
Outcomes = Callable[[Array], tuple[list, Array]]  # z_n -> (labels, p)


def _autograd() -> Any:
    try:
        import autograd
        import autograd.scipy.special
    except ImportError as error:
        raise ImportError(
            "kfac_ref.definition differentiates with autograd, which is not installed; "
            "pip install autograd"
        ) from error
    return autograd


def fisher(
    function: Function, theta: Array, x: Array, log_prob: Loss, outcomes: Outcomes
) -> Array:
    """The Fisher information matrix, (P, P)."""
    scores = _scores(function, theta, x, log_prob, outcomes)
    zero = np.zeros((len(theta), len(theta)))
    return sum((p * np.outer(g, g) for g, p in scores), zero) / len(x)


def ggn(function: Function, theta: Array, x: Array, y: Any, loss: Loss) -> Array:
    """The generalised Gauss-Newton matrix, (P, P)."""
    total = np.zeros((len(theta), len(theta)))
    z = _outputs(function, theta, x, y)
    J = _autograd().jacobian(function)(theta, x)  # (N, ..., C, P)
    for J_n, z_n, y_n in zip(J, z, y, strict=True):
        H_n = _autograd().hessian(loss)(z_n, y_n).reshape(z_n.size, z_n.size)
        J_n = J_n.reshape(z_n.size, -1)
        total = total + J_n.T @ H_n @ J_n
    return total / len(x)


def empirical_fisher(
    function: Function, theta: Array, x: Array, y: Any, loss: Loss
) -> Array:
    """The empirical Fisher matrix, (P, P)."""
    gradients = _gradients(function, theta, x, y, loss)
    zero = np.zeros((len(theta), len(theta)))
    return sum((np.outer(g, g) for g in gradients), zero) / len(x)


def hessian(function: Function, theta: Array, x: Array, y: Any, loss: Loss) -> Array:
    """The Hessian of the mean loss, (P, P)."""
    return _autograd().hessian(_mean_loss(function, x, y, loss))(theta)


# Products with a vector v (P,), without the matrix. Arguments as above, v last.


def fisher_product(
    function: Function,
    theta: Array,
    x: Array,
    log_prob: Loss,
    outcomes: Outcomes,
    v: Array,
) -> Array:
    """Fisher times v, (P,)."""
    scores = _scores(function, theta, x, log_prob, outcomes)
    return sum((p * g * (g @ v) for g, p in scores), 0.0 * theta) / len(x)


def ggn_product(
    function: Function, theta: Array, x: Array, y: Any, loss: Loss, v: Array
) -> Array:
    """GGN times v, (P,): J v, then each example's loss Hessian, then J^T."""
    autograd = _autograd()
    pull, z = autograd.make_vjp(lambda t: _outputs(function, t, x, y))(theta)
    # J v is the derivative of <J^T u, v> in u: needs no rules for forward mode
    Jv = autograd.grad(lambda u: autograd.numpy.dot(pull(u), v))(np.zeros_like(z))
    product = autograd.hessian_vector_product(loss)
    HJv = [product(z_n, y_n, u_n) for z_n, y_n, u_n in zip(z, y, Jv, strict=True)]
    return pull(np.array(HJv)) / len(x)


def empirical_fisher_product(
    function: Function, theta: Array, x: Array, y: Any, loss: Loss, v: Array
) -> Array:
    """Empirical Fisher times v, (P,)."""
    gradients = _gradients(function, theta, x, y, loss)
    return sum((g * (g @ v) for g in gradients), 0.0 * theta) / len(x)


def hessian_product(
    function: Function, theta: Array, x: Array, y: Any, loss: Loss, v: Array
) -> Array:
    """Hessian times v, (P,)."""
    mean_loss = _mean_loss(function, x, y, loss)
    return _autograd().hessian_vector_product(mean_loss)(theta, v)


def linear_operator(product: Callable[..., Array], *arguments: Any) -> Any:
    """One of the products as a (P, P) scipy LinearOperator; arguments without v."""

    def matvec(v: Array) -> Array:
        return product(*arguments, v.ravel())

    P = len(arguments[1])
    return scipy.sparse.linalg.LinearOperator(
        (P, P), matvec=matvec, rmatvec=matvec, dtype=np.float64
    )


def mean_kl(
    function: Function,
    theta: Array,
    other: Array,
    x: Array,
    log_prob: Loss,
    outcomes: Outcomes,
) -> Any:
    """1/N sum_n KL(p(y|theta) || p(y|other)); its Hessian in other = theta is F."""
    total = 0.0
    z, w = _outputs(function, theta, x), _outputs(function, other, x)
    for z_n, w_n in zip(z, w, strict=True):
        for y, p in zip(*outcomes(z_n), strict=True):
            total = total + p * (log_prob(z_n, y) - log_prob(w_n, y))
    return total / len(x)


def _gradients(
    function: Function, theta: Array, x: Array, y: Any, loss: Loss
) -> Iterator[Array]:
    """Gradient of each example's loss in theta."""
    for n in range(len(_outputs(function, theta, x, y))):
        yield _autograd().grad(lambda t, n=n: loss(function(t, x)[n], y[n]))(theta)


def _scores(
    function: Function, theta: Array, x: Array, log_prob: Loss, outcomes: Outcomes
) -> Iterator[tuple[Array, float]]:
    """grad log p(y|z_n) in theta, and p(y|z_n), for all examples n and all y."""
    for n, z_n in enumerate(_outputs(function, theta, x)):
        for y, p in zip(*outcomes(z_n), strict=True):
            score = _autograd().grad(lambda t, n=n, y=y: log_prob(function(t, x)[n], y))
            yield score(theta), p


def _mean_loss(function: Function, x: Array, y: Any, loss: Loss) -> Callable:
    def mean_loss(theta: Array) -> Any:
        each = zip(_outputs(function, theta, x, y), y, strict=True)
        return sum(loss(z_n, y_n) for z_n, y_n in each) / len(x)

    return mean_loss


def _outputs(function: Function, theta: Array, x: Array, y: Any = None) -> Any:
    """z, after a look at the sizes of everything."""
    z = function(theta, x)
    sizes = [len(x), len(z), len(x) if y is None else len(y)]
    if theta.ndim != 1 or len(set(sizes)) != 1:
        raise ValueError(
            "expected theta of shape (P,) and as many examples in x, z and y, found "
            f"theta of shape {theta.shape} and {', '.join(map(str, sizes))} examples"
        )
    return z


# The five usual log p(y|z), as in a textbook, and all their outcomes. z is the output
# for one example, (C,) or (..., C); the losses of all positions are summed. The number
# of outcomes is a product over all outputs: for small C only.


def categorical_log_prob(z: Any, y: Any) -> Any:
    """log softmax(z)_y."""
    np = _autograd().numpy
    picked = np.sum(np.eye(z.shape[-1])[y] * z)
    return picked - np.sum(np.log(np.sum(np.exp(z), axis=-1)))


def bernoulli_log_prob(z: Any, y: Any) -> Any:
    """y log p + (1 - y) log(1 - p), p = 1 / (1 + exp(-z))."""
    np = _autograd().numpy
    p = 1 / (1 + np.exp(-z))
    return np.sum(y * np.log(p) + (1 - y) * np.log(1 - p))


def normal_log_prob(z: Any, y: Any, variance: float = 1.0) -> Any:
    """log N(y; z, variance)."""
    np = _autograd().numpy
    return np.sum(-((y - z) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2)


def normal_mean_variance_log_prob(z: Any, y: Any) -> Any:
    """log N(y; m, exp(s)), z = [m, s]."""
    np = _autograd().numpy
    D = z.shape[-1] // 2
    mean, variance = z[..., :D], np.exp(z[..., D:])
    return np.sum(
        -((y - mean) ** 2) / (2 * variance) - np.log(2 * np.pi * variance) / 2
    )


def poisson_log_prob(z: Any, y: Any) -> Any:
    """y log r - r - log y!, r = exp(z)."""
    autograd = _autograd()
    rate = autograd.numpy.exp(z)
    log_factorial = autograd.scipy.special.gammaln(y + 1)
    return autograd.numpy.sum(y * autograd.numpy.log(rate) - rate - log_factorial)


def categorical_outcomes(z: Array) -> tuple[list, Array]:
    """Every class, with its probability."""
    rows = np.exp(z).reshape(-1, z.shape[-1])
    each = [(np.arange(len(row)), row / row.sum()) for row in rows]
    return _product(each, z.shape[:-1])


def bernoulli_outcomes(z: Array) -> tuple[list, Array]:
    """Every row of zeros and ones, with its probability."""
    p = 1 / (1 + np.exp(-z.ravel()))
    return _product([((0.0, 1.0), (1 - p_c, p_c)) for p_c in p], z.shape)


def normal_outcomes(
    z: Array, variance: float = 1.0, nodes: int = 3
) -> tuple[list, Array]:
    """Gauss-Hermite rule: exact for polynomials of degree < 2 nodes in each output."""
    t, w = np.polynomial.hermite_e.hermegauss(nodes)
    each = [(m + variance**0.5 * t, w / w.sum()) for m in z.ravel()]
    return _product(each, z.shape)


def normal_mean_variance_outcomes(z: Array, nodes: int = 3) -> tuple[list, Array]:
    """Gauss-Hermite rule; gradient gradient^T has degree 4, for which 3 nodes do."""
    mean, log_variance = np.split(z, 2, axis=-1)
    t, w = np.polynomial.hermite_e.hermegauss(nodes)
    pairs = zip(mean.ravel(), log_variance.ravel(), strict=True)
    each = [(m + np.exp(s / 2) * t, w / w.sum()) for m, s in pairs]
    return _product(each, mean.shape)


def poisson_outcomes(z: Array, tail: float = 1e-17) -> tuple[list, Array]:
    """0, 1, 2, ... until the probability of all larger counts is below `tail`."""

    def counts(rate: float) -> tuple[Array, Array]:
        last = 0
        while scipy.special.pdtrc(last, rate) >= tail:
            last += 1
        y = np.arange(last + 1.0)
        return y, np.exp(y * np.log(rate) - rate - scipy.special.gammaln(y + 1))

    return _product([counts(np.exp(z_c)) for z_c in z.ravel()], z.shape)


def _product(each: Iterable[tuple], shape: tuple[int, ...]) -> tuple[list, Array]:
    """Joint outcomes of independent ones: labels of `shape`, probabilities."""
    labels, p = zip(*each, strict=True)
    joint = [np.reshape(y, shape) for y in itertools.product(*labels)]
    return joint, np.array([np.prod(p_y) for p_y in itertools.product(*p)])
