"""The net of race 3, and TensorFlow K-FAC's steps on it, in loops over the pixels.

Nothing here shares code with the package, nothing is fast. Written with TensorFlow
K-FAC's own conventions: A and G are means over examples and positions, a block is
T A (x) G, lambda is divided by T. Labels are drawn by the caller's `draw(z)`.
"""

from __future__ import annotations

import numpy as np

from kfac_ref.algorithm2 import softmax, vec
from transcription import matrices_like


def patches(x, k):
    """(N, T, k*k*c + 1): what a convolution with padding SAME reads, and a 1."""
    N, h, w, c = x.shape
    low = (k - 1) // 2
    padded = np.zeros((N, h + k - 1, w + k - 1, c))
    padded[:, low : low + h, low : low + w] = x
    found = np.ones((N, h * w, k * k * c + 1))
    for n in range(N):
        for i in range(h):
            for j in range(w):
                patch = padded[n, i : i + k, j : j + k]
                found[n, i * w + j, :-1] = patch.reshape(-1)
    return found


def put_back(d, shape, k):
    """The adjoint: d (N, T, k*k*c) added up on images of that shape."""
    N, h, w, c = shape
    low = (k - 1) // 2
    padded = np.zeros((N, h + k - 1, w + k - 1, c))
    for n in range(N):
        for i in range(h):
            for j in range(w):
                padded[n, i : i + k, j : j + k] += d[n, i * w + j].reshape(k, k, c)
    return padded[:, low : low + h, low : low + w]


def pool(x):
    """The largest of 3 x 3, stride 2, padding SAME; and where each was found."""
    N, h, w, c = x.shape
    H, W = (h + 1) // 2, (w + 1) // 2
    top, left = h % 2, w % 2  # one row above if h is odd, else one below
    y, where = np.zeros((N, H, W, c)), {}
    for n, i, j, k in np.ndindex(N, H, W, c):
        best = None
        for r in range(2 * i - top, 2 * i - top + 3):
            for s in range(2 * j - left, 2 * j - left + 3):
                inside = 0 <= r < h and 0 <= s < w
                if inside and (best is None or x[n, r, s, k] > x[n, *best, k]):
                    best = (r, s)
        y[n, i, j, k], where[n, i, j, k] = x[n, *best, k], (n, *best, k)
    return y, where


def unpool(dy, where, shape):
    dx = np.zeros(shape)
    for at, source in where.items():
        dx[source] += dy[at]
    return dx


def forward(Ws, x, k):
    """z and everything that the way back needs."""
    N, h, w, _ = x.shape
    kept = {"a1": patches(x, k)}
    kept["s1"] = (kept["a1"] @ Ws[0]).reshape(N, h, w, -1)
    p1, kept["at1"] = pool(np.maximum(kept["s1"], 0))
    kept["a2"] = patches(p1, 3)
    kept["s2"] = (kept["a2"] @ Ws[1]).reshape(p1.shape)
    kept["a3"] = patches(np.maximum(kept["s2"], 0), 3)
    kept["u"] = p1 + (kept["a3"] @ Ws[2]).reshape(p1.shape)
    p2, kept["at2"] = pool(np.maximum(kept["u"], 0))
    kept["p2"] = p2.shape
    kept["a4"] = np.hstack([p2.reshape(N, -1), np.ones((N, 1))])[:, None]
    return kept["a4"][:, 0] @ Ws[3], kept


def pairs(Ws, kept, g4):
    """a (N, T, d) and g (N, T, o) of every layer, g4 propagated back from z."""
    N, inner = len(g4), kept["u"].shape
    rows = (N, -1, inner[-1])
    dr3 = unpool((g4 @ Ws[3][:-1].T).reshape(kept["p2"]), kept["at2"], inner)
    g3 = dr3 * (kept["u"] > 0)
    dr2 = put_back(g3.reshape(rows) @ Ws[2][:-1].T, inner, 3)
    g2 = dr2 * (kept["s2"] > 0)
    dp1 = g3 + put_back(g2.reshape(rows) @ Ws[1][:-1].T, inner, 3)
    g1 = unpool(dp1, kept["at1"], kept["s1"].shape) * (kept["s1"] > 0)
    a = [kept[f"a{i}"] for i in (1, 2, 3, 4)]
    return a, [*(g.reshape(rows) for g in (g1, g2, g3)), g4[:, None]]


def loss(z, y):
    return -np.mean([np.log(softmax(z)[n, y[n]]) for n in range(len(z))])


def output_gradient(z, y):
    return softmax(z) - np.eye(z.shape[1])[y]


def gradient(Ws, z, kept, y):
    a, g = pairs(Ws, kept, output_gradient(z, y))
    return vec([summed(*ag) / len(z) for ag in zip(a, g, strict=True)])


def summed(a, g):
    """sum_nt a g^T"""
    return sum(a[n].T @ g[n] for n in range(len(a)))


def statistics(Ws, z, kept, labels):
    """The diagonal (d, o) of the first layer, A and G of the others; every T."""
    a, g = pairs(Ws, kept, output_gradient(z, labels))
    N = len(z)
    D = [a[0][n].T @ g[0][n] for n in range(N)]
    found = [(sum(Dn**2 for Dn in D) / N,)]
    for ai, gi in zip(a[1:], g[1:], strict=True):
        T = ai.shape[1]
        found.append((summed(ai, ai) / (N * T), summed(gi, gi) / (N * T)))
    return found, [ai.shape[1] for ai in a]


def inverses(average, positions, lam, power=1):
    """Damped as NORMALIZE_DAMPING_POWER = `power` says; T of a Kronecker block, too."""
    (F,), T = average[0], positions[0]
    found = [(1 / (F + T * (lam / T**power)),)]
    for (A, G), T in zip(average[1:], positions[1:], strict=True):
        pi = np.sqrt(np.trace(A) * len(G) / (np.trace(G) * len(A)))
        root = np.sqrt(lam / T**power)
        damped_A = A + pi * root * np.eye(len(A))
        damped_G = G + root / pi * np.eye(len(G))
        found.append((np.linalg.inv(damped_A) / T, np.linalg.inv(damped_G)))
    return found


def preconditioned(found, Ws, v):
    V = matrices_like(Ws, v)
    others = zip(found[1:], V[1:], strict=True)
    return vec([V[0] * found[0][0], *(iA @ Vi @ iG for (iA, iG), Vi in others)])


def tensorflow(Ws, batches, k, draw, *, lr, m, lam, decay, invert_every):
    """PeriodicInvCovUpdate with momentum_type "adam": a dict for each step."""
    v, sums, weight, history = 0.0, None, 0.0, []
    theta = vec(Ws)
    for step, (x, y) in enumerate(batches):
        Ws = matrices_like(Ws, theta)
        z, kept = forward(Ws, x, k)
        newest, positions = statistics(Ws, z, kept, draw(z))
        weight = decay * weight + 1
        if sums is None:
            sums = newest
        else:
            sums = [
                tuple(decay * old + new for old, new in zip(*both, strict=True))
                for both in zip(sums, newest, strict=True)
            ]
        average = [tuple(part / weight for part in block) for block in sums]
        if step % invert_every == 0:
            found = inverses(average, positions, lam)
        grad = gradient(Ws, z, kept, y)
        v = m * v + grad
        u = preconditioned(found, Ws, v)
        theta = theta - lr * u
        history.append(
            dict(
                loss=loss(z, y), gradient=grad, newest=newest, average=average,
                positions=positions, direction=-u, theta=theta, Ws=Ws,
            )
        )  # fmt: skip
    return history
