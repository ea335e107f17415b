"""The specification: nested loops over examples, vectors, positions and entries.

Nothing here is fast, and nothing here shares code with the package. a: (N, T, d),
g: (K, N, T, o), host arrays.
"""

from __future__ import annotations

import itertools

import numpy as np


def gradient_matrices(a, g):
    """D_nk = sum_t a_nt g_nkt^T, one after the other, as a list of N K matrices."""
    K, N, T, o = g.shape
    found = []
    for n in range(N):
        for k in range(K):
            D = np.zeros((a.shape[2], o))
            for t in range(T):
                for i in range(a.shape[2]):
                    for j in range(o):
                        D[i, j] += a[n, t, i] * g[k, n, t, j]
            found.append(D)
    return found


def full(blocks):
    """F = 1/N sum_nk vec(D_nk) vec(D_nk)^T over all layers; blocks: list of (a, g)."""
    each = [gradient_matrices(a, g) for a, g in blocks]
    N = blocks[0][0].shape[0]
    size = sum(D[0].size for D in each)
    F = np.zeros((size, size))
    for layers in zip(*each, strict=True):
        v = [x for D in layers for row in D for x in row]
        for p in range(size):
            for q in range(size):
                F[p, q] += v[p] * v[q] / N
    return F


def block(a, g):
    """The exact block of one layer."""
    return full([(a, g)])


def factors(a, g):
    """A = 1/N sum_nt a a^T and G = 1/(N T) sum_nkt g g^T."""
    K, N, T, o = g.shape
    d = a.shape[2]
    A, G = np.zeros((d, d)), np.zeros((o, o))
    for n, t in itertools.product(range(N), range(T)):
        for i, j in itertools.product(range(d), range(d)):
            A[i, j] += a[n, t, i] * a[n, t, j] / N
        for k in range(K):
            for i, j in itertools.product(range(o), range(o)):
                G[i, j] += g[k, n, t, i] * g[k, n, t, j] / (N * T)
    return A, G


def kron(A, G):
    """A (x) G: entry (i o + p, j o + q) is A_ij G_pq."""
    d, o = len(A), len(G)
    M = np.zeros((d * o, d * o))
    for i, j in itertools.product(range(d), range(d)):
        for p, q in itertools.product(range(o), range(o)):
            M[i * o + p, j * o + q] = A[i, j] * G[p, q]
    return M


def kronecker(a, g):
    """K-FAC's block."""
    return kron(*factors(a, g))


def eigenvalue_corrected(a, g):
    """K-FAC's eigenbasis, with the exact block's diagonal in that basis."""
    A, G = factors(a, g)
    Q = kron(np.linalg.eigh(A)[1], np.linalg.eigh(G)[1])
    return Q @ np.diag(np.diag(Q.T @ block(a, g) @ Q)) @ Q.T


def best_kronecker(a, g):
    """The leading singular pair of the rearranged exact block."""
    d, o = a.shape[2], g.shape[3]
    F = block(a, g)
    R = np.zeros((d * d, o * o))
    for i, j in itertools.product(range(d), range(d)):
        for p, q in itertools.product(range(o), range(o)):
            R[i * d + j, p * o + q] = F[i * o + p, j * o + q]
    U, s, Vt = np.linalg.svd(R)
    return kron(s[0] * U[:, 0].reshape(d, d), Vt[0].reshape(o, o))
