"""Algorithm 2 of Martens & Grosse 2015, and two libraries' steps, in straight NumPy.

Nothing here shares code with the package, nothing is fast. Dense layers with tanh
between them, W (d_in + 1, d_out) with the bias last, loss "softmax" (cross-entropy) or
"squared" (|y - z|^2). Inverses are np.linalg.inv, the Fisher is a dense matrix made of
every example's Jacobian. Labels are drawn by the caller's `draw(z)`.
"""

from __future__ import annotations

import numpy as np


def forward(Ws, x):
    """The homogeneous inputs of every layer, and the outputs z."""
    a, h = [], x
    for W in Ws:
        a.append(np.hstack([h, np.ones((len(h), 1))]))
        z = a[-1] @ W
        h = np.tanh(z)
    return a, z


def backward(Ws, a, dz):
    """What arrives at the outputs of every layer, for each example."""
    g = [dz]
    for W, after in zip(Ws[:0:-1], a[:0:-1], strict=True):
        slope = 1 - after[:, :-1] ** 2
        g.insert(0, (g[0] @ W[:-1].T) * slope)
    return g


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def output_gradient(kind, z, y):
    """d loss / dz of each example."""
    if kind == "squared":
        return 2 * (z - y)
    p = softmax(z)
    p[np.arange(len(z)), y] -= 1
    return p


def output_fisher(kind, z):
    """F_z of one example."""
    if kind == "squared":
        return 2 * np.eye(len(z))
    p = softmax(z[None])[0]
    return np.diag(p) - np.outer(p, p)


def vector(matrices):
    return np.concatenate([M.reshape(-1) for M in matrices])


def matrices_like(Ws, v):
    ends = np.cumsum([W.size for W in Ws])[:-1]
    return [
        part.reshape(W.shape) for W, part in zip(Ws, np.split(v, ends), strict=True)
    ]


def objective(kind, Ws, x, y, eta):
    """h(theta) = mean loss + eta/2 |theta|^2"""
    z = forward(Ws, x)[1]
    if kind == "squared":
        losses = ((y - z) ** 2).sum(axis=1)
    else:
        losses = -np.log(softmax(z)[np.arange(len(z)), y])
    return losses.mean() + eta / 2 * (vector(Ws) ** 2).sum()


def gradient(kind, Ws, x, y, eta):
    a, z = forward(Ws, x)
    g = backward(Ws, a, output_gradient(kind, z, y))
    each = [ai.T @ gi / len(x) for ai, gi in zip(a, g, strict=True)]
    return vector(each) + eta * vector(Ws)


def fisher(kind, Ws, x):
    """1/N sum_n J_n^T F_z J_n, (P, P)."""
    F = 0.0
    for n in range(len(x)):
        a, z = forward(Ws, x[n : n + 1])
        rows = []
        for unit in np.eye(z.shape[1]):
            g = backward(Ws, a, unit[None])
            rows.append(vector([ai.T @ gi for ai, gi in zip(a, g, strict=True)]))
        J = np.array(rows)
        F = F + J.T @ output_fisher(kind, z[0]) @ J / len(x)
    return F


def factors(kind, Ws, x, dz_of):
    """A_ii and G_ii of each layer; dz_of(z): the vectors that are propagated back."""
    a, z = forward(Ws, x)
    g = backward(Ws, a, dz_of(z))
    N = len(x)
    return [ai.T @ ai / N for ai in a], [gi.T @ gi / N for gi in g]


def factored_inverses(A, G, gamma):
    """(A + pi gamma I)^-1 and (G + gamma/pi I)^-1 of each layer."""
    found = []
    for Ai, Gi in zip(A, G, strict=True):
        pi = np.sqrt((np.trace(Ai) / len(Ai)) / (np.trace(Gi) / len(Gi)))
        damped_A = Ai + pi * gamma * np.eye(len(Ai))
        damped_G = Gi + gamma / pi * np.eye(len(Gi))
        found.append((np.linalg.inv(damped_A), np.linalg.inv(damped_G)))
    return found


def precondition(inverses, Ws, v):
    parts = matrices_like(Ws, v)
    return vector([iA @ V @ iG for (iA, iG), V in zip(inverses, parts, strict=True)])


def minimum(C, slope, first, second):
    """(alpha, mu) = -[[..]]^-1 [..]; without a last update only alpha."""
    if not second.any():
        return -(slope @ first) / (first @ C @ first), 0.0
    a, b, d = first @ C @ first, first @ C @ second, second @ C @ second
    p, q = slope @ first, slope @ second
    det = a * d - b * b
    return -(d * p - b * q) / det, -(a * q - b * p) / det


def algorithm_2(
    kind, Ws, batches, draw, *, lam, eta, T1, T2, T3, omega_1, omega_2, eps,
    subsets=lambda n: (slice(n), slice(n)),
):  # fmt: skip
    """One dict for every step k = 1, 2, ..., in the order of the paper's listing.

    subsets(n): the indices of S_1 and S_2 in a batch of n.
    """
    theta = vector(Ws)
    last = np.zeros_like(theta)
    gamma = np.sqrt(lam + eta)
    A_bar = G_bar = inverses = None
    history = []
    for k, (x, y) in enumerate(batches, start=1):
        Ws = matrices_like(Ws, theta)
        h = objective(kind, Ws, x, y, eta)
        grad = gradient(kind, Ws, x, y, eta)

        # statistics with labels of the model, section 5
        S1, S2 = subsets(len(x))
        A, G = factors(kind, Ws, x[S1], lambda z: output_gradient(kind, z, draw(z)))
        e = min(1 - 1 / k, eps)
        if k == 1:
            A_bar, G_bar = A, G
        else:
            A_bar = [e * old + (1 - e) * new for old, new in zip(A_bar, A, strict=True)]
            G_bar = [e * old + (1 - e) * new for old, new in zip(G_bar, G, strict=True)]

        # candidates for gamma (6.6); a new gamma cannot do without a new inverse
        search, renew = k % T2 == 0, k % T3 == 0 or k <= 3
        candidates = [gamma, omega_2 * gamma, gamma / omega_2] if search else [gamma]
        C = fisher(kind, Ws, x[S2]) + (lam + eta) * np.eye(len(theta))
        tried = []
        for candidate in candidates:
            if search or renew:
                inverses = factored_inverses(A_bar, G_bar, candidate)
            Delta = -precondition(inverses, Ws, grad)
            alpha, mu = minimum(C, grad, Delta, last)  # 6.4 and 7
            delta = alpha * Delta + mu * last
            M = 0.5 * delta @ C @ delta + grad @ delta
            tried.append((M, candidate, inverses, Delta, alpha, mu, delta))
        best = min(tried, key=lambda found: found[0])
        M, gamma, inverses, Delta, alpha, mu, delta = best

        # lambda, 6.5
        rho = None
        if k % T1 == 0:
            after = objective(kind, matrices_like(Ws, theta + delta), x, y, eta)
            rho = (after - h) / M
            if rho > 3 / 4:
                lam = omega_1 * lam
            if rho < 1 / 4:
                lam = lam / omega_1
        theta, last = theta + delta, delta
        history.append(
            dict(
                loss=h, gradient=grad, A=A, G=G, A_bar=A_bar, G_bar=G_bar, gamma=gamma,
                direction=Delta, alpha=alpha, mu=mu, update=delta, predicted=M,
                ratio=rho, lambda_=lam, theta=theta, renewed=search or renew,
                models=[found[0] for found in tried],
            )
        )  # fmt: skip
    return history


def tensorflow_adam(
    kind, Ws, batches, draw, *, lr, m, lam, decay, invert_every, c, wd
):  # fmt: skip
    """TensorFlow K-FAC, momentum_type "adam", PeriodicInvCovUpdate; thetas and nus."""
    v, W, A_sum, G_sum, history = 0.0, 0.0, None, None, []
    zeros = [0.0] * len(Ws)
    theta = vector(Ws)
    for counter, (x, y) in enumerate(batches):
        Ws = matrices_like(Ws, theta)
        A, G = factors(kind, Ws, x, lambda z: output_gradient(kind, z, draw(z)))
        W = decay * W + 1
        A_sum = [decay * s + C for s, C in zip(A_sum or zeros, A, strict=True)]
        G_sum = [decay * s + C for s, C in zip(G_sum or zeros, G, strict=True)]
        if counter % invert_every == 0:
            cov = [S / W for S in A_sum], [S / W for S in G_sum]
            inverses = factored_inverses(*cov, np.sqrt(lam))
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
    theta = vector(Ws)
    for x, y in batches:
        Ws = matrices_like(Ws, theta)
        A, G = factors(kind, Ws, x, lambda z: output_gradient(kind, z, draw(z)))
        W = decay * W + 1
        A_sum = [decay * s + C for s, C in zip(A_sum or zeros, A, strict=True)]
        G_sum = [decay * s + C for s, C in zip(G_sum or zeros, G, strict=True)]
        inverses = factored_inverses(
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
    theta = vector(Ws)
    velocity = np.zeros_like(theta)
    for counter, (x, y) in enumerate(batches):
        Ws = matrices_like(Ws, theta)
        A, G = factors(kind, Ws, x, lambda z: output_gradient(kind, z, draw(z)))
        W = decay * W + 1
        A_sum = [decay * s + C for s, C in zip(A_sum or zeros, A, strict=True)]
        G_sum = [decay * s + C for s, C in zip(G_sum or zeros, G, strict=True)]
        inverses = factored_inverses(
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
    theta = vector(Ws)
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
            change = 0.5 * delta @ (vector(moved) + l2 * delta) + delta @ grad
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
