"""The exact matrices: Fisher, GGN and empirical Fisher, dense (Hessian: hessian.py).

The exact Fisher is nothing special: all columns of the output Fisher's root
(question 1), everything kept (question 2). Each matrix is the mean over the examples;
`block` restricts it to one layer.
"""

from __future__ import annotations

from kfac_ref.backend import Array
from kfac_ref.calls import door
from kfac_ref.checks import check_count
from kfac_ref.exact.products import by_products, check_block, curvature_product
from kfac_ref.limits import check_room, quiet_overflow
from kfac_ref.matrices import DenseMatrix
from kfac_ref.network import Linearization, Network, check_network
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
    check_network(network)
    at = network.linearize(params, x)
    return _dense("fisher", "expectation", at, None, block, memory)


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
    check_network(network)
    at = network.linearize(params, x)
    estimate = "ggn" if network.distribution.natural else None
    return _dense("ggn", estimate, at, y, block, memory)


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
    check_network(network)
    at = network.linearize(params, x)
    return _dense("empirical", "empirical", at, y, block, memory)


@quiet_overflow
def _dense(
    matrix: str,
    estimate: str | None,
    at: Linearization,
    y: Array | None,
    block: int | None,
    memory: int,
) -> DenseMatrix:
    """From pairs; by products where no vectors (a, g) belong to single examples."""
    network, memory = at.network, check_count("memory (bytes)", memory)
    block = check_block(network, block)
    name = f"{matrix} matrix" + ("" if block is None else f" of {network.names[block]}")
    if estimate is None or network.body.mixes_examples:
        product = curvature_product(matrix, at, y, block)
        check_room(name, product.size, at.z)
        return DenseMatrix(by_products(product, memory), name)
    pairs = propagate(at, estimate, y=y, memory=memory)
    wanted = list(range(len(network.shapes))) if block is None else [block]
    return DenseMatrix.semidefinite(dense_blocks(pairs, wanted), name)
