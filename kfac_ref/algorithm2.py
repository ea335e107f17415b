"""K-FAC on one page: Algorithm 2 of Martens & Grosse 2015, arXiv 1503.05671.

    python -m kfac_ref.algorithm2    # trains 64-20-10 on the UCI digits

Slow and obvious: the rest of the package is faster, and takes the same steps. A layer
is a matrix W (i, o), the transpose of the paper's; its last row is the bias. It maps
its inputs a (n, i), which end with a 1, to s = a W (n, o); tanh follows. What arrives
at s on the way back is g = dloss/ds (n, o). One example's gradient is a g^T, and K-FAC
is E[vec(a g^T) vec(a g^T)^T] = E[a a^T (x) g g^T] ~ E[a a^T] (x) E[g g^T] = A (x) G.

n example, i input, o output, p parameter; lam is lambda, the damping, and eta the
weight decay. Numbers in brackets are sections of the paper.
"""

import numpy as np


class CrossEntropy:
    """-log p(y|z), p = softmax(z), of each example; labels y (n,) are integers."""

    def value(self, z, y):
        return -np.log(softmax(z)[np.arange(len(z)), y])  # (n,)

    def gradient(self, z, y):
        return softmax(z) - np.eye(z.shape[1])[y]  # (n, o)

    def fisher(self, z, v):
        p = softmax(z)
        return p * v - p * (p * v).sum(axis=1, keepdims=True)  # (diag(p) - p p^T) v

    def sample(self, z, rng):
        u, total = rng.random((len(z), 1)), np.cumsum(softmax(z), axis=1)
        return (u >= total[:, :-1]).sum(axis=1)  # (n,)


class SquaredError:
    """|y - z|^2 of each example: y (n, o) is normal around z, with variance 1/2."""

    def value(self, z, y):
        return ((y - z) ** 2).sum(axis=1)  # (n,)

    def gradient(self, z, y):
        return 2 * (z - y)  # (n, o)

    def fisher(self, z, v):
        return 2 * v  # (n, o)

    def sample(self, z, rng):
        return z + np.sqrt(1 / 2) * rng.standard_normal(z.shape)  # (n, o)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)  # (n, o)


def forward(Ws, x):
    """The inputs a of every layer, and the outputs z of the last (Algorithm 1)."""
    a, h = [], x
    for W in Ws:
        a.append(np.hstack([h, np.ones((len(h), 1))]))  # (n, i)
        z = a[-1] @ W  # (n, o)
        h = np.tanh(z)
    return a, z


def backward(Ws, a, dz):
    """The g of every layer if dz arrives at the outputs (Algorithm 1)."""
    g = [dz]  # (n, o)
    for W, after in zip(Ws[:0:-1], a[:0:-1], strict=True):
        g.insert(0, g[0] @ W[:-1].T * (1 - after[:, :-1] ** 2))  # tanh' = 1 - tanh^2
    return g


def forward_tangent(Ws, a, Vs):
    """J_n v: how z moves when the Ws move along the Vs (appendix C)."""
    ds = a[0] @ Vs[0]  # (n, o)
    for W, V, ai in zip(Ws[1:], Vs[1:], a[1:], strict=True):
        ds = ds * (1 - ai[:, :-1] ** 2) @ W[:-1] + ai @ V
    return ds


def mean_products(u, v):
    """E[u v^T] of every layer, the mean over the examples."""
    return [ui.T @ vi / len(ui) for ui, vi in zip(u, v, strict=True)]


def vec(matrices):
    return np.concatenate([M.ravel() for M in matrices])  # (p,), row by row


def unvec(v, shapes):
    ends = np.cumsum([i * o for i, o in shapes])[:-1]
    return [part.reshape(s) for part, s in zip(np.split(v, ends), shapes, strict=True)]


def objective(loss, Ws, x, y, eta):
    """h(theta) = E[loss] + eta/2 |theta|^2 (6.1)."""
    return loss.value(forward(Ws, x)[1], y).mean() + eta / 2 * (vec(Ws) ** 2).sum()


def damped_inverses(A, G, gamma):
    """(A + pi gamma I)^-1 and (G + gamma/pi I)^-1 of every layer (6.3)."""
    inverses = []
    for Ai, Gi in zip(A, G, strict=True):
        pi = np.sqrt((np.trace(Ai) / len(Ai)) / (np.trace(Gi) / len(Gi)))
        damped_A = Ai + pi * gamma * np.eye(len(Ai))  # (i, i)
        damped_G = Gi + gamma / pi * np.eye(len(Gi))  # (o, o)
        inverses.append((np.linalg.inv(damped_A), np.linalg.inv(damped_G)))
    return inverses


def fisher_forms(loss, Ws, x, directions):
    """u^T F v for all u, v of the directions, F = E[J_n^T F_z J_n] (appendix C)."""
    (a, z), shapes = forward(Ws, x), [W.shape for W in Ws]
    Jv = [forward_tangent(Ws, a, unvec(v, shapes)) for v in directions]
    return np.array([[(u * loss.fisher(z, v)).sum() / len(x) for v in Jv] for u in Jv])


def subset(n, tau, rng):
    """The indices of a random share tau of n examples, all of them for tau = 1."""
    some = max(1, round(tau * n))
    return np.arange(n) if some == n else np.sort(rng.choice(n, some, replace=False))


def algorithm_2(
    loss, Ws, batches, rng, *, lam=150.0, eta=1e-5, tau_1=1, tau_2=1,
    T1=5, T2=20, T3=20, omega_1=(19 / 20) ** 5, omega_2=(19 / 20) ** 10, eps=0.95,
):  # fmt: skip
    """Update the Ws with each mini-batch (x, y) and yield all that was computed."""
    # omega_1 is (19/20)^T1, and omega_2 is sqrt(19/20)^T2 (6.5, 6.6).
    theta, shapes, gamma = vec(Ws), [W.shape for W in Ws], np.sqrt(lam + eta)  # (6.6)
    A_bar = G_bar = [0.0] * len(Ws)  # their weight is 0 in the first update
    last: list = []  # the last update; there is none yet
    for k, (x, y) in enumerate(batches, start=1):
        S1, S2 = subset(len(x), tau_1, rng), subset(len(x), tau_2, rng)  # (8)
        Ws = unvec(theta, shapes)
        a, z = forward(Ws, x)
        g = backward(Ws, a, loss.gradient(z, y))
        grad = vec(mean_products(a, g)) + eta * theta  # of h, (p,)

        # Second moments, with labels drawn from the model, and their averages (5).
        a, z = forward(Ws, x[S1])
        g = backward(Ws, a, loss.gradient(z, loss.sample(z, rng)))
        A, G = mean_products(a, a), mean_products(g, g)  # (i, i), (o, o)
        e = min(1 - 1 / k, eps)
        A_bar = [e * old + (1 - e) * new for old, new in zip(A_bar, A, strict=True)]
        G_bar = [e * old + (1 - e) * new for old, new in zip(G_bar, G, strict=True)]

        # Candidates for gamma (6.6), each with new inverses; else these are kept (8).
        search, renew, tried = k % T2 == 0, k % T3 == 0 or k <= 3, []
        for new in [gamma, omega_2 * gamma, gamma / omega_2] if search else [gamma]:
            if search or renew:
                inverses = damped_inverses(A_bar, G_bar, new)
            layers = zip(inverses, unvec(grad, shapes), strict=True)
            Delta = -vec([iA @ V @ iG for (iA, iG), V in layers])  # (4.2)

            # delta = alpha Delta (6.4), or alpha Delta + mu last (7), with the least
            # M(delta) = 1/2 delta^T (F + (lambda + eta) I) delta + grad^T delta.
            D = np.array([Delta, *last])  # (1 or 2, p)
            C = fisher_forms(loss, Ws, x[S2], D) + (lam + eta) * D @ D.T
            c = -np.linalg.solve(C, D @ grad)  # alpha, mu
            M = c @ C @ c / 2 + c @ D @ grad
            tried.append((M, new, inverses, Delta, c, c @ D))
        M, gamma, inverses, Delta, c, delta = min(tried, key=lambda one: one[0])

        # lambda: how well did M predict the change of h (6.5)?
        h, rho = objective(loss, Ws, x, y, eta), None
        if k % T1 == 0:
            rho = (objective(loss, unvec(theta + delta, shapes), x, y, eta) - h) / M
            if rho > 3 / 4:
                lam = omega_1 * lam
            if rho < 1 / 4:
                lam = lam / omega_1
        theta, last = theta + delta, [delta]
        yield dict(
            k=k, h=h, grad=grad, A=A, G=G, A_bar=A_bar, G_bar=G_bar, gamma=gamma,
            renewed=search or renew, Delta=Delta, alpha=c[0], mu=c[1] if k > 1 else 0.0,
            delta=delta, M=M, rho=rho, lam=lam, theta=theta,
        )  # fmt: skip


if __name__ == "__main__":
    from kfac_ref.backend import to_numpy
    from kfac_ref.datasets import digits

    rng, loss, shapes = np.random.default_rng(0), CrossEntropy(), [(65, 20), (21, 10)]
    x, y = map(to_numpy, digits())  # (1797, 64), (1797,)
    x, x_test, y, y_test = x[:1500], x[1500:], y[:1500], y[1500:]
    batches = ((x[b], y[b]) for b in (rng.choice(1500, 500) for _ in range(100)))
    Ws = [rng.normal(0, i**-0.5, (i, o)) for i, o in shapes]
    names = ["k", "lam", "gamma", "alpha", "mu", "rho"]
    print(*names, "loss", "test accuracy", sep="\t")
    for step in algorithm_2(loss, Ws, batches, rng, lam=1.0):
        if step["k"] % 10 == 0:
            Ws = unvec(step["theta"], shapes)
            accuracy = (forward(Ws, x_test)[1].argmax(axis=1) == y_test).mean()
            numbers = [*map(step.get, names), objective(loss, Ws, x, y, 0), accuracy]
            print(*(f"{v:.4g}" for v in numbers), sep="\t")
