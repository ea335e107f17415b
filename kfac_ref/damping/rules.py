"""Question 3: how a curvature matrix is damped before it is inverted.

A rule makes a damped matrix of a matrix; `solve(v)` of the result is the preconditioner
(`inverse()` the same, factorised once for many v). With gamma = sqrt(lambda):

    tikhonov              M + lambda I                       every kind of matrix
    factored_tikhonov     (A + pi gamma I) (x) (G + gamma / pi I)
    same_on_each_factor   (A + lambda I) (x) (G + lambda I)
    separate              (A + pi activations I) (x) (G + errors / pi I)
    by_kind               the second where there are factors, the first elsewhere

All but the first and the last are for Kronecker products A (x) G alone, and keep them:
two small Cholesky factorisations are enough. The price of the second is two terms
(Martens & Grosse 2015, section 6.3):

    A (x) G + lambda I + pi gamma I (x) G + gamma / pi A (x) I

Each rule is its formula on one block; the matrix applies it to all of its blocks, with
`map_blocks`. To give every block a rule of its own, make the block-diagonal matrix
again: `BlockDiagonalMatrix([rule(block, damping) for rule, block in ...])`. Where a
rule makes no sense it raises Unsupported, with the reason: so a rule that is named is
the rule that is applied, and only `by_kind`, K-FAC's default, looks for itself. The
matrix that is given is left as it was.

Where A or G is zero (a layer of dead units), so is A (x) G, and a pi made of norms has
no value. Then the damping alone is left, gamma I (x) gamma I = lambda I: exact, and the
limit of the formula as the factor goes to zero. KFAC-JAX does the same; TensorFlow
K-FAC takes pi = 1 there, which is pi="off" here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from kfac_ref.backend import get_xp
from kfac_ref.calls import door
from kfac_ref.checks import check_flag, is_function
from kfac_ref.damping.factors import balance, beside_scalar, check_factors
from kfac_ref.damping.pi import check_pi
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    ValueRangeError,
    describe,
    located,
)
from kfac_ref.matrices import (
    DenseMatrix,
    DiagonalMatrix,
    KroneckerProduct,
    SymmetricMatrix,
)
from kfac_ref.matrices.base import check_matrix
from kfac_ref.matrices.definite import add_to_diagonal, check_damping
from kfac_ref.words import translate

Rule = Callable[[Any, float], SymmetricMatrix]


@door
def tikhonov(matrix: SymmetricMatrix, damping: float) -> SymmetricMatrix:
    """Return M + lambda I, exactly: of the whole matrix or block by block.

    A Kronecker product is decomposed here, once: an EigenKronecker comes back. For many
    lambda decompose once for all of them: `tikhonov(K.diagonalized(), damping)`.
    """
    check_matrix("Tikhonov damping", matrix)
    damping = check_damping(damping)
    words = f"Tikhonov, lambda = {damping:g}"
    return matrix.map_blocks(lambda M: M.power(1, damping, f"{M.label} ({words})"))


@door
def factored_tikhonov(
    matrix: Any,
    damping: float,
    pi: float | str = "trace",
    exact_scalars: bool = False,
) -> Any:
    """Return (A + pi gamma I) (x) (G + gamma / pi I), gamma = sqrt(damping).

    pi: "trace", "frobenius", "operator", "off" (1), or a number; see pi.py.
    exact_scalars: if a factor has size one, G = [g], leave it undamped, and add to the
    other what makes the product exact, A + lambda / g I, whatever pi is (KFAC-JAX).
    Martens & Grosse 2015, section 6.3.
    """
    what = "factored Tikhonov damping"
    check_matrix(what, matrix)
    damping, pi = check_damping(damping), check_pi(pi)
    exact_scalars = check_flag("exact_scalars", exact_scalars)
    gamma, words = math.sqrt(damping), f"factored Tikhonov, lambda = {damping:g}"

    def rule(block: SymmetricMatrix) -> KroneckerProduct:
        K = check_factors(block, what)
        if exact_scalars and 1 in (len(K.A), len(K.G)):
            exact = beside_scalar(K, damping)
            return _made(K, *exact, f"{words}, exact beside a scalar")
        A, G, p, said = balance(K, pi)
        A, G = add_to_diagonal(A, p * gamma), add_to_diagonal(G, gamma / p)
        return _made(K, A, G, f"{words}, {said}")

    return matrix.map_blocks(rule)


@door
def same_on_each_factor(matrix: Any, damping: float) -> Any:
    """Return (A + lambda I) (x) (G + lambda I): curvlinops; kfac-pytorch's inverses.

    Not gauge-invariant: (c A) (x) (G / c), the same matrix, is damped in another way.
    """
    damping = check_damping(damping)
    words = f"lambda = {damping:g} on each factor"
    check_matrix(words, matrix)

    def rule(block: SymmetricMatrix) -> KroneckerProduct:
        K = check_factors(block, words)
        A, G = add_to_diagonal(K.A, damping), add_to_diagonal(K.G, damping)
        return _made(K, A, G, words)

    return matrix.map_blocks(rule)


@door
def separate(
    matrix: Any,
    activations: float,
    errors: float,
    pi: float | str = "off",
    scale: float | None = None,
    shift: float | None = None,
) -> Any:
    """Return (A + pi activations I) (x) (G + errors / pi I): LBANN's damping.

    The numbers (damping_act, damping_err) are added as they are, without a square root:
    activations = errors = sqrt(lambda) with pi="trace" (LBANN's use_pi) is
    `factored_tikhonov` with lambda; so LBANN's default, 0.03 for both, is a lambda of
    0.0009. If errors is far above the eigenvalues of G, and activations is not above
    those of A, only A preconditions.

    scale, shift: damping_bn_act and damping_bn_err, both or none. They are added to the
    C scales and the C shifts of every DenseMatrix or DiagonalMatrix block, which is
    taken for that of a scale-and-shift layer, with parameters (2, C); pi plays no part.
    If None, such blocks raise Unsupported. (With use_eigen_decomposition LBANN adds the
    two to other entries; that is a defect, and not followed here.)
    """
    check_matrix("separate damping", matrix)
    numbers = {"activations": activations, "errors": errors}
    if scale is not None or shift is not None:
        numbers |= {"scale": scale, "shift": shift}  # type: ignore[dict-item]
    for name, number in numbers.items():
        with located(f"separate, {name}"):
            numbers[name] = check_damping(number)
    to_A, to_G, *both = numbers.values()
    pi, words = check_pi(pi), f"activations + {to_A:g}, errors + {to_G:g}"

    def rule(block: SymmetricMatrix) -> SymmetricMatrix:
        if both and isinstance(block, DenseMatrix | DiagonalMatrix):
            return _scale_and_shift(block, *both)
        K = check_factors(block, "separate damping")
        A, G, p, said = balance(K, pi)
        A, G = add_to_diagonal(A, p * to_A), add_to_diagonal(G, to_G / p)
        return _made(K, A, G, f"{words}, {said}")

    return matrix.map_blocks(rule)


@door
def by_kind(
    matrix: Any,
    damping: float,
    kronecker: Rule = factored_tikhonov,
    other: Rule = tikhonov,
) -> Any:
    """Damp Kronecker products by one rule, every other kind of block by another.

    By the paper's rule, and exactly: M + lambda I for a diagonal, dense or
    eigenvalue-corrected block, which has no two factors to share the damping out to.
    TensorFlow K-FAC and KFAC-JAX do the same.
    """
    check_matrix("damping by kind", matrix)
    for name, given in (("kronecker", kronecker), ("other", other)):
        if not is_function(given):
            raise KfacTypeError(
                f"{name}: expected a function of a matrix and lambda, as tikhonov is; "
                f"found {describe(given)}"
            )

    def rule(block: SymmetricMatrix) -> SymmetricMatrix:
        if isinstance(block, KroneckerProduct):
            return kronecker(block, damping)
        return other(block, damping)

    return matrix.map_blocks(rule)


def _made(K: KroneckerProduct, A: Any, G: Any, words: str) -> KroneckerProduct:
    """Return A (x) G, damped factors of K, and called so."""
    return KroneckerProduct.semidefinite(A, G, f"{K.label} ({words})", damped=True)


def _scale_and_shift(
    block: DenseMatrix | DiagonalMatrix, scale: float, shift: float
) -> SymmetricMatrix:
    """Add diag(scale, ..., shift, ...): parameters (2, C), read row by row."""
    C, odd = divmod(block.size, 2)
    if odd:
        raise ShapeError(
            f"{block.label}: expected as many scales as shifts, an even size, found "
            f"{block.size}; damp the blocks of other layers by rules of their own"
        )
    xp = get_xp(block._like)
    parts = [xp.full(C, number, dtype=block.dtype) for number in (scale, shift)]
    added = xp.concatenate(parts)
    name = f"{block.label} (scale + {scale:g}, shift + {shift:g})"
    if isinstance(block, DiagonalMatrix):
        return DiagonalMatrix(block.values + added, name, damped=True)
    return DenseMatrix.semidefinite(block.matrix + xp.diag(added), name, damped=True)


RULES: dict[str, Callable[..., Any]] = {
    "tikhonov": tikhonov,
    "factored_tikhonov": factored_tikhonov,
    "same_on_each_factor": same_on_each_factor,
    "separate": separate,
    "by_kind": by_kind,
}


@door
def make_rule(rule: Any, what: str = "damping rule") -> Rule:
    """Return the rule of that name, or the function itself.

    Raises UnknownName; ValueRangeError for 'separate', whose numbers are its own;
    KfacTypeError.
    """
    if isinstance(rule, str):
        name = translate("damping rule", rule, RULES, what)
        if name == "separate":
            raise ValueRangeError(
                f"{what} 'separate': its numbers are its own, and not lambda; expected "
                "a function: lambda matrix, damping: separate(matrix, activations=..., "
                "errors=...); KFAC then needs adapt_damping=None and gamma_every=0"
            )
        return RULES[name]
    if not is_function(rule):
        raise KfacTypeError(
            f"{what}: expected a function of a matrix and lambda, or one of "
            f"{', '.join(RULES)}; found {describe(rule)}"
        )
    return rule
