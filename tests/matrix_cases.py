"""Pairs (matrix, dense array): every kind, and the array that it must stand for.

The arrays are built on the host in float64 by loops and Kronecker products of blocks,
without code of the package. `move` takes host arrays to the backend and dtype under
test. Cases whose name ends in "singular" have rank-deficient matrices (N < dimension).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    BlockTridiagonalInverse,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerDifference,
    KroneckerProduct,
)

LAYERS = [(3, 5), (7, 2), (1, 4)]  # (d_in, d_out) of a chain


def moment(rng, d, N=None):
    """X^T X / N, well conditioned for the default N, of rank N for N < d."""
    X = rng.normal(size=(N or 7 * d + 4, d))
    return X.T @ X / len(X)


def rotation(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def kron_by_loops(A, G):
    """kron(A, G) from its definition: entry (io, jp) is A_ij G_op."""
    (I, J), (O, P) = A.shape, G.shape
    K = np.empty((I * O, J * P))
    for i in range(I):
        for o in range(O):
            for j in range(J):
                for p in range(P):
                    K[i * O + o, j * P + p] = A[i, j] * G[o, p]
    return K


def put_along_diagonal(blocks):
    size = sum(len(b) for b in blocks)
    M, s = np.zeros((size, size)), 0
    for b in blocks:
        M[s : s + len(b), s : s + len(b)] = b
        s += len(b)
    return M


def dense(rng, move, d=5, N=None):
    M = moment(rng, d, N)
    return DenseMatrix(move(M), "the matrix"), M


def diagonal(rng, move, d=5, zeros=0):
    values = rng.uniform(0.2, 3.0, size=d)
    values[:zeros] = 0
    M = np.zeros((d, d))
    for i in range(d):
        M[i, i] = values[i]
    return DiagonalMatrix(move(values), "the matrix"), M


def kronecker(rng, move, d_in=5, d_out=3, N=None):
    A, G = moment(rng, d_in, N), moment(rng, d_out, N)
    return KroneckerProduct(move(A), move(G), "the matrix"), kron_by_loops(A, G)


def eigen_kronecker(rng, move, d_in=5, d_out=3, zeros=0):
    U_A, U_G = rotation(rng, d_in), rotation(rng, d_out)
    values = rng.uniform(0.2, 3.0, size=(d_in, d_out))
    values[:zeros, 0] = 0
    M = np.zeros((d_in * d_out, d_in * d_out))
    for i in range(d_in):
        for o in range(d_out):
            u = kron_by_loops(U_A[:, i : i + 1], U_G[:, o : o + 1])
            M += values[i, o] * (u @ u.T)
    return EigenKronecker(move(U_A), move(U_G), move(values), "the matrix"), M


def kronecker_difference(rng, move, d_in=5, d_out=3):
    A, G = moment(rng, d_in), moment(rng, d_out)
    C = 0.2 * A + 0.1 * moment(rng, d_in)  # C (x) D stays below A (x) G
    D = 0.3 * G + 0.1 * moment(rng, d_out)
    factors = [move(M) for M in (A, G, C, D)]
    M = kron_by_loops(A, G) - kron_by_loops(C, D)
    return KroneckerDifference(*factors, "the matrix"), M


def block_diagonal(rng, move, N=None):
    parts = [
        kronecker(rng, move, 5, 3, N),
        dense(rng, move, 7, N),
        diagonal(rng, move, 2),
    ]
    parts.append(eigen_kronecker(rng, move, 2, 3))
    matrix = BlockDiagonalMatrix([M for M, _ in parts], "the matrix")
    return matrix, put_along_diagonal([M for _, M in parts])


def chain_factors(rng, layers=None, damping=0.37):
    """Blocks A_ij, G_ij of the joint second moments of a chain; damped diagonal."""
    layers = layers or LAYERS
    return [_blocks(rng, sizes, damping) for sizes in zip(*layers, strict=True)]


def _blocks(rng, sizes, damping):
    M = moment(rng, sum(sizes), 3 * sum(sizes)) + damping * np.eye(sum(sizes))
    M += 0.5 * np.outer(m := rng.normal(size=len(M)), m)  # couples all layers
    ends = np.cumsum([0, *sizes])
    ranges = [slice(s, e) for s, e in pairwise(ends)]
    return [[M[rows, columns] for columns in ranges] for rows in ranges]


def chain(A, G, move, names=()):
    """The package's matrix for the blocks A[i][j], G[i][j]."""
    beside = range(len(A) - 1)
    return BlockTridiagonalInverse(
        [move(A[i][i]) for i in range(len(A))],
        [move(G[i][i]) for i in range(len(A))],
        [move(A[i][i + 1]) for i in beside],
        [move(G[i][i + 1]) for i in beside],
        names,
    )


def f_tilde(A, G):
    """F~, blocks A_ij (x) G_ij; and the ranges of the blocks."""
    l = range(len(A))
    F = np.block([[kron_by_loops(A[i][j], G[i][j]) for j in l] for i in l])
    ends = np.cumsum([0] + [len(A[i][i]) * len(G[i][i]) for i in l])
    return F, [slice(s, e) for s, e in pairwise(ends)]


def f_hat(A, G):
    """F^ = (Xi^T Lambda Xi)^-1 with dense Xi and Lambda, block by block."""
    F, at = f_tilde(A, G)
    Xi, Lambda = np.eye(len(F)), np.zeros_like(F)
    for i, here in enumerate(at):
        Sigma = F[here, here]
        if i + 1 < len(at):
            after = at[i + 1]
            Psi = F[here, after] @ np.linalg.inv(F[after, after])
            Xi[here, after] = -Psi
            Sigma = Sigma - Psi @ F[after, after] @ Psi.T
        Lambda[here, here] = np.linalg.inv(Sigma)
    return np.linalg.inv(Xi.T @ Lambda @ Xi)


def block_tridiagonal(rng, move, layers=None):
    A, G = chain_factors(rng, layers)
    return chain(A, G, move), f_hat(A, G)


CASES = {  # name: (builder, options, numbers that define the matrix)
    "dense": (dense, {}, 25),
    "dense 1x1": (dense, {"d": 1}, 1),
    "dense singular": (dense, {"N": 3}, 25),
    "diagonal": (diagonal, {}, 5),
    "diagonal 1x1": (diagonal, {"d": 1}, 1),
    "diagonal singular": (diagonal, {"zeros": 2}, 5),
    "kronecker": (kronecker, {}, 25 + 9),
    "kronecker 1, 3": (kronecker, {"d_in": 1}, 1 + 9),
    "kronecker 5, 1": (kronecker, {"d_out": 1}, 25 + 1),
    "kronecker 1, 1": (kronecker, {"d_in": 1, "d_out": 1}, 2),
    "kronecker singular": (kronecker, {"N": 2}, 25 + 9),
    "eigen_kronecker": (eigen_kronecker, {}, 25 + 9 + 15),
    "eigen_kronecker 1, 3": (eigen_kronecker, {"d_in": 1}, 1 + 9 + 3),
    "eigen_kronecker singular": (eigen_kronecker, {"zeros": 4}, 25 + 9 + 15),
    "kronecker_difference": (kronecker_difference, {}, 2 * (25 + 9)),
    "kronecker_difference 1, 3": (kronecker_difference, {"d_in": 1}, 2 * (1 + 9)),
    "block_diagonal": (block_diagonal, {}, 34 + 49 + 2 + 4 + 9 + 6),
    "block_diagonal singular": (block_diagonal, {"N": 2}, 34 + 49 + 2 + 4 + 9 + 6),
    "block_tridiagonal": (
        block_tridiagonal,
        {},
        (9 + 49 + 1) + (25 + 4 + 16) + (21 + 7) + (10 + 8),
    ),
    "block_tridiagonal 2": (
        block_tridiagonal,
        {"layers": LAYERS[:2]},
        (9 + 49) + (25 + 4) + 21 + 10,
    ),
    "block_tridiagonal 1": (block_tridiagonal, {"layers": LAYERS[:1]}, 9 + 25),
}
DEFINITE = [name for name in CASES if "singular" not in name]
SINGULAR = [name for name in CASES if "singular" in name]


def make(name, rng, move):
    builder, options, _ = CASES[name]
    return builder(rng, move, **options)
