"""Nets in plain NumPy: the obvious way, and bare matrix products, without kfac_ref.

A net is a list of matrices W (d_in + 1, d_out), bias row last, with tanh between them
and a softmax at the end. Indices: n example, k propagated vector, t position.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

Arrays = list[np.ndarray]


def with_one(h: np.ndarray) -> np.ndarray:
    return np.concatenate([h, np.ones((*h.shape[:-1], 1), h.dtype)], axis=-1)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def root_columns(p: np.ndarray) -> np.ndarray:
    """The columns of B, diag(p) - p p^T = B B^T, as rows: (C, N, C)."""
    q = np.sqrt(p)
    return np.eye(p.shape[-1])[:, None, :] * q - q.T[:, :, None] * p


def forward(W: Arrays, x: np.ndarray) -> tuple[Arrays, np.ndarray]:
    """The homogeneous inputs a (N, d_in + 1) of every layer, and the logits."""
    a, h = [], x
    for i, Wi in enumerate(W):
        a.append(with_one(h))
        s = h @ Wi[:-1] + Wi[-1]
        h = np.tanh(s) if i < len(W) - 1 else s
    return a, h


def backward(W: Arrays, a: Arrays, dz: np.ndarray) -> Arrays:
    """g (K, N, d_out) of every layer, from dz (K, N, C)."""
    g = [dz]
    for i in reversed(range(1, len(W))):
        g.insert(0, (g[0] @ W[i][:-1].T) * (1 - a[i][:, :-1] ** 2))
    return g


def obvious_fisher(W: Arrays, x: np.ndarray) -> np.ndarray:
    """The obvious way: stack all N * C propagated gradients, one S.T @ S."""
    a, z = forward(W, x)
    g = backward(W, a, root_columns(softmax(z)) / np.sqrt(len(x)))
    return gram(stacked(a, g))


def stacked(a: Arrays, g: Arrays) -> np.ndarray:
    """S, (K * N, P), written in place."""
    K, N = g[0].shape[:2]
    S = np.empty(
        (K, N, sum(ai.shape[1] * gi.shape[2] for ai, gi in zip(a, g, strict=True)))
    )
    end = 0
    for ai, gi in zip(a, g, strict=True):
        start, end = end, end + ai.shape[1] * gi.shape[2]
        D = S[:, :, start:end].reshape(K, N, ai.shape[1], gi.shape[2])
        np.multiply(ai[:, :, None], gi[:, :, None, :], out=D)
    return S.reshape(K * N, -1)


def gram(S: np.ndarray) -> np.ndarray:
    """S^T S; NumPy sees that both are one array, and does half of the arithmetic."""
    return S.T @ S


def patches(x: np.ndarray) -> np.ndarray:
    """3 x 3 patches of images (N, h, w, c), no padding: (N, T, 9 c)."""
    view = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    N, h, w = view.shape[:3]
    return view.transpose(0, 1, 2, 4, 5, 3).reshape(N, h * w, -1)


def put_back(d: np.ndarray, shape: tuple) -> np.ndarray:
    """The adjoint of `patches`: (K, N, T, 9 c) to (K, N, h, w, c)."""
    h, w, c = shape[1] - 2, shape[2] - 2, shape[3]
    d = d.reshape(*d.shape[:2], h, w, 3, 3, c)
    x = np.zeros((*d.shape[:2], *shape[1:]))
    for r in range(3):
        for s in range(3):
            x[:, :, r : r + h, s : s + w] += d[:, :, :, :, r, s]
    return x


def obvious_conv_fisher(W: Arrays, x: np.ndarray, head: bool) -> np.ndarray:
    """The obvious way for 3 x 3 convolutions: D = sum_t a g^T.

    The last layer is dense (head), or a convolution followed by a mean over positions.
    """
    a, shapes, slopes, h, last = [], [], [], x, len(W) - 1
    for i, Wi in enumerate(W):
        flat = head and i == last
        a.append(with_one(h.reshape(len(x), 1, -1) if flat else patches(h)))
        shapes.append(h.shape)
        s = a[-1] @ Wi  # (N, T, d_out)
        if i < last:
            h = np.tanh(s).reshape(len(x), h.shape[1] - 2, -1, s.shape[2])
            slopes.append(1 - h.reshape(s.shape) ** 2)
    dz = root_columns(softmax(s.mean(axis=1))) / np.sqrt(len(x))
    g = [np.repeat(dz[:, :, None] / s.shape[1], s.shape[1], axis=2)]  # (K, N, T, C)
    for i in reversed(range(1, len(W))):
        d = g[0] @ W[i][:-1].T
        if not (head and i == last):
            d = put_back(d, shapes[i])
        g.insert(0, d.reshape(*dz.shape[:2], *slopes[i - 1].shape[1:]) * slopes[i - 1])
    D = [np.swapaxes(ai, 1, 2) @ gi for ai, gi in zip(a, g, strict=True)]
    return gram(np.concatenate([d.reshape(dz[:, :, 0].size, -1) for d in D], axis=1))


class BareFactors:
    """The matrix products in K-FAC's factors, on operands made beforehand.

    One call makes, for every layer, x W forward, A = a^T a and G = g^T g; and for every
    layer but the first g W^T back, for all N * C vectors. Nothing is done elementwise.
    """

    def __init__(self, W: Arrays, x: np.ndarray):
        a, z = forward(W, x)
        g = backward(W, a, root_columns(softmax(z)))
        self.weights = [np.ascontiguousarray(Wi[:-1]) for Wi in W]
        self.inputs = [np.ascontiguousarray(ai[:, :-1]) for ai in a]
        self.a, self.g = a, [gi.reshape(-1, gi.shape[-1]) for gi in g]

    def __call__(self) -> Arrays:
        """All products; the last 2 L of them are N A and N G of the L layers."""
        ahead = [h @ W for h, W in zip(self.inputs, self.weights, strict=True)]
        A = [a.T @ a for a in self.a]
        back = [g @ W.T for g, W in zip(self.g[1:], self.weights[1:], strict=True)]
        return [*ahead, *back, *A, *[g.T @ g for g in self.g]]


class BareProduct:
    """The matrix products in one Fisher-vector product, on operands made beforehand.

    Forward, if asked for: x W. Then J v: x V for every layer, dx W for all but the
    first. Then J^T: g W^T for all layers but the first, a^T g for every layer.
    """

    def __init__(self, W: Arrays, x: np.ndarray, V: Arrays, with_forward: bool):
        a, z = forward(W, x)
        slopes = [1 - ai[:, :-1] ** 2 for ai in a]
        self.tangents = [np.zeros_like(x)]  # of the layers' inputs
        for i, (Wi, Vi) in enumerate(zip(W, V, strict=True)):
            ds = a[i] @ Vi + self.tangents[i] @ Wi[:-1]
            self.tangents.append(ds if i == len(W) - 1 else slopes[i + 1] * ds)
        p, dz = softmax(z), self.tangents.pop()
        dz = p * dz - p * (p * dz).sum(axis=1, keepdims=True)
        self.g = [g[0] for g in backward(W, a, dz[None])]
        self.weights = [np.ascontiguousarray(Wi[:-1]) for Wi in W]
        self.changes = [np.ascontiguousarray(Vi[:-1]) for Vi in V]
        self.inputs = [np.ascontiguousarray(ai[:, :-1]) for ai in a]
        self.a, self.with_forward = a, with_forward

    def __call__(self) -> Arrays:
        """All products; the last L are N times the result, layer by layer."""
        W, ahead = self.weights, []
        if self.with_forward:
            ahead += [h @ Wi for h, Wi in zip(self.inputs, W, strict=True)]
        ahead += [h @ Vi for h, Vi in zip(self.inputs, self.changes, strict=True)]
        ahead += [dh @ Wi for dh, Wi in zip(self.tangents[1:], W[1:], strict=True)]
        back = [g @ Wi.T for g, Wi in zip(self.g[1:], W[1:], strict=True)]
        return [*ahead, *back, *[a.T @ g for a, g in zip(self.a, self.g, strict=True)]]


class BareCholesky:
    """The Cholesky calls in A^-1 V G^-1, on damped factors in LAPACK's order.

    Damping comes before: A + pi gamma I and G + gamma/pi I, with gamma^2 = damping and
    pi^2 the ratio of the mean eigenvalues.
    """

    def __init__(self, A: Arrays, G: Arrays, V: Arrays, damping: float):
        self.A, self.G = [], []
        for Ai, Gi in zip(A, G, strict=True):
            pi2 = (np.trace(Ai) / len(Ai)) / (np.trace(Gi) / len(Gi))
            for M, shift, damped in ((Ai, pi2, self.A), (Gi, 1 / pi2, self.G)):
                M = M + float(np.sqrt(damping * shift)) * np.eye(len(M), dtype=M.dtype)
                damped.append(np.asfortranarray(M))
        self.V = [np.asfortranarray(Vi) for Vi in V]

    def __call__(self) -> Arrays:
        result = []
        for A, G, V in zip(self.A, self.G, self.V, strict=True):
            X = cho_solve(cho_factor(A, lower=True, check_finite=False), V)
            factor = cho_factor(G, lower=True, check_finite=False)
            result.append(cho_solve(factor, X.T).T)
        return result
