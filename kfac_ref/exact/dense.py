"""The exact matrices: Fisher, GGN and empirical Fisher, dense (Hessian: hessian.py).

The exact Fisher is nothing special: all columns of the output Fisher's root
(question 1), everything kept (question 2). Each matrix is the mean over the examples;
`block` restricts it to one layer.
"""

from __future__ import annotations

from kfac_ref.backend import Array, get_xp
from kfac_ref.calls import door
from kfac_ref.errors import check_count
from kfac_ref.exact.products import CurvatureProduct, check_block
from kfac_ref.limits import check_room, quiet_overflow
from kfac_ref.matrices import DenseMatrix
from kfac_ref.network import Network, check_network
from kfac_ref.pairs import MEMORY, propagate
from kfac_ref.structures.dense import dense_blocks


@door
def fisher_matrix(
    network: Network,
    params: list[Array],
    x: Array,
    block: int | None = None,
    memory: int = MEMORY,
) -> DenseMatrix:
    """F = 1/N sum_n J_n^T F_z J_n, (P, P). Martens & Grosse 2015, section 3."""
    return _matrix(network, params, x, None, "fisher", block, memory)


@door
def ggn_matrix(
    network: Network,
    params: list[Array],
    x: Array,
    y: Array | None = None,
    block: int | None = None,
    memory: int = MEMORY,
) -> DenseMatrix:
    """GGN = 1/N sum_n J_n^T H_z J_n, (P, P); equal to F for natural parameters.

    y is needed only where the outputs are not natural parameters. Schraudolph 2002.
    """
    return _matrix(network, params, x, y, "ggn", block, memory)


@door
def empirical_fisher_matrix(
    network: Network,
    params: list[Array],
    x: Array,
    y: Array,
    block: int | None = None,
    memory: int = MEMORY,
) -> DenseMatrix:
    """1/N sum_n grad_n grad_n^T for the observed labels: not the Fisher, (P, P)."""
    return _matrix(network, params, x, y, "empirical", block, memory)


def _matrix(
    network: Network,
    params: list[Array],
    x: Array,
    y: Array | None,
    matrix: str,
    block: int | None,
    memory: int,
) -> DenseMatrix:
    check_network(network)
    block, memory = check_block(network, block), check_count("memory (bytes)", memory)
    name = f"{matrix} matrix" + ("" if block is None else f" of {network.names[block]}")
    rooted = matrix != "ggn" or network.distribution.natural
    if network.body.mixes_examples or not rooted:
        product = CurvatureProduct(network, params, x, y, matrix, block)
        return DenseMatrix(_by_products(product, memory, name), name)
    estimate = "expectation" if matrix == "fisher" else matrix
    pairs = propagate(network, params, x, estimate, y=y, memory=memory)
    wanted = list(range(len(network.shapes))) if block is None else [block]
    return DenseMatrix.semidefinite(dense_blocks(pairs, wanted), name)


@quiet_overflow
def _by_products(curvature: CurvatureProduct, memory: int, name: str) -> Array:
    """Column after column, where no vectors (a, g) belong to single examples."""
    xp, P = get_xp(curvature.z), curvature.size
    check_room(name, P, curvature.z)
    F = xp.zeros((P, P), dtype=curvature.z.dtype)
    step = max(1, memory // (8 * P * 4 + 16 * curvature.z.nbytes))
    for start in range(0, P, step):
        columns = xp.eye(P, min(step, P - start), -start, dtype=F.dtype)
        F[:, start : start + step] = curvature.product(columns)
    for start in range(0, P, step):  # symmetric but for rounding
        rows, columns = F[start : start + step, start:], F[start:, start : start + step]
        rows[:] = (rows + columns.T) / 2.0
        columns[:] = rows.T
    return F
