"""The four matrices and their products; the formulas are in __init__.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.sparse.linalg

from kfac_ref.definition.load import load_autograd, memory

Array = np.ndarray
Function = Callable[[Any, Any], Any]  # (theta, x) -> z
Loss = Callable[[Any, Any], Any]  # (z_n, y_n) -> scalar
Outcomes = Callable[[Array], tuple[list, Array]]  # z_n -> (labels, p)


def fisher(
    function: Function, theta: Array, x: Array, log_prob: Loss, outcomes: Outcomes
) -> Array:
    """The Fisher information matrix, (P, P)."""
    scores, zero = _scores(function, theta, x, log_prob, outcomes), _zeros(theta)
    return sum((p * np.outer(g, g) for g, p in scores), zero) / len(x)


def ggn(function: Function, theta: Array, x: Array, y: Any, loss: Loss) -> Array:
    """The generalised Gauss-Newton matrix, (P, P)."""
    total = _zeros(theta)
    z = _outputs(function, theta, x, y)
    J = load_autograd().jacobian(function)(theta, x)  # (N, ..., C, P)
    for J_n, z_n, y_n in zip(J, z, y, strict=True):
        H_n = load_autograd().hessian(loss)(z_n, y_n).reshape(z_n.size, z_n.size)
        J_n = J_n.reshape(z_n.size, -1)
        total = total + J_n.T @ H_n @ J_n
    return total / len(x)


def empirical_fisher(
    function: Function, theta: Array, x: Array, y: Any, loss: Loss
) -> Array:
    """The empirical Fisher matrix, (P, P)."""
    gradients, zero = _gradients(function, theta, x, y, loss), _zeros(theta)
    return sum((np.outer(g, g) for g in gradients), zero) / len(x)


def hessian(function: Function, theta: Array, x: Array, y: Any, loss: Loss) -> Array:
    """The Hessian of the mean loss, (P, P)."""
    _zeros(theta)  # raises if autograd's cannot fit
    return load_autograd().hessian(_mean_loss(function, x, y, loss))(theta)


# Products with a vector v (P,), without the matrix: arguments as above, then v.


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
    autograd = load_autograd()
    pull, z = autograd.make_vjp(lambda t: _outputs(function, t, x, y))(theta)
    # J v is the derivative of <J^T u, v> in u, which needs no forward mode
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
    return load_autograd().hessian_vector_product(mean_loss)(theta, v)


def linear_operator(product: Callable[..., Array], *arguments: Any) -> Any:
    """A product as a (P, P) SciPy LinearOperator, from its arguments without v."""

    def matvec(v: Array) -> Array:
        return product(*arguments, v.ravel())

    P = len(arguments[1])

    def matmat(V: Array) -> Array:
        columns = [matvec(v) for v in V.T]
        return np.stack(columns, axis=1) if columns else np.zeros(V.shape)

    return scipy.sparse.linalg.LinearOperator(
        (P, P),
        matvec=matvec,
        rmatvec=matvec,
        matmat=matmat,
        rmatmat=matmat,
        dtype=np.float64,
    )


def mean_kl(
    function: Function,
    theta: Array,
    other: Array,
    x: Array,
    log_prob: Loss,
    outcomes: Outcomes,
) -> Any:
    """1/N sum_n KL(p(y|theta) || p(y|other)); F is its Hessian in `other` at theta."""
    total = 0.0
    z, w = _outputs(function, theta, x), _outputs(function, other, x)
    for z_n, w_n in zip(z, w, strict=True):
        for y, p in zip(*outcomes(z_n), strict=True):
            total = total + p * (log_prob(z_n, y) - log_prob(w_n, y))
    return total / len(x)


def _zeros(theta: Array) -> Array:
    """Zeros (P, P). Raises MemoryError, before allocating, if three cannot fit."""
    needed = 3 * 8 * len(theta) ** 2
    if needed > memory():
        raise MemoryError(
            f"dense matrix of {len(theta):,} parameters: three of that size take "
            f"{needed / 1e9:.3g} GB, and the machine has {memory() / 1e9:.3g} GB; use "
            "the products with a vector, for instance fisher_product"
        )
    return np.zeros((len(theta), len(theta)))


def _gradients(
    function: Function, theta: Array, x: Array, y: Any, loss: Loss
) -> Iterator[Array]:
    """Yield the gradient of each example's loss in theta, (P,)."""
    for n in range(len(_outputs(function, theta, x, y))):
        yield load_autograd().grad(lambda t, n=n: loss(function(t, x)[n], y[n]))(theta)


def _scores(
    function: Function, theta: Array, x: Array, log_prob: Loss, outcomes: Outcomes
) -> Iterator[tuple[Array, float]]:
    """Yield grad log p(y|z_n) in theta, and p(y|z_n), for all examples n and all y."""
    for n, z_n in enumerate(_outputs(function, theta, x)):
        for y, p in zip(*outcomes(z_n), strict=True):
            score = load_autograd().grad(
                lambda t, n=n, y=y: log_prob(function(t, x)[n], y)
            )
            yield score(theta), p


def _mean_loss(function: Function, x: Array, y: Any, loss: Loss) -> Callable:
    def mean_loss(theta: Array) -> Any:
        each = zip(_outputs(function, theta, x, y), y, strict=True)
        return sum(loss(z_n, y_n) for z_n, y_n in each) / len(x)

    return mean_loss


def _outputs(function: Function, theta: Array, x: Array, y: Any = None) -> Any:
    """The outputs z. Raises ValueError unless theta is flat and all sizes agree."""
    z = function(theta, x)
    sizes = [len(x), len(z), len(x) if y is None else len(y)]
    if theta.ndim != 1 or len(set(sizes)) != 1:
        raise ValueError(
            "expected theta of shape (P,) and as many examples in x, z and y, found "
            f"theta of shape {theta.shape} and {', '.join(map(str, sizes))} examples"
        )
    return z
