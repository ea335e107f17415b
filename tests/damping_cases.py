"""The damping rules, each with the damped matrix that it must give, by loops."""

from __future__ import annotations

import numpy as np

from matrix_cases import kron_by_loops, moment

LAMBDA = 0.37
GAMMA = LAMBDA**0.5


def factors(rng, N=None):
    """A (5, 5) and G (3, 3), of scales that differ."""
    return moment(rng, 5, N), 0.04 * moment(rng, 3, N)


def plus(M, number):
    """M + number I, by a loop."""
    M = M.copy()
    for i in range(len(M)):
        M[i, i] += number
    return M


def pi_by_hand(A, G, norm):
    """The definition, ||A (x) I|| / ||I (x) G||, with NumPy's norms and SVD."""
    left, right = kron_by_loops(A, np.eye(len(G))), kron_by_loops(np.eye(len(A)), G)
    order = {"trace": "nuc", "frobenius": "fro", "operator": 2}[norm]
    return (np.linalg.norm(left, order) / np.linalg.norm(right, order)) ** 0.5


def shared(A, G, to_A, to_G, pi):
    """(A + pi to_A I) (x) (G + to_G / pi I)"""
    pi = pi_by_hand(A, G, pi) if isinstance(pi, str) else pi
    return kron_by_loops(plus(A, pi * to_A), plus(G, to_G / pi))


FORMULAS = {  # rule, its arguments, the damped matrix by loops, what its name says
    "exact": (
        "tikhonov",
        {"damping": LAMBDA},
        lambda A, G: plus(kron_by_loops(A, G), LAMBDA),
        "(Tikhonov, lambda = 0.37)",
    ),
    **{
        f"factored, {pi}": (
            "factored_tikhonov",
            {"damping": LAMBDA, "pi": pi},
            lambda A, G, pi=pi: shared(A, G, GAMMA, GAMMA, 1.0 if pi == "off" else pi),
            "(factored Tikhonov, lambda = 0.37, pi = ",
        )
        for pi in ("trace", "frobenius", "operator", "off", 0.6)
    },
    "each factor": (
        "same_on_each_factor",
        {"damping": LAMBDA},
        lambda A, G: shared(A, G, LAMBDA, LAMBDA, 1.0),
        "(lambda = 0.37 on each factor)",
    ),
    "separate": (
        "separate",
        {"activations": 0.29, "errors": 0.013},
        lambda A, G: shared(A, G, 0.29, 0.013, 1.0),
        "(activations + 0.29, errors + 0.013, pi = 1)",
    ),
    "separate, trace": (
        "separate",
        {"activations": 0.29, "errors": 0.013, "pi": "trace"},
        lambda A, G: shared(A, G, 0.29, 0.013, "trace"),
        "(activations + 0.29, errors + 0.013, pi = ",
    ),
}
BY_FACTORS = [name for name in FORMULAS if name != "exact"]
