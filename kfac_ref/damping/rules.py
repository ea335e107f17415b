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

A BlockDiagonalMatrix is damped block by block, by one rule or, with `block_by_block`,
by one for each. Where a rule makes no sense it raises Unsupported, with the reason: so
a rule that is named is the rule that is applied, and only `by_kind`, K-FAC's default,
looks for itself. The matrix that is given is left as it was. A rule is data, too, a
name and its arguments: `damp(matrix, "separate", activations=0.01, errors=1.0)`.

Where A or G is zero (a layer of dead units), so is A (x) G, and a pi made of norms has
no value. Then the damping alone is left, gamma I (x) gamma I = lambda I: exact, and the
limit of the formula as the factor goes to zero. KFAC-JAX does the same; TensorFlow
K-FAC takes pi = 1 there, which is pi="off" here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from kfac_ref.backend import Array, eigh, get_xp
from kfac_ref.calls import check_parameters, door
from kfac_ref.damping.parts import (
    add,
    add_to_scale_shift,
    beside_scalar,
    kronecker,
    on_blocks,
    share,
)
from kfac_ref.damping.pi import check_pi
from kfac_ref.errors import (
    KfacTypeError,
    ShapeError,
    check_flag,
    describe,
    is_function,
    located,
)
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    DenseMatrix,
    DiagonalMatrix,
    EigenKronecker,
    KroneckerProduct,
    SymmetricMatrix,
)
from kfac_ref.matrices.definite import check_damping, rounding_error, spectral_power
from kfac_ref.words import translate

Rule = Callable[[Any, float], SymmetricMatrix]


@door
def tikhonov(matrix: SymmetricMatrix, damping: float) -> SymmetricMatrix:
    """M + lambda I, exactly: of the whole matrix or block by block.

    A Kronecker product is decomposed here, once: an EigenKronecker comes back. For many
    lambda decompose once for all of them: `tikhonov(K.diagonalized(), damping)`.
    """
    damping = check_damping(damping)

    def rule(block: SymmetricMatrix) -> SymmetricMatrix:
        damped = block.power(1, damping)
        damped.name = f"{block.label} (Tikhonov, lambda = {damping:g})"
        return damped

    return on_blocks(matrix, rule, "Tikhonov damping")


@door
def factored_tikhonov(
    matrix: Any,
    damping: float,
    pi: float | str = "trace",
    exact_scalars: bool = False,
) -> Any:
    """(A + pi gamma I) (x) (G + gamma / pi I), gamma = sqrt(damping).

    pi: "trace", "frobenius", "operator", "off" (1), or a number; see pi.py.
    With exact_scalars a factor of size one, G = [g], is not damped, and the other takes
    what makes the product exact, A + lambda / g I, whatever pi is (KFAC-JAX).
    Martens & Grosse 2015, section 6.3.
    """
    damping, pi = check_damping(damping), check_pi(pi)
    exact_scalars = check_flag("exact_scalars", exact_scalars)
    gamma, words = math.sqrt(damping), f"factored Tikhonov, lambda = {damping:g}"

    def rule(block: SymmetricMatrix) -> KroneckerProduct:
        K = kronecker(block, "factored Tikhonov damping")
        if exact_scalars and 1 in (len(K.A), len(K.G)):
            return beside_scalar(K, damping, words)
        return share(K, gamma, gamma, pi, words)

    return on_blocks(matrix, rule, "factored Tikhonov damping")


@door
def same_on_each_factor(matrix: SymmetricMatrix, damping: float) -> SymmetricMatrix:
    """(A + lambda I) (x) (G + lambda I): of curvlinops, and of kfac-pytorch's inverses.

    Not gauge-invariant: (c A) (x) (G / c), the same matrix, is damped in another way.
    """
    damping = check_damping(damping)
    words = f"lambda = {damping:g} on each factor"

    def rule(block: SymmetricMatrix) -> KroneckerProduct:
        return add(kronecker(block, words), damping, damping, words)

    return on_blocks(matrix, rule, words)


@door
def separate(
    matrix: SymmetricMatrix,
    activations: float,
    errors: float,
    pi: float | str = "off",
    scale: float | None = None,
    shift: float | None = None,
) -> SymmetricMatrix:
    """(A + pi activations I) (x) (G + errors / pi I): LBANN's damping_act, damping_err.

    The numbers are added as they are, without a square root: activations = errors =
    sqrt(lambda) with pi="trace" (LBANN's use_pi) is `factored_tikhonov` with lambda; so
    LBANN's default, 0.03 for both, is a lambda of 0.0009. Where errors is far above the
    eigenvalues of G, and activations is not above those of A, only A preconditions.

    scale and shift (damping_bn_act, damping_bn_err; both or none): every DenseMatrix or
    DiagonalMatrix block is taken to be that of a scale-and-shift layer, with parameters
    (2, C); they are added for its C scales and its C shifts, and pi plays no part. With
    None such blocks raise Unsupported. (With its option use_eigen_decomposition LBANN
    adds the two to other entries; that is a defect, and not followed here.)
    """
    given: dict[str, Any] = {"activations": activations, "errors": errors}
    if scale is not None or shift is not None:
        given |= {"scale": scale, "shift": shift}
    for name, number in given.items():
        with located(f"separate, {name}"):
            given[name] = check_damping(number)
    pi, words = check_pi(pi), f"activations + {activations:g}, errors + {errors:g}"

    def rule(block: SymmetricMatrix) -> SymmetricMatrix:
        if "scale" in given and isinstance(block, DenseMatrix | DiagonalMatrix):
            return add_to_scale_shift(block, given["scale"], given["shift"])
        K = kronecker(block, "separate damping")
        return share(K, given["activations"], given["errors"], pi, words)

    return on_blocks(matrix, rule, "separate damping")


@door
def by_kind(
    matrix: Any,
    damping: float,
    kronecker: Rule = factored_tikhonov,
    other: Rule = tikhonov,
) -> Any:
    """A Kronecker product damped by one rule, every other kind of block by another.

    By the paper's rule, and exactly: M + lambda I for a diagonal, dense or
    eigenvalue-corrected block, which has no two factors to share the damping out to.
    TensorFlow K-FAC and KFAC-JAX do the same.
    """

    _check_rules(kronecker=kronecker, other=other)

    def rule(block: SymmetricMatrix) -> SymmetricMatrix:
        return (kronecker if isinstance(block, KroneckerProduct) else other)(
            block, damping
        )

    return on_blocks(matrix, rule, "damping by kind")


@door
def block_by_block(
    matrix: SymmetricMatrix,
    damping: float,
    rules: Sequence[Rule],
) -> BlockDiagonalMatrix:
    """The i-th block of a BlockDiagonalMatrix damped by rules[i](block, damping)."""
    blocks = matrix.blocks if isinstance(matrix, BlockDiagonalMatrix) else []
    if not isinstance(rules, list | tuple):
        raise KfacTypeError(f"rules: expected a list of them, found {describe(rules)}")
    _check_rules(**{f"rules[{i}]": rule for i, rule in enumerate(rules)})
    if not blocks or len(blocks) != len(rules):
        raise ShapeError(
            "block_by_block: expected a BlockDiagonalMatrix and a rule for each block, "
            f"found {type(matrix).__name__} with {len(blocks)} blocks, and "
            f"{len(rules)} rules"
        )
    named = zip(rules, blocks, strict=True)
    damped = BlockDiagonalMatrix(
        [rule(block, damping) for rule, block in named], matrix.name
    )
    damped.damping_inside = True
    return damped


def _check_rules(**rules: Any) -> None:
    for name, rule in rules.items():
        if not is_function(rule):
            raise KfacTypeError(
                f"{name}: expected a function of a matrix and lambda, as tikhonov is; "
                f"found {describe(rule)}"
            )


RULES: dict[str, Callable[..., SymmetricMatrix]] = {
    "tikhonov": tikhonov,
    "factored_tikhonov": factored_tikhonov,
    "same_on_each_factor": same_on_each_factor,
    "separate": separate,
    "by_kind": by_kind,
}


def damp(matrix: SymmetricMatrix, rule: str, **parameters: Any) -> SymmetricMatrix:
    """The matrix damped by the rule of that name, with its parameters.

    Raises UnknownName, and KfacTypeError for parameters that the rule does not take,
    or that it lacks.
    """
    function = RULES[translate("damping rule", rule, RULES)]
    check_parameters(f"damp, rule {rule!r}", function, parameters)
    return function(matrix, **parameters)


@door
def by_eigendecomposition(matrix: SymmetricMatrix) -> SymmetricMatrix:
    """The same damped matrix, factorised here, once, and without Cholesky.

    `solve` then multiplies by eigenvectors. Raises NotPositiveDefinite as `solve` does.
    """

    def rule(block: SymmetricMatrix) -> SymmetricMatrix:
        if isinstance(block, DiagonalMatrix | EigenKronecker):
            return block  # in its eigenbasis already
        if isinstance(block, KroneckerProduct):
            l_A, U_A = _positive_eigh(block.A, f"factor A of {block.label}")
            l_G, U_G = _positive_eigh(block.G, f"factor G of {block.label}")
        else:
            l_A, U_A = _positive_eigh(block.to_dense(), block.label)
            l_G = get_xp(l_A).ones(1, dtype=l_A.dtype)
            U_G = l_G.reshape(1, 1)
        return EigenKronecker(U_A, U_G, get_xp(l_A).outer(l_A, l_G), block.label)

    return on_blocks(matrix, rule, "by_eigendecomposition")


def _positive_eigh(M: Array, where: str) -> tuple[Array, Array]:
    values, U = eigh(M)
    spectral_power(values, -1, 0.0, where, rounding_error(values, len(values)))
    return values, U
