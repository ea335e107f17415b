"""Checks keyword arguments: an unknown one is answered with those that are known.

Python's own error names whatever holds the code, and does not always suggest a similar
word. `Value.__new__` checks constructors, `door` checks public functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from kfac_ref.errors import KfacTypeError, suggestion

P = ParamSpec("P")
R = TypeVar("R")

# Other libraries' words and the nearest ones here; the first that the call takes wins.
OPTIONS: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),  # PyTorch
    "step_size": ("learning_rate",),
    "momentum": ("beta_1",),  # Adam's
    "betas": ("beta_1 and beta_2", "beta_1"),  # PyTorch
    "b1": ("beta_1",),  # Optax
    "b2": ("beta_2",),
    "weight_decay": ("l2",),  # PyTorch: in the gradient
    "l2_reg": ("l2",),  # KFAC-JAX
    "lambda_": ("damping",),
    "lambda_rule": ("adapt_damping",),
    "lam": ("damping",),  # algorithm2.py
    "eta": ("l2",),
    "T1": ("adapt_damping",),
    "T2": ("gamma_every",),
    "T3": ("inverse_every",),
    "eps": ("average",),
    "initial_damping": ("damping",),  # KFAC-JAX
    "use_adaptive_damping": ("adapt_damping",),
    "min_damping": ("minimum", "adapt_damping"),
    "max_damping": ("maximum", "adapt_damping"),
    "cov_ema_decay": ("average", "decay"),  # TensorFlow K-FAC
    "curvature_ema": ("average", "decay"),  # KFAC-JAX
    "factor_decay": ("average", "decay"),  # kfac-pytorch
    "stat_decay": ("average", "decay"),  # KFAC-Pytorch
    "cov_update_every": ("statistics_every",),  # TensorFlow K-FAC
    "curvature_update_period": ("statistics_every",),  # KFAC-JAX
    "factor_update_steps": ("statistics_every",),  # kfac-pytorch
    "TCov": ("statistics_every",),  # KFAC-Pytorch
    "invert_every": ("inverse_every",),  # TensorFlow K-FAC
    "inverse_update_period": ("inverse_every",),  # KFAC-JAX
    "inv_update_steps": ("inverse_every",),  # kfac-pytorch
    "TInv": ("inverse_every",),  # KFAC-Pytorch
    "kl_clip": ("norm_constraint",),  # kfac-pytorch
    "estimation_mode": ("estimate",),  # KFAC-JAX
    "fisher_type": ("estimate",),  # curvlinops
    "mc_samples": ("samples",),
    "steps": ("updates", "iterations"),
    "iterations": ("updates",),
    "max_iter": ("updates", "iterations"),  # SciPy, scikit-learn
    "seed": ("rng",),
    "generator": ("rng",),  # PyTorch
    "random_state": ("rng",),  # scikit-learn
    "verbose": ("progress",),
    "callback": ("evaluation",),  # SciPy
    "validation_data": ("evaluation",),  # Keras
}
UNDAMPED = (
    "curvature", "make_structure", "propagate", "fisher_matrix", "ggn_matrix",
    "empirical_fisher_matrix", "hessian_matrix",
)  # fmt: skip
DAMPING = ("damping", "lambda_", "damping_rule", "pi")
NEXT = (
    "a matrix is damped after it is made: by_kind(matrix, damping) of "
    "kfac_ref.damping, or, where it is solved with, matrix.solve(v, damping); "
)


def check_words(where: str, known: Collection[str], given: Iterable[str]) -> None:
    """Raise KfacTypeError unless all words are known. `where` begins with the call."""
    for word in given:
        if word not in known:
            raise KfacTypeError(
                f"{where}: unknown argument {word!r}: {_hint(where, word, known)}"
                f"known: {', '.join(known) or 'none'}"
            )


def door(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a public function: its keywords are checked before Python does."""
    known = [*inspect.signature(function).parameters]

    @wraps(function)
    def checked(*args: P.args, **options: P.kwargs) -> R:
        if options:
            check_words(function.__name__, known, options)
        return function(*args, **options)

    return checked


@cache
def words_of(kind: Any) -> list[str] | None:
    """The keywords that a constructor takes; None if it takes any."""
    if kind.__init__ is object.__init__:
        return []
    takes = list(inspect.signature(kind.__init__).parameters.values())[1:]
    anything = any(each.kind is each.VAR_KEYWORD for each in takes)
    return None if anything else [each.name for each in takes]


def _hint(where: str, word: str, known: Collection[str]) -> str:
    """A suggestion: what the word is known to mean, or a similar word, or ''."""
    if word in DAMPING and where.split(",")[0] in UNDAMPED:
        return NEXT
    for name in OPTIONS.get(word, ()):
        if set(name.split(" and ")) <= set(known):
            both = "' and '".join(name.split(" and "))
            return f"did you mean '{both}'? "
    longer = [name for name in known if len(word) > 2 and word.lower() in name.lower()]
    return suggestion(word, longer) or suggestion(word, known, cutoff=0.6)
