"""Other libraries' words: those for what has a name here, and those for other things.

A word is an alias if it means the same object: the same matrix for a layer whose weight
and bias are one block, or the same formula. A comment beside it says what the library
does differently, such as a scale if weights are shared over positions. A word for
something that this package does not have is refused, with an explanation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kfac_ref.errors import UnknownName, choose

ALIASES: dict[str, dict[str, str]] = {
    "estimate": {
        "exact": "expectation",  # TensorFlow K-FAC
        "fisher_exact": "expectation",  # KFAC-JAX, ASDL
        "FIM": "expectation",  # NNGeometry
        "gradients": "sampled",  # TensorFlow K-FAC
        "fisher_gradients": "sampled",  # KFAC-JAX
        "mc": "sampled",  # curvlinops
        "fisher_mc": "sampled",  # ASDL
        "FIM_MonteCarlo": "sampled",  # NNGeometry
        "KFAC": "sampled",  # BackPACK
        "fisher_empirical": "empirical",  # KFAC-JAX
        "fisher_emp": "empirical",  # ASDL
        "use_empirical_fisher": "empirical",  # Kronfluence
        "curvature_prop": "random_signs",  # TensorFlow K-FAC
        "fisher_curvature_prop": "random_signs",  # KFAC-JAX
        "exact_GGN": "ggn",  # TensorFlow K-FAC
        "ggn_exact": "ggn",  # KFAC-JAX
        "type-2": "ggn",  # curvlinops
        "KFLR": "ggn",  # BackPACK
        "curvature_prop_GGN": "ggn_random_signs",  # TensorFlow K-FAC
        "ggn_curvature_prop": "ggn_random_signs",  # KFAC-JAX
    },
    "structure": {
        "PMatDense": "full",  # NNGeometry
        "layer_wise": "block_diagonal",  # ASDL
        "PMatBlockDiag": "block_diagonal",  # NNGeometry
        "DenseFull": "block_diagonal",  # KFAC-JAX, of one layer
        "Conv2DFull": "block_diagonal",  # KFAC-JAX
        "ScaleAndShiftFull": "block_diagonal",  # KFAC-JAX
        "diag": "diagonal",  # ASDL
        "PMatDiag": "diagonal",  # NNGeometry
        "DenseDiagonal": "diagonal",  # KFAC-JAX
        "Conv2DDiagonal": "diagonal",  # KFAC-JAX
        "ScaleAndShiftDiagonal": "diagonal",  # KFAC-JAX
        "kron": "kronecker",  # TensorFlow K-FAC; ASDL, whose tokens are examples
        "kron_indep": "kronecker",  # TensorFlow K-FAC, several uses of a layer
        "kfac": "kronecker",  # Kronfluence: over T where positions are shared
        "KFACLinearOperator": "kronecker",  # curvlinops, separate_weight_and_bias=False
        "PMatKFAC": "kronecker",  # NNGeometry
        "DenseTwoKroneckerFactored": "kronecker",  # KFAC-JAX
        "Conv2DTwoKroneckerFactored": "kronecker",  # KFAC-JAX
        "ekfac": "eigenvalue_corrected",  # Kronfluence
        "EKFACLinearOperator": "eigenvalue_corrected",  # curvlinops, as above
        "PMatEKFAC": "eigenvalue_corrected",  # NNGeometry, after update_diag
        "KFOC": "best_kronecker",  # curvlinops; there positions count as examples
        "KFOCLinearOperator": "best_kronecker",  # curvlinops
    },
    "damping rule": {
        "use_exact_damping": "tikhonov",  # curvlinops
        "use_exact_inverses": "tikhonov",  # KFAC-JAX
        "eigen": "tikhonov",  # kfac-pytorch, compute_method
        "use_heuristic_damping": "factored_tikhonov",  # curvlinops, at least 1e-8
        "inverse": "same_on_each_factor",  # kfac-pytorch, compute_method
    },
    "pi": {
        "tracenorm": "trace",  # TensorFlow K-FAC, ChainerKFAC
        "avg_diag": "trace",  # KFAC-JAX
        "use_pi": "trace",  # LBANN, NNGeometry
    },
    "average": {
        "MovingAverageVariable": "debiased",  # TensorFlow K-FAC
        "WeightedMovingAverage": "debiased",  # KFAC-JAX
        "kronecker_decay": "first",  # LBANN
    },
    "clip": {
        "kl_clip": "fisher",  # kfac-pytorch
        "OptaxPreconditioner": "fisher_no_rate",  # KFAC-JAX
    },
    "matrix": {
        "Fisher": "fisher",  # TensorFlow K-FAC
        "GGN": "ggn",  # TensorFlow K-FAC
        "Empirical_Fisher": "empirical",  # TensorFlow K-FAC
        "fisher_empirical": "empirical",  # KFAC-JAX
    },
}

SQUARE_OF_SUM = "the square of a sum of gradients over examples, not a sum of squares"
SPARSE = "K-FAC with A or G, or both, replaced by its diagonal"
TWO = "a structure and an estimate in one word here: structure {!r} with estimate {!r}"
TRACES = "K-FAC with factors weighted by the other side's norm, over the traces"
DECAYS = (
    "the decay alone, which does not say how it begins: 'debiased' (TensorFlow "
    "K-FAC, KFAC-JAX), 'first' (LBANN; ChainerKFAC, whose decay is the weight of the "
    "newest), 'identity' (kfac-pytorch), or 'paper'"
)
OTHERS: dict[str, dict[str, str]] = {
    "estimate": {
        "KFRA": "BackPACK's recursion over layers, in which no vectors are propagated",
        "forward-only": "curvlinops' G = I, in which nothing is propagated back",
        "fisher_empirical_direct": f"KFAC-JAX's is {SQUARE_OF_SUM}",
    },
    "structure": {
        "kron_in_diag": f"TensorFlow K-FAC's is {SPARSE}",
        "kron_out_diag": f"TensorFlow K-FAC's is {SPARSE}",
        "kron_both_diag": f"TensorFlow K-FAC's is {SPARSE}",
        "kron_sua": "TensorFlow K-FAC's treats pixels as uncorrelated in A",
        "kron_series_1": "TensorFlow K-FAC's is a chain over the uses of a layer",
        "kron_series_2": "TensorFlow K-FAC's is a chain over the uses of a layer",
        "NaiveDiagonal": f"KFAC-JAX's is {SQUARE_OF_SUM}; ours is 'diagonal'",
        "NaiveFull": f"KFAC-JAX's is {SQUARE_OF_SUM}; ours is 'block_diagonal'",
        "RepeatedDenseKroneckerFactored": "KFAC-JAX's leaves out positions whose g is "
        "zero; if there are none, it is 'kronecker'",
        "NaiveTNT": f"KFAC-JAX's is {TRACES}",
        "DenseTNT": f"KFAC-JAX's is {TRACES}",
        "Conv2DTNT": f"KFAC-JAX's is {TRACES}",
        "identity": "Kronfluence's is no curvature; to train without one, use SGD",
        "ScaledIdentity": "KFAC-JAX's is no curvature; to train without one, use SGD",
        "PMatQuasiDiag": "NNGeometry's couples a weight with its unit's bias alone",
        "PMatLowRank": "NNGeometry's is a root of the matrix; ours is 'full'",
        "PMatImplicit": "products without the matrix are kfac_ref.FisherProduct",
        "PMatMixed": "a structure for each layer is a list of structures, in KFAC",
        "unit_wise": "ASDL's is a block for each unit of a layer; ours for each layer",
        "kfe": "ASDL's rotates by the wrong basis; the right one is "
        "'eigenvalue_corrected'",
        "DiagGGNExact": TWO.format("diagonal", "ggn"),  # BackPACK
        "DiagGGNMC": TWO.format("diagonal", "sampled"),
        "KFLR": TWO.format("kronecker", "ggn"),
        "KFAC": TWO.format("kronecker", "sampled"),
        "KFRA": "BackPACK's recursion over layers, in which no vectors are propagated",
    },
    "damping rule": {
        "use_pi": "NNGeometry's is factored_tikhonov; LBANN's is separate(matrix, "
        "activations, errors, pi='trace')",
        "pi_adjusted_kronecker_inverse": "KFAC-JAX's is factored_tikhonov(matrix, "
        "damping, exact_scalars=True)",
    },
    "average": {
        "ema": DECAYS,
        "ema_decay": DECAYS,
        "cov_ema_decay": DECAYS,
        "curvature_ema": DECAYS,
    },
    "clip": {
        "norm_constraint": "TensorFlow K-FAC's, and that of KFAC-JAX's Optimizer, is "
        "'fisher'; OptaxPreconditioner's is 'fisher_no_rate'",
    },
}


def translate(what: str, name: Any, known: Iterable[str], shown: str = "") -> str:
    """This package's name for `name`, which may be another library's word.

    `what` is a key of ALIASES, `shown` what the error calls it. Raises UnknownName with
    the closest word, or with what the word means elsewhere.
    """
    shown, known = shown or what, list(known)
    if not isinstance(name, str) or name in known:
        return choose(shown, name, known)
    if meaning := OTHERS.get(what, {}).get(name):
        raise UnknownName(
            f"{shown} {name!r} means something else: {meaning}; "
            f"known: {', '.join(known)}"
        )
    other = {"structure": "estimate", "estimate": "structure"}.get(what, "")
    words = ALIASES.get(other, {})
    if name not in ALIASES[what] and name in {*words, *words.values()}:
        raise UnknownName(
            f"{shown} {name!r} belongs to another question: {other}={name!r}; "
            f"known: {', '.join(known)}"
        )
    return choose(shown, ALIASES[what].get(name, name), known, ALIASES[what])
