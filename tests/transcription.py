"""Steps of two libraries in straight NumPy, and the dense Fisher.

Dense layers with tanh between them; what they share with Algorithm 2 is taken from its
page, `kfac_ref/algorithm2.py`, which imports nothing of the package. Nothing is fast:
inverses are np.linalg.inv, the Fisher is a dense matrix of every example's Jacobian.
Labels are drawn by the caller's `draw(z)`.
"""

from __future__ import annotations

import numpy as np

from kfac_ref import algorithm2
from kfac_ref.algorithm2 import (
    CrossEntropy,
    SquaredError,
    backward,
    damped_inverses,
    forward,
    mean_products,
    softmax,
    unvec,
    vec,
)

LOSSES = {"softmax": CrossEntropy(), "squared": SquaredError()}


def output_gradient(kind, z, y):
    """d loss / dz of each example."""
    return LOSSES[kind].gradient(z, y)


def objective(kind, Ws, x, y, eta):
    """h(theta) = mean loss + eta/2 |theta|^2"""
    return algorithm2.objective(LOSSES[kind], Ws, x, y, eta)


def gradient(kind, Ws, x, y, eta):
    a, z = forward(Ws, x)
    g = backward(Ws, a, output_gradient(kind, z, y))
    return vec(mean_products(a, g)) + eta * vec(Ws)


def matrices_like(Ws, v):
    return unvec(v, [W.shape for W in Ws])


def output_fisher(kind, z):
    """F_z of one example."""
    if kind == "squared":
        return 2 * np.eye(len(z))
    p = softmax(z[None])[0]
    return np.diag(p) - np.outer(p, p)


def fisher(kind, Ws, x):
    """1/N sum_n J_n^T F_z J_n, (P, P)."""
    F = 0.0
    for n in range(len(x)):
        a, z = forward(Ws, x[n : n + 1])
        rows = []
        for unit in np.eye(z.shape[1]):
            g = backward(Ws, a, unit[None])
            rows.append(vec([ai.T @ gi for ai, gi in zip(a, g, strict=True)]))
        J = np.array(rows)
        F = F + J.T @ output_fisher(kind, z[0]) @ J / len(x)
    return F


def factors(kind, Ws, x, dz_of):
    """A_ii and G_ii of each layer; dz_of(z): the vectors that are propagated back."""
    a, z = forward(Ws, x)
    g = backward(Ws, a, dz_of(z))
    return mean_products(a, a), mean_products(g, g)


def precondition(inverses, Ws, v):
    parts = matrices_like(Ws, v)
    return vec([iA @ V @ iG for (iA, iG), V in zip(inverses, parts, strict=True)])


def tensorflow_adam(
    kind, Ws, batches, draw, *, lr, m, lam, decay, invert_every, c, wd
):  # fmt: skip
    """TensorFlow K-FAC, momentum_type "adam", PeriodicInvCovUpdate; thetas and nus."""
    v, W, A_sum, G_sum, history = 0.0, 0.0, None, None, []
    zeros = [0.0] * len(Ws)
    theta = vec(Ws)
    for counter, (x, y) in enumerate(batches):
        Ws = matrices_like(Ws, theta)
        A, G = factors(kind, Ws, x, lambda z: output_gradient(kind, z, draw(z)))
        W = decay * W + 1
        A_sum = [decay * s + C for s, C in zip(A_sum or zeros, A, strict=True)]
        G_sum = [decay * s + C for s, C in zip(G_sum or zeros, G, strict=True)]
        if counter % invert_every == 0:
            cov = [S / W for S in A_sum], [S / W for S in G_sum]
            inverses = damped_inverses(*cov, np.sqrt(lam))
        v = m * v + gradient(kind, Ws, x, y, 0.0)
        u = precondition(inverses, Ws, v)
        nu = min(1.0, np.sqrt(c / (lr**2 * (v @ u))))
        theta = theta - lr * (nu * u + wd * theta)
        history.append((theta, nu))
    return history


def tensorflow_regular(kind, Ws, batches, draw, *, lr, m, lam, decay):
    """TensorFlow K-FAC, momentum_type "regular": the velocity of preconditioned
    gradients."""
    v, W, A_sum, G_sum, thetas = 0.0, 0.0, None, None, []
    zeros = [0.0] * len(Ws)
    theta = vec(Ws)
    for x, y in batches:
        Ws = matrices_like(Ws, theta)
        A, G = factors(kind, Ws, x, lambda z: output_gradient(kind, z, draw(z)))
        W = decay * W + 1
        A_sum = [decay * s + C for s, C in zip(A_sum or zeros, A, strict=True)]
        G_sum = [decay * s + C for s, C in zip(G_sum or zeros, G, strict=True)]
        inverses = damped_inverses(
            [S / W for S in A_sum], [S / W for S in G_sum], np.sqrt(lam)
        )
        v = m * v + precondition(inverses, Ws, gradient(kind, Ws, x, y, 0.0))
        theta = theta - lr * v
        thetas.append(theta)
    return thetas


def tensorflow_qmodel(
    kind, Ws, batches, draw, *, lam, l2, decay, interval, omega, floor
):  # fmt: skip
    """TensorFlow K-FAC, momentum_type "qmodel" with adapt_damping; lam contains l2."""
    W, A_sum, G_sum, history = 0.0, None, None, []
    zeros = [0.0] * len(Ws)
    theta = vec(Ws)
    velocity = np.zeros_like(theta)
    for counter, (x, y) in enumerate(batches):
        Ws = matrices_like(Ws, theta)
        A, G = factors(kind, Ws, x, lambda z: output_gradient(kind, z, draw(z)))
        W = decay * W + 1
        A_sum = [decay * s + C for s, C in zip(A_sum or zeros, A, strict=True)]
        G_sum = [decay * s + C for s, C in zip(G_sum or zeros, G, strict=True)]
        inverses = damped_inverses(
            [S / W for S in A_sum], [S / W for S in G_sum], np.sqrt(lam)
        )
        g = gradient(kind, Ws, x, y, l2)
        d1, d2 = precondition(inverses, Ws, g), -velocity
        F = fisher(kind, Ws, x)
        b = lam * np.array([[d1 @ d1, d1 @ d2], [d1 @ d2, d2 @ d2]])
        m = np.array([[d1 @ F @ d1, d1 @ F @ d2], [d1 @ F @ d2, d2 @ F @ d2]]) + b
        c = np.array([g @ d1, g @ d2])
        s = np.array([-c[0] / m[0, 0], 0.0]) if c[1] == 0 else -np.linalg.inv(m) @ c
        change = 0.5 * s @ m @ s + c @ s - (1 - l2 / lam) * 0.5 * s @ b @ s
        velocity = -s[1] * d2 - s[0] * d1
        before = objective(kind, Ws, x, y, l2)
        theta = theta - velocity
        rho = None
        if (counter + 1) % interval == 0:
            after = objective(kind, matrices_like(Ws, theta), x, y, l2)
            rho = (after - before) / change
            if rho > 0.75:
                lam *= omega**interval
            elif rho < 0.25:
                lam /= omega**interval
            lam = max(lam, floor + l2)
        history.append((theta, change, rho, lam))
    return history


def kfac_jax(
    kind, Ws, batches, signs, *, damping, l2, ema, inverse_period, interval, decay,
    lr=None, momentum=None, norm_constraint=None, burn_in=(), limits=(1e-8, np.inf),
):  # fmt: skip
    """KFAC-JAX: lr and momentum None: adaptive, with the adaptive damping.

    signs(z): random signs; the estimate is curvature propagation.
    """

    def statistics(Ws, x):
        def propagated(z):
            r, dz = signs(z), np.zeros_like(z)
            for n in range(len(z)):
                dz[n] = root(kind, z[n]) @ r[n]
            return dz

        return factors(kind, Ws, x, propagated)

    def update(average, A, G, ema_old):
        weight, A_bar, G_bar = average
        weight = ema_old * weight + 1
        A_bar = [
            (1 - 1 / weight) * o + n / weight for o, n in zip(A_bar, A, strict=True)
        ]
        G_bar = [
            (1 - 1 / weight) * o + n / weight for o, n in zip(G_bar, G, strict=True)
        ]
        return weight, A_bar, G_bar

    average = (0.0, [0.0] * len(Ws), [0.0] * len(Ws))
    theta = vec(Ws)
    velocity, history = np.zeros_like(theta), []
    for x, _ in burn_in:
        average = update(average, *statistics(Ws, x), 1.0)
    for step, (x, y) in enumerate(batches):
        Ws = matrices_like(Ws, theta)
        average = update(average, *statistics(Ws, x), ema)
        loss, grad = objective(kind, Ws, x, y, l2), gradient(kind, Ws, x, y, l2)
        if step % inverse_period == 0:
            inverses = [
                pi_adjusted(A, G, damping + l2)
                for A, G in zip(*average[1:], strict=True)
            ]
        d = precondition(inverses, Ws, grad)
        if lr is not None:
            if norm_constraint is not None:
                d = d * min(1.0, np.sqrt(norm_constraint / (lr**2 * (d @ grad))))
            w = np.array([-lr, momentum])
        V = np.stack([d, velocity], axis=1)
        A_q = V.T @ fisher(kind, Ws, x) @ V + l2 * V.T @ V
        b = V.T @ grad
        if lr is None:
            A_damped = A_q + damping * V.T @ V
            if velocity.any():
                w = -np.linalg.solve(A_damped, b)
            else:
                w = np.array([-b[0] / A_damped[0, 0], 0.0])
        delta = V @ w
        theta, velocity = theta + delta, delta
        change, rho = 0.5 * w @ A_q @ w + w @ b, None
        if lr is not None:  # then the approximation takes the place of the GGN
            moved = [
                A @ D @ G
                for A, D, G in zip(
                    average[1], matrices_like(Ws, delta), average[2], strict=True
                )
            ]
            change = 0.5 * delta @ (vec(moved) + l2 * delta) + delta @ grad
        if interval and (step + 1) % interval == 0:
            rho = (objective(kind, matrices_like(Ws, theta), x, y, l2) - loss) / change
            if rho > 0.75:
                damping *= decay**interval
            if rho < 0.25:
                damping /= decay**interval
            damping = float(np.clip(damping, *limits))
        history.append((theta, -w[0], w[1], change, rho, damping))
    return history


def pi_adjusted(A, G, lam):
    """The inverses of c A / n_A + sqrt(lam) I and c G / n_G + sqrt(lam) I."""
    n_A, n_G = np.trace(A) / len(A), np.trace(G) / len(G)
    c = np.sqrt(n_A * n_G)
    hat_A = c * A / n_A + np.sqrt(lam) * np.eye(len(A))
    hat_G = c * G / n_G + np.sqrt(lam) * np.eye(len(G))
    return np.linalg.inv(hat_A), np.linalg.inv(hat_G)


def root(kind, z):
    """B of one example, F_z = B B^T: diag(q) - p q^T with q = sqrt(p)."""
    if kind == "squared":
        return np.sqrt(2) * np.eye(len(z))
    p = softmax(z[None])[0]
    return np.diag(np.sqrt(p)) - np.outer(p, np.sqrt(p))
