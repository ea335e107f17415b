"""The four groups of K-FAC's options, each with its checks; options.py has them all.

Sections and letters are those of Martens & Grosse 2015. A name may also be another
library's word for the same thing (words.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kfac_ref.checks import check_share
from kfac_ref.damping import by_kind, make_rule
from kfac_ref.errors import ValueRangeError, choose, require
from kfac_ref.exact.products import PRODUCTS
from kfac_ref.optimizer.arguments import check_adapt_damping, check_size
from kfac_ref.optimizer.averages import MovingAverage, make_average
from kfac_ref.optimizer.levenberg_marquardt import OMEGA_2, LevenbergMarquardt
from kfac_ref.optimizer.stages import CLIPS
from kfac_ref.optimizer.statistics import Estimates, Structures
from kfac_ref.values import Value
from kfac_ref.words import translate

Averaging = Any  # a MovingAverage, or the name of one, which becomes it
Rule = Any  # a function of matrix and lambda, or the name of one, which becomes it
MOMENTA = ("update", "gradient")


@dataclass(frozen=True, eq=False)
class Group(Value):
    """A group of options. Messages name the optimizer, whose options they are."""

    shown: ClassVar[str] = "KFAC"

    def _set(self, **values: Any) -> None:
        """Replace what was given by what it stands for."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Statistics(Group):
    """Which curvature is estimated, and from how much: questions 1 and 2.

    structure: what of the curvature is kept: a name of structures/, or a list of one
        for each layer. The paper's are 'kronecker' and 'block_tridiagonal'. Section 4.
    estimate: which vectors are propagated back: a name of estimates.py, or one for each
        layer. Section 5.
    samples: labels or signs drawn for each example, if the estimate draws; None: 1.
    statistics_every: steps from one estimate to the next. Paper: 1.
    tau_1: the share of the batch that is looked at, in (0, 1]. Paper: 1/8. Section 8.
    position_share: the share of the positions that share weights, in (0, 1]: the pixels
        of a convolution; TensorFlow K-FAC's sub_sample_patches.
    average: the moving average over the steps, a MovingAverage or its name. Section 5.
    """

    structure: Structures = "kronecker"
    estimate: Estimates = "sampled"
    samples: int | None = None
    statistics_every: int = 1
    tau_1: float = 1.0
    position_share: float = 1.0
    average: Averaging = field(default_factory=MovingAverage)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(average=make_average("average", self.average))
        check_share("tau_1", self.tau_1)
        check_share("position_share", self.position_share)


@dataclass(frozen=True, eq=False)
class Inversion(Group):
    """How the curvature is damped and inverted, and how often: question 3.

    damping: lambda at the start, in units of the curvature. Paper: 150. Section 6.
    damping_rule: (matrix, damping) -> damped matrix, or the name of a rule of damping/.
        by_kind: the paper's rule for Kronecker products, exactly for all other blocks.
    inverse_every: T_3, steps from one inverse to the next. Paper: 20. Section 8.
    inverse_early: in so many first steps the inverse is made anew. Paper: 3. Section 8.
    gamma_every: T_2, steps from one search for gamma among three candidates to the
        next; 0: gamma is sqrt(lambda + eta) at each inverse. Paper: 20. Section 6.6.
    gamma_factor: omega_2, the ratio of the candidates. Paper: sqrt(19/20)^T_2.
    adapt_damping: what moves lambda, a LevenbergMarquardt; None: lambda stays. Paper:
        by omega_1 = (19/20)^T_1 every T_1 = 5 steps. Section 6.5.
    damping_in_ratio: whether rho's predicted change of the loss contains lambda.
        Paper: True.
    """

    damping: float = 0.1
    damping_rule: Rule = by_kind
    inverse_every: int = 20
    inverse_early: int = 3
    gamma_every: int = 20
    gamma_factor: float = OMEGA_2
    adapt_damping: LevenbergMarquardt | None = field(default_factory=LevenbergMarquardt)
    damping_in_ratio: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(damping_rule=make_rule(self.damping_rule, "damping_rule"))
        check_adapt_damping(self.shown, self.adapt_damping)
        check_size("damping", self.damping)
        factor = self.gamma_factor
        require(0 < factor < 1, "gamma_factor", "a number in (0, 1)", factor)


@dataclass(frozen=True, eq=False)
class Update(Group):
    """The objective h, and the quadratic model of it that gives alpha and mu.

    l2: eta; h = mean loss + eta/2 ||theta||^2, and eta joins the curvature too. Paper:
        1e-5. Section 13.
    matrix: the matrix of the model: 'fisher', 'ggn' or 'empirical', by exact products;
        or 'approximation', the averaged statistics. Paper: the Fisher. Section 6.4.
    tau_2: the share of the batch that exact products look at, in (0, 1]. Paper: 1/4.
    iterates: the average of theta over the steps, for `params(state, averaged=True)`, a
        MovingAverage or its name.
    """

    l2: float = 1e-5
    matrix: str = "fisher"
    tau_2: float = 1.0
    iterates: Averaging = field(default_factory=lambda: MovingAverage("latest"))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(
            matrix=translate("matrix", self.matrix, (*PRODUCTS, "approximation")),
            iterates=make_average("iterates", self.iterates),
        )
        check_size("l2", self.l2)
        check_share("tau_2", self.tau_2)


@dataclass(frozen=True, eq=False)
class Practice(Group):
    """What other libraries do and Algorithm 2 does not; by default nothing.

    learning_rate: alpha; None: from the quadratic model, as in section 6.4.
    momentum: mu, in [0, 1); None: from the quadratic model, as in section 7.
    momentum_of: 'update': alpha Delta + mu (last update); 'gradient': the sum of the
        gradients, each times mu for every step since, is preconditioned (LBANN).
    norm_constraint: the largest squared norm of an update; longer ones are shortened.
    clip: which norm that is: 'fisher', 'fisher_no_rate' or 'euclidean'; see clip_stage.
    weight_decay: theta shrinks by this times alpha in each step; h does not know of it.
    reject: whether theta stays where a step would raise the loss of its batch.
    first_step: the number of the first step: 1 in the paper, 0 in the libraries.
    """

    learning_rate: float | None = None
    momentum: float | None = None
    momentum_of: str = "update"
    norm_constraint: float | None = None
    clip: str = "fisher"
    weight_decay: float = 0.0
    reject: bool = False
    first_step: int = 1

    def __post_init__(self) -> None:
        for name in ("learning_rate", "momentum", "norm_constraint"):
            value = getattr(self, name)
            require(not callable(value), name, "None or a number, no schedule", value)
        super().__post_init__()
        choose("momentum_of", self.momentum_of, MOMENTA)
        self._set(clip=translate("clip", self.clip, CLIPS))
        check_size("weight_decay", self.weight_decay)
        for name, fits, expected in (
            ("learning_rate", lambda n: 0 <= n < math.inf, "a finite number >= 0"),
            ("momentum", lambda n: 0 <= n < 1, "a number in [0, 1)"),
            ("norm_constraint", lambda n: 0 < n < math.inf, "a finite number > 0"),
        ):
            value = getattr(self, name)
            require(value is None or fits(value), name, f"None or {expected}", value)
        self._check_together()

    def _check_together(self) -> None:
        if self.momentum_of == "gradient" and self.solves:
            raise ValueRangeError(
                "momentum_of 'gradient': expected a fixed learning_rate and momentum; "
                "the quadratic model solves for those of 'update'"
            )
        if self.norm_constraint is not None and self.learning_rate is None:
            raise ValueRangeError(
                "norm_constraint: expected a fixed learning_rate with it; the "
                "quadratic model chooses the length of the step by itself"
            )

    @property
    def solves(self) -> bool:
        """Does the quadratic model give a coefficient?"""
        return self.learning_rate is None or self.momentum is None

    @property
    def rate(self) -> float:
        """The unit of a fixed norm or decay: alpha, or 1 if the model chooses it."""
        return 1.0 if self.learning_rate is None else self.learning_rate
